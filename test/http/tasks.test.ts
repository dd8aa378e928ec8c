/** Tasks over HTTP. */

import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { epochMs } from '../../src/core/time.ts'
import type { RegistrationInput } from '../../src/http/schemas.ts'
import type { TaskFilter } from '../../src/store/store.ts'
import { aDelivery, aListeningRegistrar, anApp, anAttempt, aRegistrar, aTask, BEARER, NOW, problemOf } from './fakes.ts'

const GOOD = { taskId: '9f2c1e77', callbackUrl: 'https://example.com/hook' }

const ON_THE_WIRE = {
  id: 'task_01',
  taskId: '9f2c1e77',
  kind: 'virtual-model-generation',
  status: 'pending',
  metadata: { order: '1180' },
  registeredAt: '2026-11-22T12:00:00.000Z',
  submittedAt: null,
  settledAt: null,
  deadlineAt: '2026-11-22T12:00:01.000Z',
  nextPollAt: '2026-11-22T12:00:00.000Z',
  pollCount: 0,
  lastObservation: null,
  eventId: null,
  outcome: null,
  subscriptions: [
    {
      endpointId: 'ep_1',
      callbackUrl: 'https://example.com/hook',
      deliveryId: null,
      deliveryStatus: null,
      endpointStatus: 'enabled',
    },
  ],
}

describe('registering one', () => {
  test('a new task is 201, with the task and where it is', async () => {
    const response = await anApp().post('/v1/tasks', { ...GOOD, metadata: { order: '1180' } })
    expect(response.status).toBe(201)
    expect(response.headers.get('location')).toBe('/v1/tasks/task_01')
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toEqual(ON_THE_WIRE)
  })

  test('a known one is 200 with the same ids', async () => {
    const response = await anApp().post('/v1/tasks', { ...GOOD, taskId: 'known1' })
    expect(response.status).toBe(200)
    expect(response.headers.get('location')).toBeNull()
    expect(await response.json()).toMatchObject({ id: 'task_01', taskId: 'known1' })
  })

  test('every field reaches the registrar as it was sent', async () => {
    const { registrar, calls } = aListeningRegistrar()
    const metadata = JSON.parse('{"__proto__":{"a":1},"é":[1,{"b":null}]}')
    const inputs = [
      { ...GOOD, kind: 'k', metadata, deadline: '2h', submittedAt: 1_790_000_000_000 },
      { taskId: 'b', endpointId: 'ep_1', submittedAt: '2026-11-22T12:00:00Z' },
    ]
    const { post } = anApp({ registrar })
    for (const input of inputs) expect((await post('/v1/tasks', JSON.stringify(input))).status).toBe(201)
    expect(calls.flat()).toEqual(inputs)
    expect(JSON.stringify(calls[0]?.[0]?.metadata)).toBe('{"__proto__":{"a":1},"é":[1,{"b":null}]}')
  })

  test('the answer leaves only after the registrar is done', async () => {
    const order: string[] = []
    let commit = () => {}
    const committed = new Promise<void>((resolve) => {
      commit = resolve
    })
    let reached = () => {}
    const registering = new Promise<void>((resolve) => {
      reached = resolve
    })
    const registrar = {
      async register(inputs: readonly RegistrationInput[]) {
        reached()
        await committed
        order.push('committed')
        return aRegistrar.register(inputs)
      },
    }
    const answered = Promise.resolve(anApp({ registrar }).post('/v1/tasks', GOOD)).then(({ status }) =>
      order.push(`answered ${status}`),
    )
    await registering
    await new Promise((resolve) => setImmediate(resolve))
    expect(order).toEqual([])
    commit()
    await answered
    expect(order).toEqual(['committed', 'answered 201'])
  })

  test.each([
    [
      'a number for text',
      { ...GOOD, taskId: 2 ** 53 },
      '/taskId',
      'invalid_type',
      /expected text, got 9007199254740992/,
    ],
    ['null for text', { ...GOOD, kind: null }, '/kind', 'invalid_type', /expected text, got null/],
    ['an object for text', { ...GOOD, callbackUrl: {} }, '/callbackUrl', 'invalid_type', /got an object/],
    ['a list for an instant', { ...GOOD, submittedAt: [] }, '/submittedAt', 'invalid_type', /ISO 8601.*got 0 items/],
    ['no id', { callbackUrl: 'https://x' }, '/taskId', 'missing', /is missing/],
    [
      'an unknown field',
      { ...GOOD, calbackUrl: 'x' },
      '/calbackUrl',
      'unknown_field',
      /"calbackUrl".*known are.*callbackUrl/,
    ],
    ['a field with a slash', { ...GOOD, 'a/b~c': 1 }, '/a~1b~0c', 'unknown_field', /a\/b~c/],
    ['a field with control characters', { ...GOOD, 'a\u001b[31m': 1 }, '/a\u001b[31m', 'unknown_field', /\\u001b/],
    ['what a rule refuses', { ...GOOD, taskId: 'a b' }, '/taskId', 'invalid_task_id', /no spaces/],
  ])('%s is 422', async (_, input, pointer, code, said) => {
    const problem = await problemOf(await anApp().post('/v1/tasks', input), 422)
    expect(problem.errors).toEqual([{ pointer, code, message: expect.stringMatching(said) }])
    expect(problem.detail).toMatch(said)
  })

  test('__proto__ as a field is unknown, and changes nothing', async () => {
    const body = '{"taskId":"a","callbackUrl":"https://x","__proto__":{"kind":"x"}}'
    const { errors } = await problemOf(await anApp().post('/v1/tasks', body), 422)
    expect(errors).toMatchObject([{ pointer: '/__proto__', code: 'unknown_field' }])
  })

  test('all wrong fields are told at once, but not without end', async () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`field${index}`, 1]))
    const { errors, detail } = await problemOf(await anApp().post('/v1/tasks', { taskId: 1, kind: 2, ...many }), 422)
    expect(errors.slice(0, 2).map(({ pointer }) => pointer)).toEqual(['/taskId', '/kind'])
    expect(errors).toHaveLength(22)
    expect(detail).toBe('22 things are wrong; see errors')
  })

  test('a full disk is 507', async () => {
    const registrar = { register: () => Promise.reject(Object.assign(new Error('full'), { code: 'SQLITE_FULL' })) }
    expect((await problemOf(await anApp({ registrar }).post('/v1/tasks', GOOD), 507)).detail).toContain(
      'nothing of this was kept',
    )
  })
})

