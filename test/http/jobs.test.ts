/** Recovery, bulk redelivery, jobs, deletion, and what may be asked of one task, over HTTP. */

import { describe, expect, test } from 'vitest'
import type { EndpointStatus } from '../../src/core/endpoint.ts'
import type { JobFilter } from '../../src/core/job.ts'
import { type EpochMs, epochMs, HOUR, MINUTE } from '../../src/core/time.ts'
import type { JobResult } from '../../src/store/jobs.ts'
import type { RedeliverTaskResult } from '../../src/store/store.ts'
import { aDelivery, aJob, anApp, anAttempt, anEndpoint, aTask, BEARER, NOW, problemOf } from './fakes.ts'

const ago = (ms: number): EpochMs => epochMs(NOW - ms)
const JOB_ON_THE_WIRE = {
  id: 'job_1',
  status: 'running',
  endpointId: 'ep_1',
  deliveryStatus: 'exhausted',
  since: '2026-11-22T12:00:00.000Z',
  until: null,
  eventType: null,
  totalCount: 10,
  queuedCount: 4,
  createdAt: '2026-11-22T12:00:00.000Z',
  updatedAt: '2026-11-22T12:00:00.000Z',
  finishedAt: null,
}

function recovering(result: JobResult = { kind: 'created', job: aJob() }, status: EndpointStatus = 'enabled') {
  const counted: JobFilter[] = []
  const begun: JobFilter[] = []
  const app = anApp({
    jobs: {
      async count(filter) {
        counted.push(filter)
        return 17
      },
      async begin(filter) {
        begun.push(filter)
        return result
      },
      wake: () => {},
    },
    store: { getEndpoint: async ({ id }) => (id === 'ep_1' ? anEndpoint({ status }) : null) },
  })
  return { ...app, counted, begun }
}

describe('recovering an endpoint', () => {
  test('is 202 with the job that does it', async () => {
    const { post, begun } = recovering()
    const response = await post('/v1/endpoints/ep_1/recover', { since: '2026-11-22T13:00:00+02:00' })
    expect([response.status, await response.json()]).toEqual([202, JOB_ON_THE_WIRE])
    expect(response.headers.get('location')).toBe('/v1/jobs/job_1')
    const since = ago(HOUR)
    expect(begun).toEqual([{ endpointId: 'ep_1', status: 'exhausted', since, until: null, eventType: null }])
  })

  test('takes how long ago as well', async () => {
    const { post, begun } = recovering()
    await post('/v1/endpoints/ep_1/recover', { since: '1h', until: '10m' })
    expect(begun).toMatchObject([{ since: ago(HOUR), until: ago(10 * MINUTE) }])
  })

  test('as a dry run counts and begins nothing', async () => {
    const { post, begun, counted } = recovering()
    const response = await post('/v1/endpoints/ep_1/recover', { since: '1h', dryRun: true })
    expect([response.status, await response.json()]).toEqual([200, { dryRun: true, totalCount: 17 }])
    expect(counted).toHaveLength(1)
    expect(begun).toEqual([])
  })

  test.each([
    [{}, '/since', 'missing'],
    [{ since: '2026-11-22T12:00:00.001Z' }, '/since', 'out_of_range'],
    [{ since: '1h', until: '1h' }, '/until', 'out_of_range'],
    [{ since: '1h', until: '2h' }, '/until', 'out_of_range'],
    [{ since: 'yesterday' }, '/since', 'invalid_instant'],
    [{ since: '2026-11-22T11:00:00' }, '/since', 'invalid_instant'],
    [{ since: 1_000 }, '/since', 'invalid_type'],
    [{ since: '1h', until: '' }, '/until', 'invalid_instant'],
    [{ since: '1h', dryRun: 'yes' }, '/dryRun', 'invalid_type'],
    [{ since: '1h', status: 'exhausted' }, '/status', 'unknown_field'],
  ])('with %j is 422 and names %s', async (body, pointer, code) => {
    const { post, begun, counted } = recovering()
    const { errors } = await problemOf(await post('/v1/endpoints/ep_1/recover', body), 422)
    expect(errors).toMatchObject([{ pointer, code }])
    expect([...begun, ...counted]).toEqual([])
  })

  test.each(['paused', 'disabled'] as const)('that is %s is 409 and says how to resume it', async (status) => {
    for (const dryRun of [true, false]) {
      const { post, counted, begun } = recovering(undefined, status)
      const response = await post('/v1/endpoints/ep_1/recover', { since: '1h', dryRun })
      expect((await problemOf(response, 409)).detail).toMatch(`ep_1 is ${status}`)
      expect((await problemOf(await post('/v1/endpoints/ep_1/recover', { since: '1h' }), 409)).detail).toMatch(
        'POST /v1/endpoints/ep_1/resume',
      )
      expect([...begun, ...counted]).toEqual([])
    }
  })

  test('one that is not known is 404, one that nothing is sent to 409', async () => {
    const { post } = recovering()
    await problemOf(await post('/v1/endpoints/ep_2/recover', { since: '1h' }), 404)
    await problemOf(await post('/v1/endpoints/shop/recover', { since: '1h' }), 404)
    const pulled = anApp({ store: { getEndpoint: async () => anEndpoint({ url: null }) } })
    const response = await pulled.post('/v1/endpoints/ep_1/recover', { since: '1h' })
    expect((await problemOf(response, 409)).detail).toContain('GET /v1/events?endpointId=ep_1')
  })

  test('while a job is at work on it is 409 and names the job', async () => {
    const { post } = recovering({ kind: 'job_running', job: aJob({ id: 'job_7' }) })
    const { detail } = await problemOf(await post('/v1/endpoints/ep_1/recover', { since: '1h' }), 409)
    expect(detail).toBe(
      'Job job_7 is at work on ep_1 (4 of 10). Wait for it, or cancel it with POST /v1/jobs/job_7/cancel.',
    )
  })

  test('that was paused or deleted while it was counted is told so', async () => {
    const paused = recovering({ kind: 'endpoint_not_enabled', endpoint: anEndpoint({ status: 'paused' }) })
    await problemOf(await paused.post('/v1/endpoints/ep_1/recover', { since: '1h' }), 409)
    const gone = recovering({ kind: 'unknown_endpoint' })
    await problemOf(await gone.post('/v1/endpoints/ep_1/recover', { since: '1h' }), 404)
  })
})

