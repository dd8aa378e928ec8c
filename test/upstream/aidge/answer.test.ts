/** Bytes of answers → their parts → what they mean. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AnswerBody, classify, type Observation } from '../../../src/core/observation.ts'
import { RESPONSE_BYTES_MAX, RESPONSE_DEPTH_MAX, readAnswer } from '../../../src/upstream/aidge/answer.ts'

/** The sample of the vendor's page on the virtual model query, with addresses of our own. */
const SAMPLE = `{
  "data": {
    "taskResult": [
      {
        "width": 768,
        "url": "http://bucket.oss-ap-southeast-1.aliyuncs.com/some.one%2Fsd%2F5c8ed606_20240626143842.png?OSSAccessKeyId=LTAIexample&Expires=2719383922&Signature=5vdK7gHdSS0QmBjdvqaQH0HzbzA%3D",
        "height": 768
      },
      {
        "width": 768,
        "url": "http://bucket.oss-ap-southeast-1.aliyuncs.com/some.one%2Fsd%2F03d89662_20240626143854.png?OSSAccessKeyId=LTAIexample&Expires=2719383934&Signature=TMQuRFodJlwnvKyn4lohdoY0LTs%3D",
        "height": 768
      }
    ],
    "taskStatus": "finished",
    "taskId": "4dcfa662-d5b3-48d5-842e-a87f70ac1522"
  },
  "requestId": "2141111917193839534565721e1857",
  "success": true,
  "resCode": 200,
  "resMessage": "success",
  "code": "0",
  "request_id": "212a664f17193839534587406",
  "_trace_id_": "2141111917193839534565721e1857"
}`

function read(value: unknown): AnswerBody {
  const body = readAnswer(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)))
  if (body === null) throw new Error('expected a readable answer')
  return body
}

function observe(value: unknown, httpStatus = 200, taskId = 'x'): Observation {
  const body = readAnswer(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)))
  return classify({ kind: 'answer', httpStatus, retryAfterMs: null, body }, taskId)
}

describe("the vendor's sample", () => {
  test('is a finished task with two images, byte for byte', () => {
    const observation = observe(SAMPLE, 200, '4dcfa662-d5b3-48d5-842e-a87f70ac1522')
    if (observation.kind !== 'finished') throw new Error(observation.kind)
    const { images, partial, status } = observation.outcome
    expect({ partial, status }).toEqual({ partial: false, status: 'succeeded' })
    expect(images.map(({ width, height, expiresAt }) => [width, height, expiresAt])).toEqual([
      [768, 768, 2_719_383_922_000],
      [768, 768, 2_719_383_934_000],
    ])
    for (const { url } of images) expect(SAMPLE).toContain(`"${url}"`)
  })

  test('gives its parts as they came', () => {
    const body = read(SAMPLE)
    expect(body).toMatchObject({
      gatewayCode: null,
      success: true,
      resCode: '200',
      resMessage: 'success',
      taskStatus: 'finished',
      taskMessage: null,
      echoedTaskId: '4dcfa662-d5b3-48d5-842e-a87f70ac1522',
      failedItemCount: 0,
      requestId: '2141111917193839534565721e1857',
      responseTruncated: false,
    })
    expect(SAMPLE).toContain(`"data": ${body.response},\n  "requestId"`)
  })
})

const running = { taskId: 'x', taskStatus: 'running' }