describe('registering many', () => {
  interface Results {
    results: { status: number; task?: { taskId: string }; problem?: { errors: { pointer: string; code: string }[] } }[]
  }

  test('good and bad ones in one call: each has its own result, in order', async () => {
    const tasks = [
      GOOD,
      { ...GOOD, taskId: 'a b' },
      { ...GOOD, taskId: 'known2' },
      5,
      { ...GOOD, x: 1 },
      { ...GOOD, taskId: 'c' },
    ]
    const response = await anApp().post('/v1/tasks/bulk', { tasks })
    expect(response.status).toBe(200)
    const { results } = (await response.json()) as Results
    expect(results.map(({ status }) => status)).toEqual([201, 422, 200, 422, 422, 201])
    expect(results.map(({ task }) => task?.taskId)).toEqual([
      '9f2c1e77',
      undefined,
      'known2',
      undefined,
      undefined,
      'c',
    ])
    expect(results.map(({ problem }) => problem?.errors.map(({ pointer, code }) => `${pointer} ${code}`))).toEqual([
      undefined,
      ['/tasks/1/taskId invalid_task_id'],
      undefined,
      ['/tasks/3 invalid_type'],
      ['/tasks/4/x unknown_field'],
      undefined,
    ])
    expect(results[1]?.problem).toMatchObject({
      type: 'urn:ringback:problem:invalid',
      status: 422,
      instance: response.headers.get('x-request-id'),
    })
  })

  test('the registrar is asked once, with what has the right shape', async () => {
    const { registrar, calls } = aListeningRegistrar()
    const { post } = anApp({ registrar })
    await post('/v1/tasks/bulk', { tasks: [GOOD, null, GOOD] })
    await post('/v1/tasks/bulk', { tasks: [null] })
    expect(calls.map((inputs) => inputs.length)).toEqual([2])
  })

  test('a thousand go in, one more is 422 and nothing goes in', async () => {
    const { registrar, calls } = aListeningRegistrar()
    const { post } = anApp({ registrar })
    const many = (count: number) => ({
      tasks: Array.from({ length: count }, (_, index) => ({ ...GOOD, taskId: `t${index}` })),
    })
    expect((await post('/v1/tasks/bulk', many(1000))).status).toBe(200)
    const { errors } = await problemOf(await post('/v1/tasks/bulk', many(1001)), 422)
    expect(errors).toEqual([
      {
        pointer: '/tasks',
        code: 'out_of_range',
        message: 'at most 1000 tasks go into one call; send the rest in another, got 1001 items',
      },
    ])
    expect(calls.map((inputs) => inputs.length)).toEqual([1000])
  })

  test.each([
    [{}, '/tasks', 'missing'],
    [{ tasks: {} }, '/tasks', 'invalid_type'],
    [{ tasks: [] }, '/tasks', 'out_of_range'],
    [{ tasks: [GOOD], atomic: true }, '/atomic', 'unknown_field'],
    [[GOOD], '', 'invalid_type'],
  ])('%j is 422', async (body, pointer, code) => {
    expect((await problemOf(await anApp().post('/v1/tasks/bulk', body), 422)).errors).toMatchObject([{ pointer, code }])
  })

  test('a store that fails fails the whole call', async () => {
    const registrar = { register: () => Promise.reject(new AppError('unavailable', 'busy', { retryAfterMs: 1 })) }
    await problemOf(await anApp({ registrar }).post('/v1/tasks/bulk', { tasks: [GOOD] }), 503)
  })
})

