/** The nine products: submitted by their own paths, asked by GET and by POST, answered each in its own shape. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AidgeSandbox, startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { PRODUCTS } from '../../src/sandbox/products.ts'
import { answer, ask, call, type Json } from './signed-call.ts'

let sandbox: AidgeSandbox

beforeAll(async () => {
  sandbox = await startAidgeSandbox({ life: 'ok' })
})
afterAll(() => sandbox.close())

const ITEM_URL = expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/sandbox%2Fresults%2F[0-9a-f]{32}_\d{14}\.png\?/)
const VIDEO_URL = expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/sandbox%2Fresults%2F[0-9a-f]{32}_\d{14}\.mp4\?/)
const TRYON_ITEM = {
  taskStatus: 'finished',
  taskResult: { result: { imageList: [{ imageUrl: ITEM_URL, clothes: expect.any(String) }] } },
}
const FINDING_ITEM = { taskStatus: 'finished', taskResult: expect.objectContaining({ hasLogo: true }) }
const REPAIRED_ITEM = expect.objectContaining({ taskStatus: 'finished', taskResult: expect.any(String) })

/** By hand from the vendor's pages: paths and names stand here a second time, so that a change of either shows. */
const CASES = [
  {
    kind: 'virtual-model-generation',
    submit: '/ai/virtual/model/generation/batch',
    query: '/ai/virtual/model/generation/query',
    idParameter: 'taskId',
    input: { count: '2', imageUrl: 'https://example.com/a.jpg' },
    results: {
      taskResult: [
        { url: ITEM_URL, width: 768, height: 768 },
        { url: ITEM_URL, width: 768, height: 768 },
      ],
    },
  },
  {
    kind: 'virtual-tryon',
    submit: '/ai/virtual/tryon',
    query: '/ai/virtual/tryon-results',
    idParameter: 'task_id',
    input: { requestParams: '[]' },
    results: { taskResult: [TRYON_ITEM, TRYON_ITEM] },
  },
  {
    kind: 'virtual-tryon-pro',
    submit: '/ai/virtual/tryon-pro',
    query: '/ai/virtual/tryon-results',
    idParameter: 'taskId',
    input: { requestParams: '{"viewType":"fullbody"}' },
    results: { taskResult: [TRYON_ITEM, TRYON_ITEM] },
  },
  {
    kind: 'hand-foot-repair',
    submit: '/ai/hand-foot/repair',
    query: '/ai/hand-foot/repair-results',
    idParameter: 'taskId',
    input: { paramJson: '[{"area":"hand"}]' },
    results: { usage: 0, taskResult: [REPAIRED_ITEM, REPAIRED_ITEM] },
  },
  {
    kind: 'image-translation-pro',
    submit: '/ai/image/translation_mllm/batch',
    query: '/ai/image/translation_mllm/results',
    idParameter: 'taskId',
    input: { paramJson: '[{"targetLanguage":"ko"}]' },
    results: {
      taskResult: [
        { taskStatus: 'finished', result_image_url: ITEM_URL },
        { taskStatus: 'finished', result_image_url: ITEM_URL },
      ],
    },
  },
  {
    kind: 'image-detection',
    submit: '/ai/image/detection/batch',
    query: '/ai/image/detection/query',
    idParameter: 'taskId',
    input: { imageDetectRequestList: '[]' },
    results: { taskResult: [FINDING_ITEM, FINDING_ITEM] },
  },
  {
    kind: 'background-generation',
    submit: '/ai/image/background/generation/batch',
    query: '/ai/image/background/generation/query',
    idParameter: 'taskId',
    input: {},
    results: {
      taskResult: [expect.objectContaining({ taskStatus: 'finished', imageUrlList: [ITEM_URL, ITEM_URL] })],
    },
  },
  {
    kind: 'video-removal',
    submit: '/ai/video/removal',
    query: '/ai/video/removal/result',
    idParameter: 'taskId',
    input: {},
    results: { videoUrl: VIDEO_URL },
  },
  {
    kind: 'video-translation',
    submit: '/ai/video/translation',
    query: '/ai/video/translation/result',
    idParameter: 'taskId',
    input: {},
    results: { videoUrl: VIDEO_URL },
  },
] as const

test('there are nine', () => {
  expect(PRODUCTS.map((product) => product.kind)).toEqual(CASES.map((product) => product.kind))
})

describe.each(CASES)('$kind', ({ kind, submit, query, idParameter, input, results }) => {
  test('is submitted, and finished in its own shape, by GET as by POST', async () => {
    const submitted = await answer(sandbox, { path: submit, body: input })
    const isFlat = kind === 'virtual-model-generation'
    const taskId = isFlat ? submitted.data.taskId : submitted.data.result.taskId
    expect(submitted.data).toEqual(isFlat ? { taskId } : { result: { taskId } })
    const byPost = await answer(sandbox, { path: query, body: { [idParameter]: taskId } })
    expect(byPost.data).toEqual({ ...results, taskStatus: 'finished', taskId })
    const byGet = await answer(sandbox, { path: query, parameters: { [idParameter]: taskId } })
    expect(byGet.data).toEqual(byPost.data)
  })

  test('an unfinished task has a status and no results', async () => {
    const { data } = await answer(sandbox, { path: query, body: { [idParameter]: 'never-1' } })
    expect(data).toEqual({ taskStatus: 'running', taskId: 'never-1' })
  })

  test('a partial one names the item that failed', async () => {
    const { data } = await answer(sandbox, { path: query, body: { [idParameter]: 'partial-1' } })
    expect(data.taskResult).toContainEqual({ taskStatus: 'failed', taskMessage: expect.any(String) })
  })

  test.each([
    ['no id', {}],
    ['an id of another name', { task: 'ok-1' }],
    ['an id that is no text', { taskId: 1, task_id: 1 }],
  ])('%s is invalid input', async (_, body) => {
    expect(await answer(sandbox, { path: query, body })).toMatchObject({ success: false, resCode: 700 })
  })
})