describe('redelivering by a filter', () => {
  test('is a job over what fits', async () => {
    const { post, begun } = recovering()
    const filter = { endpointId: 'ep_1', status: 'delivered', since: '1h', eventType: 'task.failed' }
    expect((await post('/v1/deliveries/redeliver', filter)).status).toBe(202)
    expect((await post('/v1/deliveries/redeliver', { status: 'exhausted' })).status).toBe(202)
    expect(begun).toEqual([
      { endpointId: 'ep_1', status: 'delivered', since: ago(HOUR), until: null, eventType: 'task.failed' },
      { endpointId: null, status: 'exhausted', since: null, until: null, eventType: null },
    ])
  })

  test.each([
    [{}, '/status'],
    [{ status: 'pending' }, '/status'],
    [{ status: 'canceled' }, '/status'],
    [{ status: 'exhausted', since: '2100-01-01T00:00:00Z' }, '/since'],
    [{ status: 'exhausted', eventType: '' }, '/eventType'],
    // It would find nothing, and say so as if there were nothing.
    [{ status: 'exhausted', eventType: 'task.suceeded' }, '/eventType'],
  ])('with %j is 422 and names %s', async (body, pointer) => {
    const { post, begun } = recovering()
    expect((await problemOf(await post('/v1/deliveries/redeliver', body), 422)).errors).toMatchObject([{ pointer }])
    expect(begun).toEqual([])
  })

  test('an unknown endpoint is 404', async () => {
    const { post } = recovering()
    await problemOf(await post('/v1/deliveries/redeliver', { status: 'exhausted', endpointId: 'ep_2' }), 404)
    await problemOf(await post('/v1/deliveries/redeliver', { status: 'exhausted', endpointId: 'x' }), 404)
  })
})

