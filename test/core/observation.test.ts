/** What an upstream's answer means: every row of the classification table, by its name. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AnswerBody,
  classify,
  describe as describeObservation,
  GATEWAY_CODES,
  type NoAnswerReason,
  type Observation,
  SERVICE_CODES,
  type UpstreamAnswer,
} from '../../src/core/observation.ts'
import { anAnswer, anOutcome, FINISHED, failedWith, REFUSED, RUNNING, THROTTLED, unreadable } from './builders.ts'

const ASKED = '4dcfa662-d5b3-48d5-842e-a87f70ac1522'

function classified(answer: UpstreamAnswer): Observation {
  return classify(answer, ASKED)
}

function noAnswer(reason: NoAnswerReason): UpstreamAnswer {
  return { kind: 'no_answer', reason, detail: 'no answer' }
}

const EXHAUSTED_TEXT = 'Sorry, your calling resources have been exhausted, please purchase more.'
const BAN_TEXT = 'The request frequency exceeds the limit, this ban will last 7 more seconds'

describe('finished / completed', () => {
  test.each(['finished', 'completed', 'FINISHED', 'Completed'])('%s is finished', (taskStatus) => {
    const image = { url: 'http://a.test/1.png?Signature=5v%3D', width: 768, height: 768, expiresAt: null }
    const response = '{"taskStatus":"finished"}'
    const answer = anAnswer({ success: true, resCode: '200', taskStatus, images: [image], response })
    expect(classified(answer)).toEqual({
      kind: 'finished',
      outcome: {
        status: 'succeeded',
        partial: false,
        images: [image],
        error: null,
        response,
        responseTruncated: false,
      },
    })
  })

  test('with failed children is partial', () => {
    expect(classified(anAnswer({ taskStatus: 'finished', failedItemCount: 1 }))).toMatchObject({
      kind: 'finished',
      outcome: { status: 'succeeded', partial: true },
    })
  })

  test('with a response too large to pass on says so', () => {
    expect(classified(anAnswer({ taskStatus: 'finished', responseTruncated: true }))).toMatchObject({
      outcome: { response: null, responseTruncated: true },
    })
  })
})

describe('failed, canceled', () => {
  test.each(['failed', 'canceled', 'cancelled', 'FAILED'])('%s is failed, at once', (taskStatus) => {
    const answer = anAnswer({ taskStatus, taskMessage: 'no face found', requestId: 'r-1', response: '{}' })
    expect(classified(answer)).toEqual({
      kind: 'failed',
      answersNeeded: 1,
      code: taskStatus.toLowerCase(),
      outcome: anOutcome({
        status: 'failed',
        error: { code: 'upstream_failed', upstreamCode: null, message: 'no face found', requestId: 'r-1' },
        response: '{}',
      }),
    })
  })

  test('without a message says what was said', () => {
    expect(classified(anAnswer({ taskStatus: 'FAILED' }))).toMatchObject({
      outcome: { error: { message: 'the upstream says the task is failed' } },
    })
  })
})

describe('submitted, running, queued, any unknown word', () => {
  test.each(['submitted', 'running', 'queued', 'in_progress', 'Running'])('%s is running', (taskStatus) => {
    expect(classified(anAnswer({ success: true, resCode: '200', taskStatus }))).toEqual({
      kind: 'running',
      status: taskStatus,
      isKnownWord: true,
    })
  })

  test.each(['dreaming', 'succeeded?', '完成', 'constructor', '__proto__', ''])(
    '%j is running, and told as unknown',
    (taskStatus) => {
      expect(classified(anAnswer({ taskStatus }))).toEqual({ kind: 'running', status: taskStatus, isKnownWord: false })
    },
  )

  test('no word at all is running too', () => {
    expect(classified(anAnswer())).toEqual({ kind: 'running', status: '', isKnownWord: false })
  })

  test('no word whatever but the four of an end ends a task', () => {
    const ends = ['finished', 'completed', 'failed', 'canceled', 'cancelled']
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (taskStatus) => {
        fc.pre(!ends.includes(taskStatus.toLowerCase()))
        expect(classified(anAnswer({ taskStatus })).kind).toBe('running')
      }),
    )
  })

  test.each(['200', '0'])('a service code of %s says success', (resCode) => {
    expect(classified(anAnswer({ success: true, resCode, taskStatus: 'running' })).kind).toBe('running')
  })
})

describe('resCode 1000, 703, 704, 705', () => {
  test.each([
    ['1000', 'content_rejected'],
    ['703', 'invalid_input'],
    ['704', 'invalid_input'],
    ['705', 'invalid_input'],
  ] as const)('%s is failed at once, as %s', (resCode, code) => {
    const answer = anAnswer({ success: false, resCode, resMessage: 'sensitive', requestId: 'r-1' })
    expect(classified(answer)).toEqual({
      kind: 'failed',
      answersNeeded: 1,
      code: resCode,
      outcome: anOutcome({
        status: 'failed',
        error: { code, upstreamCode: resCode, message: 'sensitive', requestId: 'r-1' },
      }),
    })
  })
})

describe('700, 801, 1002 · 1001', () => {
  test.each([
    ['700', 3, 'invalid_input'],
    ['801', 3, 'model_failed'],
    ['1002', 3, 'risk_control_failed'],
    ['1001', 5, 'risk_control_failed'],
  ])('%s is failed after %i answers alike, as %s', (resCode, answersNeeded, code) => {
    expect(classified(anAnswer({ success: false, resCode, resMessage: 'no' }))).toMatchObject({
      kind: 'failed',
      answersNeeded,
      code: resCode,
      outcome: { status: 'failed', error: { code, upstreamCode: resCode, message: 'no' } },
    })
  })

  test('is the same under HTTP 400, and whatever the task status says', () => {
    const answer = anAnswer({ httpStatus: 400, resCode: '801', taskStatus: 'finished' })
    expect(classified(answer)).toMatchObject({ kind: 'failed', answersNeeded: 3, code: '801' })
  })

  test('is the same where the gateway passes the number on as its own code', () => {
    expect(classified(anAnswer({ gatewayCode: '801', gatewayMessage: 'model failed' }))).toMatchObject({
      kind: 'failed',
      answersNeeded: 3,
      outcome: { error: { upstreamCode: '801', message: 'model failed' } },
    })
  })

  test('without a message, or with the message elsewhere, still has one', () => {
    const message = 'the upstream answered 801 without a message'
    expect(classified(anAnswer({ resCode: '801' }))).toMatchObject({ outcome: { error: { message } } })
    expect(classified(anAnswer({ gatewayCode: '801' }))).toMatchObject({ outcome: { error: { message } } })
    expect(classified(anAnswer({ gatewayCode: '801', resMessage: 'model failed' }))).toMatchObject({
      outcome: { error: { message: 'model failed' } },
    })
  })

  test.each([
    'task does not exist',
    'The task was not found',
    "task doesn't exist",
    'no such task',
    'taskId not exist',
    'task_id not found',
  ])('700 that says %j is told as not_found', (resMessage) => {
    expect(classified(anAnswer({ resCode: '700', resMessage }))).toMatchObject({
      answersNeeded: 3,
      outcome: { error: { code: 'not_found', upstreamCode: '700' } },
    })
  })
})

describe('500, 900, HTTP 5xx, reset, timeout, TLS, not JSON, too large', () => {
  test.each(['timeout', 'connect', 'reset', 'dns', 'tls', 'protocol', 'too_large'] as const)(
    '%s is unavailable',
    (reason) => {
      expect(classified(noAnswer(reason))).toEqual({ kind: 'unavailable', reason, detail: 'no answer' })
    },
  )

  test.each([500, 502, 503, 504, 599])('HTTP %i is unavailable, whatever its body says', (httpStatus) => {
    for (const answer of [unreadable(httpStatus), anAnswer({ httpStatus, resCode: '1000', taskStatus: 'failed' })]) {
      expect(classified(answer)).toEqual({ kind: 'unavailable', reason: 'http_status', detail: `HTTP ${httpStatus}` })
    }
  })

  test.each([200, 204, 302, 400])('HTTP %i without JSON is unavailable', (httpStatus) => {
    expect(classified(unreadable(httpStatus))).toMatchObject({ kind: 'unavailable', reason: 'not_json' })
  })

  test.each(['500', '900'])('resCode %s is unavailable', (resCode) => {
    expect(classified(anAnswer({ success: false, resCode, resMessage: 'system error' }))).toEqual({
      kind: 'unavailable',
      reason: 'upstream_error',
      detail: `${resCode}: system error`,
    })
  })

  test.each([300, 301, 304, 400, 405, 418])('HTTP %i with JSON that says no more is unavailable', (httpStatus) => {
    expect(classified(anAnswer({ httpStatus, taskStatus: 'finished' }))).toMatchObject({ reason: 'http_status' })
  })

  test.each([
    'ServiceTimeout',
    'ServiceUnavailable',
    'UnknownRuntimeException',
    'isp.remote-service-error',
    'SomethingNew',
    '15',
  ])('gateway code %s is unavailable', (gatewayCode) => {
    expect(classified(anAnswer({ gatewayCode, gatewayType: 'ISP', gatewayMessage: 'later' }))).toEqual({
      kind: 'unavailable',
      reason: 'gateway',
      detail: `${gatewayCode}: later`,
    })
  })

  test('a code that nobody has documented is unavailable, and so is success: false without any', () => {
    expect(classified(anAnswer({ success: false, resCode: '4711' }))).toEqual({
      kind: 'unavailable',
      reason: 'unknown_code',
      detail: '4711: no message',
    })
    expect(classified(anAnswer({ success: false, taskStatus: 'failed' }))).toMatchObject({ reason: 'no_success' })
    expect(classified(anAnswer({ success: false, resMessage: 'odd' }))).toMatchObject({ detail: 'odd' })
  })
})

describe('501, HTTP 429, ApiCallLimit', () => {
  test('HTTP 429 is throttled, for as long as Retry-After says', () => {
    expect(classified(unreadable(429, 5_000))).toEqual({ kind: 'throttled', retryAfterMs: 5_000, detail: 'HTTP 429' })
    expect(classified(anAnswer({ httpStatus: 429, taskStatus: 'failed' }))).toMatchObject({ retryAfterMs: null })
  })

  test('resCode 501 is throttled, for as long as it or Retry-After says', () => {
    const answer = { success: false, resCode: '501' }
    expect(classified(anAnswer({ ...answer, resMessage: 'rate limit exceed' }))).toEqual({
      kind: 'throttled',
      retryAfterMs: null,
      detail: '501: rate limit exceed',
    })
    expect(classified(anAnswer({ ...answer, retryAfterMs: 3_000 }))).toMatchObject({ retryAfterMs: 3_000 })
    expect(classified(anAnswer({ ...answer, resMessage: BAN_TEXT }))).toMatchObject({ retryAfterMs: 7_000 })
  })

  test.each([
    'ApiCallLimit',
    'APICALLLIMIT',
    'AppCallLimit',
    'SellerCallLimit',
    'CallLimited',
    'XyzCallLimit',
    'Throttling.User',
    'accesscontrol.limited-by-app-access-count',
  ])('gateway code %s is throttled', (gatewayCode) => {
    expect(classified(anAnswer({ gatewayCode, gatewayMessage: 'slow down', retryAfterMs: 2_000 }))).toEqual({
      kind: 'throttled',
      retryAfterMs: 2_000,
      detail: `${gatewayCode}: slow down`,
    })
  })

  test.each([
    ['this ban will last 1 seconds', 1_000],
    ['this ban will last 7 more seconds', 7_000],
    ['This ban will last for 30 seconds.', 30_000],
    ['ban will last 12 s', 12_000],
    ['this ban will last a while', null],
    ['the last 7 requests', null],
    ['this ban will last 99999999999 seconds', null],
  ])('%j asks to wait %j ms', (gatewayMessage, retryAfterMs) => {
    expect(classified(anAnswer({ gatewayCode: 'ApiCallLimit', gatewayMessage }))).toMatchObject({ retryAfterMs })
  })

  test('"N seconds" is heard under HTTP 429 too', () => {
    const ban = { httpStatus: 429, gatewayCode: 'ApiCallLimit', gatewayMessage: BAN_TEXT }
    expect(classified(anAnswer(ban))).toMatchObject({ kind: 'throttled', retryAfterMs: 7_000 })
  })

  test('"N seconds" and Retry-After are both obeyed: the longer one', () => {
    const ban = { gatewayCode: 'ApiCallLimit', gatewayMessage: BAN_TEXT }
    expect(classified(anAnswer({ ...ban, retryAfterMs: 60_000 }))).toMatchObject({ retryAfterMs: 60_000 })
    expect(classified(anAnswer({ ...ban, retryAfterMs: 1_000 }))).toMatchObject({ retryAfterMs: 7_000 })
  })
})

describe('NoResource, "resources have been exhausted", bad key, bad signature, no permission, HTTP 401/403, wrong path', () => {
  test.each([
    'NoResource',
    'IncompleteSignature',
    'InvalidSignature',
    'SignatureDoesNotMatch',
    'MissingParameter',
    'InvalidAppKey',
    'InvalidAccessKeyId',
    'AppNotSubscribed',
    'InsufficientPermission',
    'Forbidden.RAM',
    'InvalidApiPath',
    'InvalidApi',
    'IllegalAccessToken',
    'InvalidAccessToken',
    'IllegalRefreshToken',
  ])('gateway code %s is refused', (gatewayCode) => {
    expect(classified(anAnswer({ gatewayType: 'ISV', gatewayCode, gatewayMessage: 'no' }))).toEqual({
      kind: 'refused',
      code: gatewayCode,
      detail: `${gatewayCode}: no`,
      isClockSkew: false,
    })
  })

  test('a permission that the backend lacks is not ours to mend', () => {
    const answer = { gatewayCode: 'BackendPermission', gatewayMessage: 'no' }
    expect(classified(anAnswer({ ...answer, gatewayType: 'ISP' })).kind).toBe('unavailable')
    expect(classified(anAnswer(answer)).kind).toBe('refused')
  })

  test.each([
    ['with any code', { gatewayCode: 'Whatever', gatewayMessage: EXHAUSTED_TEXT }, 'Whatever'],
    ['with no code', { gatewayMessage: EXHAUSTED_TEXT }, 'NoResource'],
    ['as the message of the service', { resCode: '500', resMessage: EXHAUSTED_TEXT }, 'NoResource'],
    ['in other words around it', { gatewayMessage: 'All resources have been EXHAUSTED.' }, 'NoResource'],
  ])('"resources have been exhausted" %s is refused, in its own words', (_where, body, code) => {
    const observation = classified(anAnswer(body))
    expect(observation).toMatchObject({ kind: 'refused', code, isClockSkew: false })
    expect(describeObservation(observation)).toMatch(/resources have been exhausted/i)
  })

  test.each([401, 403, 404])('HTTP %i is refused, with JSON and without', (httpStatus) => {
    const refused = { kind: 'refused', code: `http_${httpStatus}`, detail: `HTTP ${httpStatus}`, isClockSkew: false }
    expect(classified(unreadable(httpStatus))).toEqual(refused)
    expect(classified(anAnswer({ httpStatus, resCode: '700' }))).toEqual(refused)
  })

  test.each([401, 403, 404])('HTTP %i with a code that nobody has documented is refused', (httpStatus) => {
    expect(classified(anAnswer({ httpStatus, gatewayCode: 'Unauthorized', gatewayMessage: '-' })).kind).toBe('refused')
    expect(classified(anAnswer({ httpStatus, gatewayCode: String(httpStatus) })).kind).toBe('refused')
  })

  test('a reason in the body of a 4xx is more exact than its number', () => {
    const body = { httpStatus: 403, gatewayMessage: 'slow down' }
    expect(classified(anAnswer({ ...body, gatewayCode: 'ApiCallLimit' })).kind).toBe('throttled')
    expect(classified(anAnswer({ ...body, gatewayCode: 'NoResource' }))).toMatchObject({ code: 'NoResource' })
  })

  test('IllegalTimestamp is refused and told as clock skew', () => {
    expect(classified(anAnswer({ gatewayCode: 'IllegalTimestamp', gatewayMessage: 'expired' }))).toEqual({
      kind: 'refused',
      code: 'IllegalTimestamp',
      detail: 'IllegalTimestamp: expired',
      isClockSkew: true,
    })
  })
})

describe('an answer about another task', () => {
  test.each(['finished', 'failed', 'running'])('is no answer about this one: %s', (taskStatus) => {
    expect(classified(anAnswer({ taskStatus, echoedTaskId: '5' }))).toMatchObject({ reason: 'foreign_task' })
  })

  test.each([{ resCode: '1000' }, { resCode: '700' }, { gatewayCode: '801' }])('cannot fail this one: %j', (codes) => {
    expect(classified(anAnswer({ ...codes, echoedTaskId: '5' }))).toMatchObject({ reason: 'foreign_task' })
  })

  test('still tells of the credential', () => {
    expect(classified(anAnswer({ resCode: '501', echoedTaskId: '5' })).kind).toBe('throttled')
    expect(classified(anAnswer({ gatewayCode: 'NoResource', echoedTaskId: '5' })).kind).toBe('refused')
  })

  test('is told by every digit', () => {
    const answer = anAnswer({ taskStatus: 'finished', echoedTaskId: '9007199254740993' })
    expect(classify(answer, '9007199254740993').kind).toBe('finished')
    expect(classify(answer, '9007199254740992')).toMatchObject({ kind: 'unavailable', reason: 'foreign_task' })
  })
})

describe('any answer at all', () => {
  const word = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('constructor', '__proto__', 'toString', 'hasOwnProperty', '0', '200', 'finished', 'failed'),
    fc.constantFrom(...Object.keys(SERVICE_CODES), ...Object.keys(GATEWAY_CODES)),
  )
  const text = fc.option(word)
  const anyBody: fc.Arbitrary<AnswerBody> = fc.record({
    gatewayCode: text,
    gatewayType: fc.constantFrom(null, 'ISV', 'ISP', 'SYSTEM'),
    gatewayMessage: text,
    success: fc.option(fc.boolean()),
    resCode: text,
    resMessage: text,
    taskStatus: text,
    taskMessage: text,
    echoedTaskId: fc.option(fc.constantFrom(ASKED, 'other')),
    failedItemCount: fc.nat(3),
    images: fc.constant([]),
    requestId: text,
    response: fc.constant(null),
    responseTruncated: fc.boolean(),
  })
  const anyAnswer = fc.record({
    kind: fc.constant('answer'),
    httpStatus: fc.integer({ min: 100, max: 999 }),
    retryAfterMs: fc.option(fc.nat()),
    body: fc.option(anyBody),
  })
  const ok = anyAnswer.map((answer) => ({ ...answer, httpStatus: 200 }))

  test('means one of the six things, and can be told in one line', () => {
    const kinds = ['running', 'finished', 'failed', 'unavailable', 'throttled', 'refused']
    fc.assert(
      fc.property(fc.oneof(ok, anyAnswer), (answer) => {
        const observation = classified(answer)
        expect(kinds).toContain(observation?.kind)
        expect(describeObservation(observation)).toMatch(new RegExp(`^${observation.kind}`))
      }),
      { numRuns: 1_000 },
    )
  })

  test('settles a task only by a word or a code that is known to be an end', () => {
    const ends = /^(finished|completed|failed|canceled|cancelled)$/i
    const codes = Object.keys(SERVICE_CODES).filter((code) => SERVICE_CODES[code]?.means === 'failed')
    fc.assert(
      fc.property(fc.oneof(ok, anyAnswer), (answer) => {
        if (answer.body === null) return
        const { taskStatus, resCode, gatewayCode } = answer.body
        const isEnd = ends.test(taskStatus ?? '') || codes.includes(resCode ?? '') || codes.includes(gatewayCode ?? '')
        if (!isEnd) expect(['finished', 'failed']).not.toContain(classified(answer).kind)
      }),
      { numRuns: 1_000 },
    )
  })

  test.each(['constructor', '__proto__'])('%s as a code is a code that nobody has documented', (code) => {
    expect(classified(anAnswer({ gatewayCode: code }))?.kind).toBe('unavailable')
    expect(classified(anAnswer({ resCode: code }))?.kind).toBe('unavailable')
  })
})

test('an observation is told in one line', () => {
  const unavailable = classified(unreadable(503))
  const told = [RUNNING, { ...RUNNING, status: '' }, FINISHED, failedWith('801', 3), unavailable, THROTTLED, REFUSED]
  expect(told.map(describeObservation)).toEqual([
    'running (running)',
    'running (no task status)',
    'finished',
    'failed (801)',
    'unavailable (http_status: HTTP 503)',
    'throttled (HTTP 429)',
    'refused (NoResource: -)',
  ])
})