describe('listing', () => {
  const listing = () => {
    const filters: TaskFilter[] = []
    const app = anApp({
      store: {
        async listTasks(filter) {
          filters.push(filter)
          return { items: [aTask()], nextCursor: 'next1' }
        },
      },
    })
    return { ...app, filters }
  }

  test('answers a page', async () => {
    const { get, filters } = listing()
    const response = await get('/v1/tasks')
    expect(await response.json()).toEqual({ items: [ON_THE_WIRE], nextCursor: 'next1' })
    expect(filters).toEqual([{ limit: 50 }])
  })

  test('passes every filter on', async () => {
    const { get, filters } = listing()
    await get('/v1/tasks?status=failed&kind=image-translation&taskId=a%2Fb&limit=7&cursor=task_next1')
    expect(filters).toEqual([
      { status: 'failed', kind: 'image-translation', taskId: 'a/b', limit: 7, cursor: 'task_next1' },
    ])
  })

  test.each([
    ['1', 1],
    ['500', 500],
    ['501', 500],
    ['1000000000', 500],
  ])('a limit of %s is %d', async (limit, read) => {
    const { get, filters } = listing()
    await get(`/v1/tasks?limit=${limit}`)
    expect(filters).toEqual([{ limit: read }])
  })

  test.each([
    ['limit=0', '/query/limit', 'invalid_value'],
    ['limit=-1', '/query/limit', 'invalid_value'],
    ['limit=1.5', '/query/limit', 'invalid_value'],
    ['limit=1e3', '/query/limit', 'invalid_value'],
    ['limit=', '/query/limit', 'invalid_value'],
    ['status=done', '/query/status', 'invalid_value'],
    ['status=__proto__', '/query/status', 'invalid_value'],
    ['taskId=a%20b', '/query/taskId', 'invalid_value'],
    ['cursor=%00', '/query/cursor', 'invalid_value'],
    ['order=id;drop', '/query/order', 'unknown_field'],
    ['__proto__=1', '/query/__proto__', 'unknown_field'],
    ['limit=1&limit=2', '/query/limit', 'duplicate'],
  ])('?%s is 422', async (query, pointer, code) => {
    const { get, filters } = listing()
    expect((await problemOf(await get(`/v1/tasks?${query}`), 422)).errors).toMatchObject([{ pointer, code }])
    expect(filters).toEqual([])
  })
})

describe('showing', () => {
  test('a task comes with its deliveries, and each of them with its attempts', async () => {
    const outcome = JSON.stringify({
      partial: true,
      images: [{ url: 'http://x/?a=%2F', width: 1, height: 2, expiresAt: NOW }],
      error: null,
    })
    const settled = aTask({ status: 'succeeded', settledAt: NOW, nextPollAt: null, eventId: 'evt_1', outcome })
    const { get } = anApp({
      store: {
        getTask: async (id) => (id === 'task_01' ? settled : null),
        listDeliveries: async ({ taskId }) => ({
          items: taskId === 'task_01' ? [aDelivery(), aDelivery({ id: 'dlv_2' })] : [],
          nextCursor: null,
        }),
        listAttempts: async (ids) =>
          ids.flatMap((id) => [1, 2].map((attemptNumber) => anAttempt({ deliveryId: id, attemptNumber }))),
      },
    })
    const response = await get('/v1/tasks/task_01')
    expect(response.status).toBe(200)
    const body = (await response.json()) as { deliveries: { id: string; attempts: object[] }[] }
    expect(body).toMatchObject({
      ...ON_THE_WIRE,
      status: 'succeeded',
      settledAt: '2026-11-22T12:00:00.000Z',
      nextPollAt: null,
      eventId: 'evt_1',
      outcome: { partial: true, images: [{ url: 'http://x/?a=%2F' }], error: null },
    })
    expect(body.deliveries.map(({ id, attempts }) => [id, attempts.length])).toEqual([
      ['dlv_1', 2],
      ['dlv_2', 2],
    ])
    expect(body.deliveries[0]?.attempts[0]).toEqual({
      id: 'att_1',
      deliveryId: 'dlv_1',
      attemptNumber: 1,
      isManual: false,
      isProbe: false,
      verdict: 'retry',
      startedAt: '2026-11-22T12:00:00.000Z',
      durationMs: 12,
      statusCode: 503,
      failure: null,
      detail: null,
      responseExcerpt: 'busy',
      responseTruncated: false,
      responseHeaders: { 'retry-after': '5' },
      timings: { dnsMs: 2, connectMs: 5, tlsMs: 11, answerMs: 20 },
      remoteAddress: '203.0.113.7',
      nextAttemptAt: '2026-11-22T12:00:05.000Z',
    })
  })

  test.each(['task_99', 'evt_1', '9f2c1e77', 'task_', "task_'--", '%00', '..%2F..%2Fx', 'x'.repeat(5000)])(
    '%s is 404',
    async (id) => {
      const { detail } = await problemOf(await anApp().get(`/v1/tasks/${id}`), 404)
      expect(detail.length).toBeLessThan(300)
    },
  )
})