/** Every row of the design's table that a body can say. */
const MEANINGS: readonly (readonly [string, unknown, number, Record<string, unknown>])[] = [
  ['finished', { code: '0', data: { taskStatus: 'finished' } }, 200, { kind: 'finished' }],
  ['completed', { Code: 'success', Data: { Status: 'COMPLETED', TaskId: 'x' } }, 200, { kind: 'finished' }],
  [
    'failed children',
    { data: { taskStatus: 'finished', taskResult: [{ taskStatus: 'failed' }] } },
    200,
    { outcome: { partial: true } },
  ],
  [
    'failed',
    { data: { taskStatus: 'failed', taskMessage: 'no face' } },
    200,
    { kind: 'failed', answersNeeded: 1, outcome: { error: { message: 'no face', code: 'upstream_failed' } } },
  ],
  ['canceled', { data: { taskStatus: 'canceled' } }, 200, { kind: 'failed', answersNeeded: 1 }],
  ['submitted', { data: { taskStatus: 'submitted' } }, 200, { kind: 'running', isKnownWord: true }],
  ['running', { data: running }, 200, { kind: 'running', isKnownWord: true }],
  ['queued', { Data: { Status: 'QUEUED' } }, 200, { kind: 'running', isKnownWord: true }],
  [
    'an unknown word',
    { data: { taskStatus: 'pondering' } },
    200,
    { kind: 'running', isKnownWord: false, status: 'pondering' },
  ],
  ['no data', { code: '0', success: true, data: null }, 200, { kind: 'running', isKnownWord: false, status: '' }],
  [
    '1000',
    { code: '0', success: false, resCode: 1000 },
    200,
    { kind: 'failed', answersNeeded: 1, outcome: { error: { code: 'content_rejected' } } },
  ],
  ['703', { resCode: 703 }, 200, { kind: 'failed', answersNeeded: 1, outcome: { error: { code: 'invalid_input' } } }],
  ['704', { resCode: '704' }, 200, { kind: 'failed', answersNeeded: 1 }],
  ['705', { rescode: 705 }, 200, { kind: 'failed', answersNeeded: 1 }],
  [
    '700',
    { resCode: 700, resMessage: 'task not found' },
    200,
    { kind: 'failed', answersNeeded: 3, outcome: { error: { code: 'not_found' } } },
  ],
  [
    '801',
    { code: '0', resCode: 801, resMessage: 'model failed' },
    200,
    { kind: 'failed', answersNeeded: 3, outcome: { error: { code: 'model_failed' } } },
  ],
  ['1002', { resCode: 1002 }, 200, { kind: 'failed', answersNeeded: 3 }],
  ['1001', { resCode: 1001 }, 200, { kind: 'failed', answersNeeded: 5 }],
  ['500', { resCode: 500 }, 200, { kind: 'unavailable' }],
  ['900', { resCode: 900 }, 200, { kind: 'unavailable' }],
  ['success false alone', { success: 'false', data: running }, 200, { kind: 'unavailable', reason: 'no_success' }],
  ['HTTP 502 with a page', '<html>bad gateway</html>', 502, { kind: 'unavailable' }],
  ['a maintenance page', '<html>back soon</html>', 200, { kind: 'unavailable', reason: 'not_json' }],
  ['half of a JSON text', SAMPLE.slice(0, 300), 200, { kind: 'unavailable', reason: 'not_json' }],
  ['a list', [{ taskStatus: 'finished' }], 200, { kind: 'unavailable', reason: 'not_json' }],
  [
    'another task',
    { data: { taskId: 'y', taskStatus: 'finished' } },
    200,
    { kind: 'unavailable', reason: 'foreign_task' },
  ],
  ['501', { resCode: 501, resMessage: 'rate limit exceed' }, 200, { kind: 'throttled' }],
  ['HTTP 429', '', 429, { kind: 'throttled' }],
  [
    'ApiCallLimit',
    { type: 'ISV', code: 'ApiCallLimit', message: 'frequency exceeds the limit, this ban will last 7 more seconds' },
    200,
    { kind: 'throttled', retryAfterMs: 7_000 },
  ],
  [
    'ApiCallLimit in a wrapper',
    {
      error_response: {
        code: 7,
        sub_code: 'ApiCallLimit',
        msg: 'App Call Limited',
        sub_msg: 'This ban will last for 3 more seconds',
      },
    },
    200,
    { kind: 'throttled', retryAfterMs: 3_000 },
  ],
  [
    'NoResource',
    { type: 'ISV', code: 'NoResource', message: 'nothing bought' },
    200,
    { kind: 'refused', code: 'NoResource' },
  ],
  [
    'an empty quota',
    { code: 'X', message: 'Sorry, your calling resources have been exhausted' },
    200,
    { kind: 'refused' },
  ],
  [
    'an empty quota in the service message',
    { code: '0', resMessage: 'Sorry, your calling resources have been exhausted' },
    200,
    { kind: 'refused' },
  ],
  ['a bad key', { code: 'InvalidAppKey' }, 400, { kind: 'refused', isClockSkew: false }],
  ['a bad signature', { code: 'IncompleteSignature', message: 'does not conform' }, 200, { kind: 'refused' }],
  [
    'a bad signature by number',
    { error_response: { code: 25, msg: 'Invalid Signature', sub_code: 'isv.invalid-signature' } },
    200,
    { kind: 'refused' },
  ],
  [
    'the other side by number',
    { error_response: { code: 15, msg: 'Remote service error', sub_code: 'isp.permission-service-timeout' } },
    200,
    { kind: 'unavailable' },
  ],
  [
    'a wrapper with nothing in it',
    { error_response: {}, data: { taskStatus: 'finished' } },
    200,
    { kind: 'unavailable' },
  ],
  ['no permission', { code: 'InsufficientPermission' }, 200, { kind: 'refused' }],
  ['HTTP 401', '', 401, { kind: 'refused', code: 'http_401' }],
  ['HTTP 403', { anything: 1 }, 403, { kind: 'refused', code: 'http_403' }],
  ['a wrong path', '<html>not found</html>', 404, { kind: 'refused', code: 'http_404' }],
  ['a retired path', { code: 'InvalidApiPath', type: 'ISV' }, 404, { kind: 'refused', code: 'InvalidApiPath' }],
  ['a skewed clock', { code: 'IllegalTimestamp' }, 200, { kind: 'refused', isClockSkew: true }],
]