describe('jobs', () => {
  test('are listed, shown and stopped', async () => {
    const queries: unknown[] = []
    const { get, post } = anApp({
      store: {
        getJob: async (id) => (id === 'job_1' ? aJob() : null),
        async listJobs(query) {
          queries.push(query)
          return { items: [aJob()], nextCursor: 'job_1' }
        },
        cancelJob: async ({ id }) =>
          id === 'job_1'
            ? { kind: 'canceled', job: aJob({ status: 'canceled' }) }
            : id === 'job_2'
              ? { kind: 'already_ended', job: aJob({ status: 'done' }) }
              : { kind: 'not_found' },
      },
    })
    const page = await get('/v1/jobs?status=running&limit=3&cursor=job_9')
    expect(await page.json()).toEqual({ items: [JOB_ON_THE_WIRE], nextCursor: 'job_1' })
    expect(queries).toEqual([{ status: 'running', limit: 3, cursor: 'job_9' }])
    expect(await (await get('/v1/jobs/job_1')).json()).toEqual(JOB_ON_THE_WIRE)
    await problemOf(await get('/v1/jobs/job_2'), 404)
    await problemOf(await get('/v1/jobs/task_1'), 404)
    await problemOf(await get('/v1/jobs?status=ended'), 422)
    expect(await (await post('/v1/jobs/job_1/cancel')).json()).toMatchObject({ status: 'canceled' })
    expect((await problemOf(await post('/v1/jobs/job_2/cancel'), 409)).detail).toContain('is done')
    await problemOf(await post('/v1/jobs/job_3/cancel'), 404)
  })
})

describe('deleting an endpoint', () => {
  const deleting = () => {
    const wishes: boolean[] = []
    const woken: string[] = []
    const { app } = anApp({
      jobs: {
        count: async () => 0,
        begin: async () => ({ kind: 'unknown_endpoint' }),
        wake: () => void woken.push('j'),
      },
      store: {
        async deleteEndpoint({ id, doesDropBacklog }) {
          if (id !== 'ep_1') return { kind: 'not_found' }
          wishes.push(doesDropBacklog)
          return doesDropBacklog ? { kind: 'deleted', droppedCount: 3 } : { kind: 'has_backlog', pendingCount: 3 }
        },
      },
    })
    const remove = (path: string) => app.request(path, { method: 'DELETE', headers: BEARER })
    return { remove, wishes, woken }
  }

  test('is 204 without a body, and the rest of a backlog is seen to', async () => {
    const { remove, wishes, woken } = deleting()
    const response = await remove('/v1/endpoints/ep_1?backlog=drop')
    expect([response.status, await response.text()]).toEqual([204, ''])
    expect(response.headers.get('content-type')).toBeNull()
    expect(response.headers.get('x-request-id')).not.toBeNull()
    expect([wishes, woken]).toEqual([[true], ['j']])
  })

  test('with a backlog is 409, names the count and says how', async () => {
    const { remove, woken } = deleting()
    const { detail } = await problemOf(await remove('/v1/endpoints/ep_1'), 409)
    expect(detail).toBe(
      '3 deliveries are pending for ep_1. Wait for them, or delete it with ?backlog=drop, which cancels them.',
    )
    expect(woken).toEqual([])
  })

  test.each(['backlog=keep', 'backlog=', 'backlog=drop&backlog=drop', 'force=1'])('?%s is 422', async (query) => {
    const { remove, wishes } = deleting()
    await problemOf(await remove(`/v1/endpoints/ep_1?${query}`), 422)
    expect(wishes).toEqual([])
  })

  test('an unknown one is 404', async () => {
    const { remove } = deleting()
    await problemOf(await remove('/v1/endpoints/ep_2'), 404)
    await problemOf(await remove('/v1/endpoints/shop'), 404)
  })
})