describe('waiting for a task', () => {
  const waiting = (settlesAfter: number) => {
    let looks = 0
    const app = anApp({
      store: {
        getTask: async () => {
          looks += 1
          return aTask({ status: looks > settlesAfter ? 'failed' : 'pending' })
        },
      },
    })
    return { ...app, looks: () => looks }
  }

  test('ends as soon as the task has settled', async () => {
    const { get, clock } = waiting(8)
    expect(await (await get('/v1/tasks/task_01?wait=30')).json()).toMatchObject({ status: 'failed' })
    expect(clock.now()).toBe(NOW + 2000)
  })

  test('ends when the time is up, with the task as it is', async () => {
    const { get, clock } = waiting(Number.POSITIVE_INFINITY)
    expect(await (await get('/v1/tasks/task_01?wait=2')).json()).toMatchObject({ status: 'pending' })
    expect(clock.now()).toBe(NOW + 2000)
  })

  test.each(['', '?wait=0'])('does not wait with %s', async (query) => {
    const { get, looks } = waiting(1)
    expect(await (await get(`/v1/tasks/task_01${query}`)).json()).toMatchObject({ status: 'pending' })
    expect(looks()).toBe(1)
  })

  test.each(['-1', '61', '1.5', '30s', 'x', ''])('for %s is 422', async (wait) => {
    const { errors } = await problemOf(await anApp().get(`/v1/tasks/task_01?wait=${wait}`), 422)
    expect(errors).toMatchObject([{ pointer: '/query/wait', code: 'invalid_value' }])
  })

  test.each(['the caller leaves', 'the daemon stops'])('ends when %s', async (who) => {
    const [caller, daemon] = [new AbortController(), new AbortController()]
    let looks = 0
    let leave = () => {}
    const { app } = anApp({
      stopping: daemon.signal,
      // Time stands still: only leaving can end the wait.
      clock: {
        now: () => NOW,
        wakeAt() {
          leave()
          return () => {}
        },
      },
      store: {
        async getTask() {
          looks += 1
          return aTask()
        },
      },
    })
    leave = () => queueMicrotask(() => (who === 'the caller leaves' ? caller : daemon).abort())
    const request = new Request('http://x/v1/tasks/task_01?wait=60', { headers: BEARER, signal: caller.signal })
    expect((await app.request(request)).status).toBe(200)
    expect(looks).toBe(2)
  })

  test('for a task that does not exist is 404 at once', async () => {
    const { get, clock } = anApp()
    await problemOf(await get('/v1/tasks/task_99?wait=60'), 404)
    expect(clock.now()).toBe(NOW)
  })
})

describe('canceling', () => {
  test('a pending task is 200 with the task', async () => {
    const task = aTask({ status: 'canceled', settledAt: NOW })
    const { post } = anApp({ store: { cancelTask: async () => ({ kind: 'canceled', task }) } })
    const response = await post('/v1/tasks/task_01/cancel')
    expect([response.status, await response.json()]).toMatchObject([200, { id: 'task_01', status: 'canceled' }])
  })

  test('a settled one is 409, and says how it ended', async () => {
    const task = aTask({ status: 'succeeded', settledAt: epochMs(NOW + 1) })
    const { post } = anApp({ store: { cancelTask: async () => ({ kind: 'already_settled', task }) } })
    const { detail } = await problemOf(await post('/v1/tasks/task_01/cancel'), 409)
    expect(detail).toContain('succeeded since 2026-11-22T12:00:00.001Z')
  })

  test('an unknown one is 404', async () => {
    await problemOf(await anApp().post('/v1/tasks/task_99/cancel'), 404)
    await problemOf(await anApp().post('/v1/tasks/9f2c1e77/cancel'), 404)
  })
})
