/** Reading events over HTTP: pages with a cursor that holds, waiting for the next one, and trying an endpoint. */

import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import type { SignedEvent } from '../../src/core/webhook-headers.ts'
import type { PulledEvent, Puller } from '../../src/http/events.ts'
import { anApp, NOW, problemOf } from './fakes.ts'

const BODY = '{"type":"task.succeeded","data":{"big":9007199254740993}}'

const placed = (position: number): PulledEvent => ({
  position,
  event: { id: `evt_${position}`, taskId: 'task_1', type: 'task.succeeded', createdAt: NOW, body: BODY },
  headers: { 'webhook-id': `evt_${position}`, 'webhook-timestamp': '1', 'webhook-signature': 'v1,x' },
})

/** Events that are there from the start, or come with the n-th look. */
function aPuller(pages: readonly (readonly PulledEvent[])[]) {
  const asked: Parameters<Puller['pull']>[0][] = []
  const acknowledged: [string, number][] = []
  const puller: Puller = {
    async pull(request) {
      asked.push(request)
      return pages[Math.min(asked.length, pages.length) - 1] ?? []
    },
    acknowledge: async (endpointId, upTo) => void acknowledged.push([endpointId, upTo]),
  }
  return { puller, asked, acknowledged }
}

interface Page {
  items: (Pick<SignedEvent, 'headers'> & { id: string; cursor: string; payload: string })[]
  nextCursor: string
}

describe('pulling', () => {
  test('gives each event with the bytes and the headers of its webhook, and where to go on', async () => {
    const { puller, asked } = aPuller([[placed(3), placed(7)]])
    const { get } = anApp({ puller })
    const response = await get('/v1/events')
    expect(response.status).toBe(200)
    const { items, nextCursor } = (await response.json()) as Page
    expect(items.map(({ id, cursor }) => [id, cursor])).toEqual([
      ['evt_3', '3'],
      ['evt_7', '7'],
    ])
    // The text itself: parsed and written anew it would be another number, and another signature.
    expect(items[0]).toMatchObject({ payload: BODY, headers: { 'webhook-id': 'evt_3', 'webhook-signature': 'v1,x' } })
    expect(nextCursor).toBe('7')
    expect(asked).toEqual([{ endpointId: null, after: 0, limit: 50 }])
  })

  test('an empty page gives back the cursor that it was asked with', async () => {
    const { get } = anApp({ puller: aPuller([[]]).puller })
    expect(await (await get('/v1/events?after=41')).json()).toEqual({ items: [], nextCursor: '41' })
  })

  test('asking after a cursor for an endpoint says that what came up to it has arrived; asking from the start does not', async () => {
    const { puller, acknowledged } = aPuller([[]])
    const { get } = anApp({ puller })
    await get('/v1/events?endpointId=ep_1')
    await get('/v1/events?endpointId=ep_1&after=0')
    await get('/v1/events?after=9')
    expect(acknowledged).toEqual([])
    await get('/v1/events?endpointId=ep_1&after=9')
    expect(acknowledged).toEqual([['ep_1', 9]])
  })

  test('for an endpoint or a cursor that is refused, nothing counts as arrived', async () => {
    const { puller, acknowledged } = aPuller([[]])
    const pull = () => Promise.reject(new AppError('invalid', 'beyond the last event'))
    const { get } = anApp({ puller: { ...puller, pull } })
    await problemOf(await get('/v1/events?endpointId=ep_1&after=9'), 422)
    expect(acknowledged).toEqual([])
  })

  test('waits for the next event, and answers as soon as it is there', async () => {
    const { puller, asked } = aPuller([[], [], [placed(8)]])
    const { get } = anApp({ puller })
    const { items } = (await (await get('/v1/events?after=7&wait=30')).json()) as Page
    expect(items.map(({ id }) => id)).toEqual(['evt_8'])
    expect(asked).toHaveLength(3)
  })

  test('a page holds at most a hundred events', async () => {
    const { puller, asked } = aPuller([[]])
    const { get } = anApp({ puller })
    await get('/v1/events?limit=500')
    expect(asked[0]?.limit).toBe(100)
  })

  test.each([
    ['after=evt_1', 'after'],
    ['after=-1', 'after'],
    ['after=1e3', 'after'],
    ['wait=61', 'wait'],
    ['endpointId=task_1', 'endpointId'],
    ['limit=0', 'limit'],
    ['since=1', 'since'],
  ])('?%s is refused by name', async (query, name) => {
    const { puller, asked } = aPuller([[]])
    const { get } = anApp({ puller })
    const response = await get(`/v1/events?${query}`)
    expect(response.status).toBe(422)
    expect(JSON.stringify(await response.json())).toContain(name)
    expect(asked).toEqual([])
  })
})

describe('trying an endpoint', () => {
  const exchange = {
    durationMs: 38,
    responseExcerpt: '{"error":"bad signature"}',
    responseTruncated: false,
    responseHeaders: {},
    remoteAddress: '203.0.113.7',
    timings: { dnsMs: 4, connectMs: 11, tlsMs: 19, answerMs: 4 },
  }
  const answered = (status: number) =>
    ({ ...exchange, result: { kind: 'response', status, retryAfter: null } }) as const

  test('tells the answer, where the time went, and what to do', async () => {
    const tried: unknown[] = []
    const { post } = anApp({
      trials: {
        async run(id, type) {
          tried.push([id, type])
          return { exchange: answered(401), summary: 'HTTP 401', remedy: 'verify the raw body' }
        },
      },
    })
    const response = await post('/v1/endpoints/ep_1/test')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({
      ok: false,
      type: 'endpoint.test',
      status: 401,
      summary: 'HTTP 401',
      remedy: 'verify the raw body',
      durationMs: 38,
      timings: { dnsMs: 4, connectMs: 11, tlsMs: 19, answerMs: 4 },
      remoteAddress: '203.0.113.7',
      responseExcerpt: '{"error":"bad signature"}',
      responseTruncated: false,
    })
    expect(tried).toEqual([['ep_1', 'endpoint.test']])
  })

  test('sends what it was asked for; another type is refused with those that there are', async () => {
    const types: string[] = []
    const { post } = anApp({
      trials: {
        async run(_id, type) {
          types.push(type)
          return { exchange: answered(204), summary: 'HTTP 204', remedy: null }
        },
      },
    })
    const good = await post('/v1/endpoints/ep_1/test', { type: 'task.failed' })
    expect(await good.json()).toMatchObject({ ok: true, type: 'task.failed', status: 204 })
    const bad = await post('/v1/endpoints/ep_1/test', { type: 'task.canceled' })
    expect(bad.status).toBe(422)
    expect(JSON.stringify(await bad.json())).toContain('task.expired')
    // A program that names a content type with everything it sends.
    await post('/v1/endpoints/ep_1/test', undefined, { 'content-type': 'application/json' })
    expect(types).toEqual(['task.failed', 'endpoint.test'])
  })
})