describe('what an answer means', () => {
  test.each(MEANINGS)('%s', (_name, value, httpStatus, expected) => {
    expect(observe(value, httpStatus)).toMatchObject(expected)
  })
})

describe('the parts of an answer', () => {
  test.each([undefined, null, '', ' ', '0', 0, '200', 200, 'success', 'Success'])(
    'the gateway code %j says success',
    (code) => {
      expect(read({ code }).gatewayCode).toBeNull()
    },
  )

  test.each<[unknown, boolean | null]>([
    [true, true],
    [false, false],
    ['true', true],
    ['False', false],
    ['yes', null],
    [1, null],
    [null, null],
  ])('success %j reads %j', (success, truth) => {
    expect(read({ success }).success).toBe(truth)
  })

  test.each<[Record<string, unknown>, string | null]>([
    [{ requestId: 'a', request_id: 'b', _trace_id_: 'c' }, 'a'],
    [{ request_id: 'b', _trace_id_: 'c' }, 'b'],
    [{ requestId: '', _trace_id_: 'c' }, 'c'],
    [{ error_response: { request_id: 'd' } }, 'd'],
    [{ requestId: { odd: 1 } }, null],
  ])('the request id of %j is %j', (value, requestId) => {
    expect(read(value).requestId).toBe(requestId)
  })

  test.each([
    '{"data":{"taskId":90071992547409931234567890}}',
    '{"data":{"task_id": 90071992547409931234567890 }}',
    '{"data":"{\\"taskId\\":90071992547409931234567890}"}',
    '{"data":{"taskId":"90071992547409931234567890"}}',
  ])('a task id beyond 2^53 keeps its digits: %s', (json) => {
    expect(read(json).echoedTaskId).toBe('90071992547409931234567890')
  })

  test('data that is JSON text in a string is read, and passed on as the string that it is', () => {
    const data = JSON.stringify({ taskId: 'x', taskStatus: 'finished', taskResult: [{ url: 'https://h.example/1' }] })
    const body = read({ data })
    expect(body).toMatchObject({ taskStatus: 'finished', echoedTaskId: 'x', images: [{ url: 'https://h.example/1' }] })
    expect(body.response).toBe(JSON.stringify(data))
  })

  test('data passes through to the byte: digits, order, spaces and escapes', () => {
    const data = '{ "b":1.0, "a" : 9007199254740993,"a":"\\u00e9\\/", "__proto__":{"x":1} }'
    expect(read(`{"x":1,"data": ${data} ,"y":2}`).response).toBe(data)
  })

  test.each([
    ['exactly 64 KiB', `"${'é'.repeat((RESPONSE_BYTES_MAX - 2) / 2)}"`, false],
    ['one byte more', `"${'é'.repeat((RESPONSE_BYTES_MAX - 2) / 2)}a"`, true],
    ['64 levels', '['.repeat(RESPONSE_DEPTH_MAX) + ']'.repeat(RESPONSE_DEPTH_MAX), false],
    ['65 levels', '['.repeat(RESPONSE_DEPTH_MAX + 1) + ']'.repeat(RESPONSE_DEPTH_MAX + 1), true],
  ])('data of %s', (_name, data, isTruncated) => {
    const { response, responseTruncated } = read(`{"data":${data}}`)
    expect({ isWhole: response === data, responseTruncated }).toEqual({
      isWhole: !isTruncated,
      responseTruncated: isTruncated,
    })
  })

  test('a message as long as a book is cut, between characters', () => {
    const { taskMessage } = read({ data: { taskMessage: `a${'😀'.repeat(50_000)}` } })
    expect(taskMessage?.length).toBeLessThan(2_100)
    expect(Buffer.from(taskMessage ?? '').toString()).toBe(taskMessage)
  })
})