describe('one task', () => {
  test('is asked about now', async () => {
    const woken: string[] = []
    const { post } = anApp({
      wakeScheduler: () => void woken.push('scheduler'),
      store: {
        pollTask: async ({ id }) =>
          id === 'task_01'
            ? { kind: 'due', task: aTask() }
            : id === 'task_02'
              ? { kind: 'already_settled', task: aTask({ id, status: 'failed', settledAt: NOW }) }
              : { kind: 'not_found' },
      },
    })
    const response = await post('/v1/tasks/task_01/poll')
    expect([response.status, await response.json()]).toMatchObject([202, { id: 'task_01', status: 'pending' }])
    expect(woken).toEqual(['scheduler'])
    expect((await problemOf(await post('/v1/tasks/task_02/poll'), 409)).detail).toContain('task_02 is failed since')
    await problemOf(await post('/v1/tasks/task_03/poll'), 404)
    await problemOf(await post('/v1/tasks/9f2c1e77/poll'), 404)
    expect(woken).toEqual(['scheduler'])
  })

  const redelivering = (result: RedeliverTaskResult) => {
    const woken: string[] = []
    const app = anApp({
      wakeDispatcher: () => void woken.push('dispatcher'),
      store: { redeliverTask: async () => result },
    })
    return { woken, redeliver: () => app.post('/v1/tasks/task_01/redeliver') }
  }

  test('is told of again, to all who can be told', async () => {
    const paused = anEndpoint({ id: 'ep_2', status: 'paused' })
    const { redeliver, woken } = redelivering({
      kind: 'done',
      results: [
        { kind: 'queued', delivery: aDelivery() },
        { kind: 'endpoint_not_enabled', endpoint: paused },
        { kind: 'endpoint_deleted', endpointId: 'ep_3' },
        { kind: 'under_way', delivery: aDelivery({ id: 'dlv_4', endpointId: 'ep_4' }) },
      ],
    })
    const response = await redeliver()
    expect([response.status, await response.json()]).toEqual([
      202,
      {
        items: [expect.objectContaining({ id: 'dlv_1' })],
        refused: [
          { endpointId: 'ep_2', reason: expect.stringMatching(/ep_2 is paused.*\/v1\/endpoints\/ep_2\/resume/) },
          { endpointId: 'ep_3', reason: expect.stringContaining('ep_3 was deleted') },
          { endpointId: 'ep_4', reason: expect.stringContaining('dlv_4 is under way') },
        ],
      },
    ])
    expect(woken).toEqual(['dispatcher'])
  })

  test.each([
    [{ kind: 'no_deliveries', task: aTask() }, 409, /is pending and has no deliveries: it has not ended yet/],
    [{ kind: 'no_deliveries', task: aTask({ status: 'canceled' }) }, 409, /nobody was to be told/],
    [{ kind: 'done', results: [{ kind: 'endpoint_deleted', endpointId: 'ep_3' }] }, 409, /ep_3 was deleted/],
    [{ kind: 'not_found' }, 404, /no task/],
  ] satisfies [RedeliverTaskResult, number, RegExp][])(
    'that cannot be told of (%j) is %i',
    async (result, status, said) => {
      const { redeliver, woken } = redelivering(result)
      expect((await problemOf(await redeliver(), status)).detail).toMatch(said)
      expect(woken).toEqual([])
    },
  )

  test('has a story, told in its order', async () => {
    const at = (seconds: number) => epochMs(NOW + seconds * 1_000)
    const poll = (pollNumber: number, seconds: number, reason: string | null) => ({
      pollNumber,
      firstPollNumber: 1,
      askedAt: at(seconds),
      firstAskedAt: at(1),
      durationMs: 20,
      observation: reason === null ? 'finished' : 'running',
      detail: 'x',
      httpStatus: 200,
      requestId: 'r',
      nextPollAt: reason === null ? null : at(seconds + 2),
      reason,
    })
    const { get } = anApp({
      store: {
        getTask: async (id) =>
          id === 'task_01' ? aTask({ status: 'succeeded', settledAt: at(3), eventId: 'evt_1' }) : null,
        listPolls: async () => [poll(1, 1, 'it takes a while'), poll(2, 3, null)],
        listDeliveries: async () => ({ items: [aDelivery({ createdAt: at(3) })], nextCursor: null }),
        listAttempts: async () => [
          anAttempt({ startedAt: at(4) }),
          anAttempt({ startedAt: at(9), attemptNumber: 2, verdict: 'delivered', statusCode: 204, nextAttemptAt: null }),
        ],
      },
    })
    const { id, entries } = (await (await get('/v1/tasks/task_01/timeline')).json()) as {
      id: string
      entries: { what: string; at: string }[]
    }
    expect(id).toBe('task_01')
    expect(entries.map(({ what, at }) => [what, Number(at.slice(17, 19))])).toEqual([
      ['registered', 0],
      ['polled', 1],
      ['polled', 3],
      ['settled', 3],
      ['delivery_made', 3],
      ['attempted', 4],
      ['attempted', 9],
    ])
    expect(entries[1]).toMatchObject({
      pollNumber: 1,
      reason: 'it takes a while',
      nextPollAt: '2026-11-22T12:00:03.000Z',
    })
    expect(entries[2]).toMatchObject({ pollNumber: 2, firstPollNumber: 1, firstAt: '2026-11-22T12:00:01.000Z' })
    expect(entries[3]).toMatchObject({ status: 'succeeded', eventId: 'evt_1' })
    expect(entries[6]).toMatchObject({ deliveryId: 'dlv_1', attemptNumber: 2, verdict: 'delivered', statusCode: 204 })
    await problemOf(await get('/v1/tasks/task_02/timeline'), 404)
  })
})
