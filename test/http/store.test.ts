/** The API over the real registrar and the real store: what one call keeps, the next one reads. */

import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createCadence } from '../../src/core/cadence.ts'
import type { LeaseToken } from '../../src/core/ids.ts'
import type { Outcome } from '../../src/core/task.ts'
import { after, HOUR, SECOND } from '../../src/core/time.ts'
import { createRegistrar } from '../../src/engine/register.ts'
import type { Store } from '../../src/store/store.ts'
import { aDirectory, openAt, START, standingClock } from '../support/store.ts'
import { anApp, problemOf } from './fakes.ts'

const GOOD = { taskId: 'aidge-1', callbackUrl: 'https://example.com/hook?key=1' }

const CADENCE = { intervalMinMs: SECOND, intervalMaxMs: SECOND, pollCostMs: SECOND }

function aDaemon() {
  const store = openAt(join(aDirectory(), 'ringback.db'))
  const registrar = createRegistrar(
    {
      store,
      upstream: { kinds: () => ['virtual-model-generation'], idsPerQuery: () => 1, credentialOf: () => 'aidge' },
      guardUrl: (url) => ({ isAllowed: true, url }),
      clock: standingClock,
      cadences: { ...createCadence(CADENCE), priceFactorOf: () => 1 },
      onRegistered: () => {},
    },
    { taskDeadlineMs: HOUR },
  )
  const { get, post } = anApp({ store, registrar, clock: standingClock })
  const read = async (response: Response | Promise<Response>) => (await (await response).json()) as Answer
  return { store, get, post, read }
}

interface Answer {
  id: string
  status: string
  eventId: string
  nextCursor: string | null
  items: Answer[]
  results: { status: number; task?: Answer }[]
  subscriptions: { callbackUrl: string; deliveryId: string | null; deliveryStatus: string | null }[]
  deliveries: (Answer & { attempts: unknown[] })[]
}

const OUTCOME: Outcome = {
  status: 'succeeded',
  partial: false,
  images: [{ url: 'http://pictures.example/a%2Fb.png?Signature=x%3D', width: 1, height: 2, expiresAt: null }],
  error: null,
  response: '{"n":9007199254740993}',
  responseTruncated: false,
}

async function settleAll(store: Store): Promise<void> {
  const lease = { token: 'lse_1' as LeaseToken, expiresAt: after(START, HOUR) }
  const { tasks } = await store.claimDueTasks({
    now: START,
    lease,
    credential: 'aidge',
    settings: { rate: 1000 },
    limit: 10,
  })
  const records = tasks.map(
    (task) => ({ task, leaseToken: lease.token, poll: null, decision: { kind: 'settle', outcome: OUTCOME } }) as const,
  )
  await store.recordPolls({ now: START, records, effects: [] })
}

describe('the API over a real store', () => {
  test('the same task and callback again is 200 and the same ids; another callback is a new subscription', async () => {
    const { post, read } = aDaemon()
    const first = await post('/v1/tasks', { ...GOOD, metadata: { order: [1, null, 'é'] } })
    const task = await read(first)
    expect([first.status, first.headers.get('location')]).toEqual([201, `/v1/tasks/${task.id}`])
    expect(task).toMatchObject({ taskId: 'aidge-1', status: 'pending', metadata: { order: [1, null, 'é'] } })

    const again = await post('/v1/tasks', GOOD)
    expect([again.status, await read(again)]).toEqual([200, task])

    const other = await post('/v1/tasks', { ...GOOD, callbackUrl: 'https://example.com/other' })
    expect(other.status).toBe(201)
    const { id, subscriptions } = await read(other)
    expect(id).toBe(task.id)
    expect(subscriptions.map(({ callbackUrl }) => callbackUrl)).toEqual([GOOD.callbackUrl, 'https://example.com/other'])
  })

  test('an endpoint of an earlier task serves as a callback; an unknown one is refused by name', async () => {
    const { post, read, store } = aDaemon()
    const { id } = await read(post('/v1/tasks', GOOD))
    const endpointId = (await store.getTask(id as `task_${string}`))!.subscriptions[0]!.endpointId
    expect((await post('/v1/tasks', { taskId: 'b', endpointId })).status).toBe(201)
    const { errors } = await problemOf(await post('/v1/tasks', { taskId: 'b', endpointId: 'ep_unknown' }), 422)
    expect(errors).toMatchObject([{ pointer: '/endpointId', code: 'unknown_endpoint' }])
  })

  test('a bulk call keeps the good ones; pages of any size list each of them once', async () => {
    const { get, post, read } = aDaemon()
    const tasks = ['a', 'b', 'b b', 'c', 'a', 'd', 'e'].map((taskId) => ({ ...GOOD, taskId }))
    const { results } = await read(post('/v1/tasks/bulk', { tasks }))
    expect(results.map(({ status }) => status)).toEqual([201, 201, 422, 201, 422, 201, 201])

    const listed: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page: Answer = await read(get(`/v1/tasks?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`))
      listed.push(...page.items.map(({ id }) => id))
      cursor = page.nextCursor
    }
    expect(listed.sort()).toEqual(results.flatMap(({ task }) => (task === undefined ? [] : [task.id])).sort())
    expect((await read(get('/v1/tasks?taskId=c'))).items).toHaveLength(1)
    expect((await read(get('/v1/tasks?status=failed'))).items).toEqual([])
  })

  test('a settled task shows its outcome, event and delivery; canceling it is 409; redelivering is 202', async () => {
    const { store, get, post, read } = aDaemon()
    const { id } = await read(post('/v1/tasks', GOOD))
    await settleAll(store)

    const task = await read(get(`/v1/tasks/${id}?wait=60`))
    expect(task).toMatchObject({
      status: 'succeeded',
      nextPollAt: null,
      outcome: { partial: false, images: [{ width: 1 }] },
    })
    const [delivery] = task.deliveries
    expect(task.subscriptions).toMatchObject([{ deliveryId: delivery!.id, deliveryStatus: 'pending' }])

    const event = await (await get(`/v1/events/${task.eventId}`)).text()
    expect(event).toContain('"response":{"n":9007199254740993}')
    expect(JSON.parse(event)).toMatchObject({ id: task.eventId, type: 'task.succeeded', body: { data: { id } } })

    expect((await read(get(`/v1/deliveries?taskId=${id}&state=pending`))).items).toMatchObject([{ id: delivery!.id }])
    expect(await read(get(`/v1/deliveries/${delivery!.id}`))).toMatchObject({ eventId: task.eventId, attempts: [] })
    expect((await post(`/v1/deliveries/${delivery!.id}/redeliver`)).status).toBe(202)
    await problemOf(await post(`/v1/tasks/${id}/cancel`), 409)
  })

  test('a late callback for a settled task has its delivery at once', async () => {
    const { store, post, read } = aDaemon()
    await post('/v1/tasks', GOOD)
    await settleAll(store)
    const late = await post('/v1/tasks', { ...GOOD, callbackUrl: 'https://late.example/hook' })
    expect(late.status).toBe(201)
    const { subscriptions } = await read(late)
    expect(subscriptions.map(({ deliveryStatus }) => deliveryStatus)).toEqual(['pending', 'pending'])
  })

  test('a pending task is canceled once', async () => {
    const { post, read } = aDaemon()
    const { id } = await read(post('/v1/tasks', GOOD))
    expect(await read(post(`/v1/tasks/${id}/cancel`))).toMatchObject({ id, status: 'canceled', outcome: null })
    await problemOf(await post(`/v1/tasks/${id}/cancel`), 409)
    await problemOf(await post('/v1/tasks/task_unknown/cancel'), 404)
  })
})