describe('bytes of all kinds', () => {
  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['NULs', Buffer.alloc(100)],
    ['no UTF-8', Buffer.from([0xff, 0xfe, 0x7b, 0x7d])],
    ['a hundred thousand open brackets', Buffer.from('['.repeat(100_000))],
    ['a hundred thousand nested lists', Buffer.from('['.repeat(100_000) + ']'.repeat(100_000))],
    ['a number', Buffer.from('1')],
    ['null', Buffer.from('null')],
  ])('%s are no answer', (_name, bytes) => {
    expect(readAnswer(bytes)).toBeNull()
  })

  test('a hundred thousand levels below data leave the rest readable', () => {
    const body = read(
      `{"resCode":801,"data":{"x":${'['.repeat(100_000)}${']'.repeat(100_000)},"taskStatus":"running"}}`,
    )
    expect(body).toMatchObject({ resCode: '801', taskStatus: 'running', response: null, responseTruncated: true })
  })

  test('a byte order mark is no fault', () => {
    expect(read(`\ufeff{"data":{"taskStatus":"running"}}`).taskStatus).toBe('running')
  })

  test('one byte that is no UTF-8 spoils the URL that it is in, not the answer', () => {
    const [before = '', behind = ''] = JSON.stringify({
      data: { taskStatus: 'finished', taskResult: [{ url: 'https://h.example/@' }, { url: 'https://h.example/ok' }] },
    }).split('@')
    const body = readAnswer(Buffer.concat([Buffer.from(before), Buffer.from([0xff]), Buffer.from(behind)]))
    expect(body?.taskStatus).toBe('finished')
    expect(body?.images.map(({ url }) => url)).toEqual(['https://h.example/ok'])
  })

  test('members named like those of every object are members', () => {
    const body = read(
      '{"__proto__":{"code":"NoResource"},"constructor":1,"data":{"__proto__":{"taskStatus":"finished"}}}',
    )
    expect(body).toMatchObject({ gatewayCode: null, taskStatus: null })
    expect(Object.hasOwn(Object.prototype, 'taskStatus')).toBe(false)
  })

  test('never make reading throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        readAnswer(bytes)
      }),
      { numRuns: 500 },
    )
  })

  test('never make reading throw when they nearly are an answer', () => {
    const name = fc.constantFrom('code', 'success', 'resCode', 'data', 'Data', 'error_response', 'taskStatus', 'taskId')
    const inner = fc.constantFrom(
      'taskResult',
      'url',
      'imageUrlList',
      'structData',
      'data',
      'width',
      'taskStatus',
      'taskId',
    )
    const value = fc.oneof(
      fc.jsonValue(),
      fc.json(),
      fc.webUrl(),
      fc.dictionary(inner, fc.oneof(fc.jsonValue(), fc.json())),
    )
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.nat(), (object, cut) => {
        const bytes = Buffer.from(JSON.stringify(object))
        const body = readAnswer(bytes)
        expect(body).not.toBeNull()
        expect(() => classify({ kind: 'answer', httpStatus: 200, retryAfterMs: null, body }, 'x')).not.toThrow()
        expect(readAnswer(bytes.subarray(0, cut % bytes.length))).toBeNull()
      }),
      { numRuns: 500 },
    )
  })
})