test('a finished virtual model reads as on the vendor’s page, field for field', async () => {
  const response = await call(sandbox, { path: '/ai/virtual/model/generation/query', body: { taskId: 'ok-1' } })
  const finished = (await response.json()) as Json
  expect(Object.keys(finished)).toEqual([
    'data',
    'requestId',
    'success',
    'resCode',
    'resMessage',
    'code',
    'request_id',
    '_trace_id_',
  ])
  expect(finished).toMatchObject({ success: true, resCode: 200, resMessage: 'success', code: '0' })
  expect(finished._trace_id_).toBe(finished.requestId)
  expect(finished.request_id).not.toBe(finished.requestId)
  expect(Object.keys(finished.data)).toEqual(['taskResult', 'taskStatus', 'taskId'])
  expect(Object.keys(finished.data.taskResult[0])).toEqual(['width', 'url', 'height'])
  const url = new URL(finished.data.taskResult[0].url)
  expect([...url.searchParams.keys()]).toEqual(['OSSAccessKeyId', 'Expires', 'Signature'])
  expect(Number(url.searchParams.get('Expires'))).toBeGreaterThan(Date.now() / 1000 + 30 * 365 * 86_400)
  expect(finished.data.taskResult[1].url).not.toBe(finished.data.taskResult[0].url)
})

test('hands and feet lie as JSON text in the JSON, and their answer has no resCode', async () => {
  const finished = await answer(sandbox, { path: '/ai/hand-foot/repair-results', body: { taskId: 'ok-1' } })
  expect(JSON.parse(finished.data.taskResult[0].taskResult)).toMatchObject({
    data: { success: true, structData: { code: '200', data: [ITEM_URL] } },
  })
  expect(finished).not.toHaveProperty('resCode')
  expect(finished).not.toHaveProperty('success')
})

test('task_id is understood where the vendor uses it and nowhere else', async () => {
  const path = '/ai/virtual/model/generation/query'
  expect(await answer(sandbox, { path, body: { task_id: 'ok-1' } })).toMatchObject({ resCode: 700 })
})

test('an id in the wrong place of a request is invalid input', async () => {
  const path = '/ai/virtual/model/generation/query'
  expect(await answer(sandbox, { path, body: {}, parameters: { taskId: 'ok-1' } })).toMatchObject({ resCode: 700 })
  expect(await answer(sandbox, { path, body: 'taskId=ok-1' })).toMatchObject({ resCode: 700 })
})

test.each([
  ['text that is no JSON', 'count=2'],
  ['a list', []],
  ['inputs that are no text', { paramJson: [] }],
  ['inputs whose text is no JSON', { requestParams: '{' }],
])('a submit of %s is invalid input and makes no task', async (_, body) => {
  const before = sandbox.stats().submitCount
  expect(await answer(sandbox, { path: '/ai/virtual/tryon-pro', body })).toMatchObject({ resCode: 700 })
  expect(sandbox.stats().submitCount).toBe(before)
})

test('a submit can ask for a life, which is then written in the id', async () => {
  const headers = { 'x-sandbox-life': 'code-1000' }
  const submitted = await answer(sandbox, { path: '/ai/virtual/model/generation/batch', body: {}, headers })
  expect(submitted.data.taskId).toMatch(/^code-1000-[0-9a-f]{8}-/)
  expect(await ask(sandbox, submitted.data.taskId)).toMatchObject({ resCode: 1000 })
})

test('a seed decides the ids of submitted tasks, and no two starts without one give the same', async () => {
  const idOf = async (options: { seed?: number }) => {
    const other = await startAidgeSandbox(options)
    const submitted = await answer(other, { path: '/ai/virtual/model/generation/batch', body: {} })
    await other.close()
    return submitted.data.taskId as string
  }
  expect(await idOf({ seed: 1 })).toBe(await idOf({ seed: 1 }))
  expect(await idOf({})).not.toBe(await idOf({}))
})

test('behind the address of a result is a picture', async () => {
  const { data } = await ask(sandbox, 'ok-1')
  const response = await fetch(data.taskResult[0].url)
  expect(response.headers.get('content-type')).toBe('image/png')
  const bytes = Buffer.from(await response.arrayBuffer())
  expect(bytes.subarray(1, 4).toString()).toBe('PNG')
  expect([bytes.readUInt32BE(16), bytes.readUInt32BE(20)]).toEqual([768, 768])
})
