/** What every store promises, as sentences. An adapter's own test file only says how to open one. */

import { describe, expect, test } from 'vitest'
import { type AttemptResult, type DueDelivery, judge } from '../../src/core/delivery.ts'
import type { Endpoint } from '../../src/core/endpoint.ts'
import type { DeliveryId, EndpointId, LeaseToken, TaskId } from '../../src/core/ids.ts'
import { eventIdOf } from '../../src/core/ids.ts'
import { RETRY_SCHEDULE_MS } from '../../src/core/retry.ts'
import { formatSecret, parseSecret, type SigningKey } from '../../src/core/signature.ts'
import type { DueTask, Outcome } from '../../src/core/task.ts'
import { after, DAY, type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import type { Exchange } from '../../src/ports.ts'
import type { ClaimDeliveries, PollRecord, Registered, Store, Task } from '../../src/store/store.ts'
import { ANY_HOST, aRegistration, START } from '../support/store.ts'

export interface StoreHarness {
  readonly store: Store
  /** The daemon is gone and another one starts over the same database. */
  reopen(): Promise<StoreHarness>
}

const NONE_IN_FLIGHT: ReadonlyMap<EndpointId, number> = new Map()
export const SETTINGS = { rate: 1_000 }
export const LEASE_MS = 60 * SECOND

export function at(ms: number): EpochMs {
  return epochMs(START + ms)
}

export function lease(name: string, now: EpochMs = START) {
  return { token: `lse_${name}` as LeaseToken, expiresAt: after(now, LEASE_MS) }
}

export function taskOf(registered: Registered | undefined): Task {
  if (registered?.kind !== 'registered') throw new Error(`not registered: ${JSON.stringify(registered)}`)
  return registered.task
}

export async function register(
  store: Store,
  overrides: Parameters<typeof aRegistration>[0] = {},
  now = START,
): Promise<Task> {
  return taskOf((await store.registerTasks({ now, registrations: [aRegistration(overrides)] }))[0])
}

export async function claim(store: Store, name: string, now = START, limit = 10): Promise<readonly DueTask[]> {
  return (await store.claimDueTasks({ now, lease: lease(name, now), credential: 'aidge', settings: SETTINGS, limit }))
    .tasks
}

export const SUCCEEDED: Outcome = {
  status: 'succeeded',
  partial: false,
  images: [{ url: 'http://pictures.example/a%2Fb.png?Expires=1&Signature=x%3D', width: 1, height: 2, expiresAt: null }],
  error: null,
  response: '{"taskStatus":"finished","n":9007199254740993}',
  responseTruncated: false,
}

export function polled(task: DueTask, lease: string, decision: PollRecord['decision']): PollRecord {
  const poll = {
    askedAt: START,
    durationMs: 5,
    observation: 'running',
    detail: 'x',
    httpStatus: 200,
    requestId: 'r',
  } as const
  return { task, leaseToken: `lse_${lease}` as LeaseToken, poll, decision }
}

export function settledBy(task: DueTask, lease: string, outcome: Outcome = SUCCEEDED): PollRecord {
  return polled(task, lease, { kind: 'settle', outcome })
}

export function pollAgain(task: DueTask, lease: string, nextPollAt: EpochMs): PollRecord {
  return polled(task, lease, {
    kind: 'poll_again',
    nextPollAt,
    reason: 'later',
    runningAt: START,
    suspicion: null,
    unavailableCount: 0,
  })
}

export async function settle(
  store: Store,
  overrides: Parameters<typeof aRegistration>[0] = {},
  now = START,
): Promise<Task> {
  const { id } = await register(store, overrides, now)
  const due = await claim(store, `settle-${id}`, now)
  await store.recordPolls({ now, records: due.map((task) => settledBy(task, `settle-${id}`)), effects: [] })
  const task = await store.getTask(id)
  if (task === null) throw new Error('the task vanished')
  return task
}

export async function claimDeliveries(store: Store, name: string, now = START, options: Partial<ClaimDeliveries> = {}) {
  const room = { limit: 10, endpointConcurrency: 8, inFlight: NONE_IN_FLIGHT, hosts: ANY_HOST, recoveringMax: 10 }
  return store.claimDueDeliveries({ now, lease: lease(name, now), ...room, ...options })
}

function exchange(result: AttemptResult): Exchange {
  const rest = {
    responseExcerpt: 'ok',
    responseTruncated: false,
    responseHeaders: { server: 's' },
    remoteAddress: '192.0.2.1',
    timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
  }
  return { result, durationMs: 7, ...rest }
}

export function attempted(
  delivery: DueDelivery,
  lease: string,
  result: AttemptResult,
  now = START,
  scheduleMs = RETRY_SCHEDULE_MS,
) {
  const { verdict, isEndpointGone } = judge({ delivery, result, now, scheduleMs, random: 0.5 })
  const leaseToken = `lse_${lease}` as LeaseToken
  return { delivery, leaseToken, startedAt: now, exchange: exchange(result), verdict, isEndpointGone, random: 0.5 }
}

export const SECRETS = [1, 2, 3, 4].map((byte) => formatSecret(Buffer.alloc(32, byte)))

function sameKey(secret: string, key: SigningKey): boolean {
  return key.algorithm === 'hmac' && Buffer.compare(parseSecret(secret)!.secret, key.secret) === 0
}

export const OK: AttemptResult = { kind: 'response', status: 204, retryAfter: null }
const UNAVAILABLE: AttemptResult = { kind: 'response', status: 503, retryAfter: null }
export const FAILED: AttemptResult = { kind: 'response', status: 500, retryAfter: null }
export const GONE: AttemptResult = { kind: 'response', status: 410, retryAfter: null }

export function describeStore(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: registering`, () => {
    test('a new task reads back as it was registered, pending and due', async () => {
      const { store } = await open()
      const task = await register(store, { metadata: '{"order":1180,"big":9007199254740993}' })
      expect(task).toMatchObject({
        taskId: 'aidge-1',
        status: 'pending',
        pollCount: 0,
        nextPollAt: START,
        settledAt: null,
      })
      expect(task.metadata).toBe('{"order":1180,"big":9007199254740993}')
      expect(task.subscriptions).toEqual([
        expect.objectContaining({ callbackUrl: 'https://shop.example/hooks', deliveryId: null, deliveryStatus: null }),
      ])
      expect(await store.getTask(task.id)).toEqual(task)
    })

    test('the same task and callback again is the same task, and nothing new', async () => {
      const { store } = await open()
      const registrations = [aRegistration()]
      const [first] = await store.registerTasks({ now: START, registrations })
      const [second] = await store.registerTasks({ now: at(1), registrations })
      expect(first).toMatchObject({ isNew: true })
      expect(second).toMatchObject({ isNew: false, task: taskOf(first) })
    })

    test('fifty registrations of one task at once make one task and one subscription', async () => {
      const { store } = await open()
      const results = await Promise.all(
        Array.from({ length: 50 }, () => store.registerTasks({ now: START, registrations: [aRegistration()] })),
      )
      expect(new Set(results.map(([one]) => taskOf(one).id)).size).toBe(1)
      expect(results.filter(([one]) => one?.kind === 'registered' && one.isNew)).toHaveLength(1)
      expect((await store.listTasks({ limit: 10 })).items[0]?.subscriptions).toHaveLength(1)
    })

    test('the same task with another callback is a new subscription on the same task', async () => {
      const { store } = await open()
      const first = await register(store)
      const second = await register(store, { callback: { kind: 'url', url: 'https://other.example/' } })
      expect(second.id).toBe(first.id)
      expect(second.subscriptions.map((one) => one.callbackUrl)).toEqual([
        'https://shop.example/hooks',
        'https://other.example/',
      ])
    })

    test('the same id of another kind is another task', async () => {
      const { store } = await open()
      expect((await register(store)).id).not.toBe((await register(store, { kind: 'virtual-tryon' })).id)
    })

    test('what a task was first registered with stays', async () => {
      const { store } = await open()
      await register(store, { metadata: '{"a":1}' })
      expect((await register(store, { metadata: '{"a":2}', deadlineAt: at(1) })).metadata).toBe('{"a":1}')
    })

    test('an endpoint that does not exist is said to be unknown and keeps nothing', async () => {
      const { store } = await open()
      const callback = { kind: 'endpoint', endpointId: 'ep_nowhere' } as const
      const [result] = await store.registerTasks({ now: START, registrations: [aRegistration({ callback })] })
      expect(result).toEqual({ kind: 'unknown_endpoint', endpointId: 'ep_nowhere' })
      expect((await store.listTasks({ limit: 10 })).items).toEqual([])
    })

    test('an endpoint that was made by URL can be named by its id', async () => {
      const { store } = await open()
      const first = await register(store)
      const endpointId = first.subscriptions[0]!.endpointId
      const second = await register(store, { taskId: 'aidge-2', callback: { kind: 'endpoint', endpointId } })
      expect(second.subscriptions).toEqual([
        expect.objectContaining({ endpointId, callbackUrl: 'https://shop.example/hooks' }),
      ])
    })

    test('a task that has settled already is delivered to the late subscriber at once', async () => {
      const { store } = await open()
      const task = await settle(store)
      const late = await register(store, { callback: { kind: 'url', url: 'https://late.example/' } }, at(5))
      expect(late.subscriptions[1]).toMatchObject({ callbackUrl: 'https://late.example/', deliveryStatus: 'pending' })
      const { deliveries } = await claimDeliveries(store, 'd', at(5))
      expect(deliveries.map((one) => one.url).sort()).toEqual(['https://late.example/', 'https://shop.example/hooks'])
      expect(new Set(deliveries.map((one) => one.eventId))).toEqual(new Set([task.eventId]))
      expect(new Set(deliveries.map((one) => one.body)).size).toBe(1)
    })

    test('a registration survives the end of the daemon', async () => {
      const harness = await open()
      const task = await register(harness.store)
      const { store } = await harness.reopen()
      expect(await store.getTask(task.id)).toEqual(task)
    })
  })

  describe(`${name}: claiming and recording tasks`, () => {
    test('due tasks are claimed the longest due first, and the next instant is told', async () => {
      const { store } = await open()
      await register(store, { taskId: 'b', firstPollAt: at(-10) })
      await register(store, { taskId: 'a', firstPollAt: at(-20) })
      await register(store, { taskId: 'later', firstPollAt: at(7_000) })
      const params = { now: START, lease: lease('x'), credential: 'aidge', settings: SETTINGS, limit: 10 }
      const claimed = await store.claimDueTasks(params)
      expect(claimed.tasks.map((task) => task.taskId)).toEqual(['a', 'b'])
      expect(claimed.nextClaimAt).toBe(at(7_000))
    })

    test('a claimed task is nobody else’s until its lease ends', async () => {
      const { store } = await open()
      await register(store)
      expect(await claim(store, 'a')).toHaveLength(1)
      expect(await claim(store, 'b', at(LEASE_MS - 1))).toHaveLength(0)
      expect(await claim(store, 'c', at(LEASE_MS))).toHaveLength(1)
    })

    test('leases of a daemon that is gone are free at once', async () => {
      const harness = await open()
      await register(harness.store)
      await claim(harness.store, 'a')
      const { store } = await harness.reopen()
      expect(await claim(store, 'b', at(1))).toHaveLength(1)
    })

    test('a decision under a lost lease changes nothing', async () => {
      const { store } = await open()
      const { id } = await register(store)
      const [late] = await claim(store, 'a')
      const [fresh] = await claim(store, 'b', at(LEASE_MS))
      expect(await store.recordPolls({ now: at(LEASE_MS), records: [settledBy(late!, 'a')], effects: [] })).toEqual({
        applied: 0,
        settled: [],
      })
      expect(await store.getTask(id)).toMatchObject({ status: 'pending', pollCount: 0 })
      expect(
        await store.recordPolls({ now: at(LEASE_MS), records: [settledBy(fresh!, 'b')], effects: [] }),
      ).toMatchObject({ applied: 1 })
    })

    test('a task to be polled again is due at the instant that was decided', async () => {
      const { store } = await open()
      const { id } = await register(store)
      const [task] = await claim(store, 'a')
      const suspicion = { code: '700', answerCount: 2, lastAnswerAt: START }
      const decision = {
        kind: 'poll_again',
        nextPollAt: at(3_000),
        reason: 'because',
        runningAt: at(2_000),
        suspicion,
        unavailableCount: 4,
      } as const
      await store.recordPolls({ now: START, records: [polled(task!, 'a', decision)], effects: [] })
      expect(await store.getTask(id)).toMatchObject({ pollCount: 1, nextPollAt: at(3_000), lastObservation: 'x' })
      expect(await claim(store, 'b', at(2_999))).toHaveLength(0)
      expect((await claim(store, 'b', at(3_000)))[0]).toMatchObject({
        suspicion,
        runningAt: at(2_000),
        unavailableCount: 4,
        pollCount: 1,
        dueAt: at(3_000),
      })
    })

    test('what was learned of how long tasks take is there after a restart, as it was recorded last', async () => {
      const harness = await open()
      const { store } = harness
      const one = {
        kind: 'b',
        state: '{"n":1}',
        completionCount: 3,
        medianMs: 1_200,
        p90Ms: null,
        unfinishedShare: 0.5,
        pollCostMs: 500,
        plan: '1.0 s …',
      }
      expect(await store.listCadences()).toEqual([])
      await store.recordPolls({ now: START, records: [], effects: [], cadences: [one, { ...one, kind: 'a' }] })
      const later = { ...one, state: '{"n":2}' }
      await store.recordPolls({ now: at(5_000), records: [], effects: [], cadences: [later] })
      await store.recordPolls({ now: at(6_000), records: [], effects: [] })
      const opened = await harness.reopen()
      expect(await opened.store.listCadences()).toEqual([
        { kind: 'a', state: '{"n":1}' },
        { kind: 'b', state: '{"n":2}' },
      ])
    })

    test('a task given back keeps its turn and its count', async () => {
      const { store } = await open()
      await register(store)
      const [task] = await claim(store, 'a')
      const record = { task: task!, leaseToken: 'lse_a', poll: null, decision: { kind: 'give_back' } } as const
      expect(await store.recordPolls({ now: START, records: [record], effects: [] })).toMatchObject({ applied: 1 })
      expect((await claim(store, 'b', at(1)))[0]).toMatchObject({ pollCount: 0, dueAt: START })
    })

    test('settling writes outcome, event and one delivery per subscription', async () => {
      const { store } = await open()
      await register(store, { callback: { kind: 'url', url: 'https://second.example/' } })
      const task = await settle(store)
      const eventId = eventIdOf({ databaseId: store.databaseId, taskId: task.id, outcome: 'succeeded' })
      expect(task).toMatchObject({ status: 'succeeded', settledAt: START, nextPollAt: null, pollCount: 1, eventId })
      expect(task.subscriptions.map((one) => one.deliveryStatus)).toEqual(['pending', 'pending'])
      const event = await store.getEvent(eventId)
      expect(event).toMatchObject({ id: eventId, taskId: task.id, type: 'task.succeeded' })
      expect(event!.body).toContain('"n":9007199254740993')
      expect(JSON.parse(event!.body).data).toMatchObject({ taskId: 'aidge-1', status: 'succeeded', pollCount: 1 })
    })

    test('a settled task stays as it is, whoever still holds an answer', async () => {
      const { store } = await open()
      await register(store)
      const [task] = await claim(store, 'a')
      await store.recordPolls({ now: START, records: [settledBy(task!, 'a')], effects: [] })
      const failed: Outcome = { ...SUCCEEDED, status: 'failed' }
      expect(await store.recordPolls({ now: at(1), records: [settledBy(task!, 'a', failed)], effects: [] })).toEqual({
        applied: 0,
        settled: [],
      })
      expect((await store.getTask(task!.id))?.status).toBe('succeeded')
    })

    test('the budget grants no more than the rate, also after a restart', async () => {
      const harness = await open()
      for (let index = 0; index < 40; index += 1) await register(harness.store, { taskId: `t${index}` })
      const claimAt = async (store: Store, now: EpochMs) =>
        (
          await store.claimDueTasks({
            now,
            lease: lease(`n${now}`, now),
            credential: 'aidge',
            settings: { rate: 10 },
            limit: 40,
          })
        ).tasks.length
      expect(await claimAt(harness.store, START)).toBe(1)
      expect(await claimAt(harness.store, at(50))).toBe(0)
      const { store } = await harness.reopen()
      expect(await claimAt(store, at(60))).toBe(0)
      expect(await claimAt(store, at(100))).toBe(1)
      // However often it is asked: eleven in a second, the first of which was free.
      let count = 0
      for (let ms = 110; ms <= 1_000; ms += 10) count += await claimAt(store, at(ms))
      expect(count).toBe(9)
    })

    test('a refused credential pauses, and the rest of its tasks with it', async () => {
      const { store } = await open()
      for (const taskId of ['a', 'b', 'c']) await register(store, { taskId })
      const [task] = await claim(store, 'a', START, 1)
      const effect = {
        kind: 'refused',
        code: 'NoResource',
        detail: 'nothing left',
        taskKind: 'virtual-model-generation',
      } as const
      await store.recordPolls({
        now: START,
        records: [pollAgain(task!, 'a', START)],
        effects: [{ credential: 'aidge', effect, settings: SETTINGS }],
      })
      expect(await claim(store, 'b', at(30_000))).toEqual([])
      expect(await claim(store, 'c', at(MINUTE))).toHaveLength(1)
      expect((await store.listBudgets()).get('aidge')?.pause).toMatchObject({ code: 'NoResource', since: START })
    })

    test('another credential is not held up', async () => {
      const { store } = await open()
      await register(store)
      await register(store, { taskId: 'elsewhere', credential: 'second' })
      const effect = { kind: 'refused', code: 'x', detail: 'x', taskKind: 'virtual-model-generation' } as const
      await store.recordPolls({
        now: START,
        records: [],
        effects: [{ credential: 'aidge', effect, settings: SETTINGS }],
      })
      const params = { now: at(1), lease: lease('x'), credential: 'second', settings: SETTINGS, limit: 10 }
      expect((await store.claimDueTasks(params)).tasks).toHaveLength(1)
    })

    test('tasks past their deadline are claimed for ending only where nobody may ask', async () => {
      const { store } = await open()
      await register(store, { taskId: 'late', deadlineAt: at(1_000) })
      await register(store, { taskId: 'in time', deadlineAt: at(9_000) })
      await register(store, { taskId: 'elsewhere', deadlineAt: at(1_000), credential: 'second' })
      const claimOverdue = () =>
        store.claimOverdueTasks({ now: at(5_000), lease: lease('x', at(5_000)), deadlineBefore: at(5_000), limit: 10 })
      expect((await claimOverdue()).tasks).toEqual([])
      const effect = { kind: 'refused', code: 'x', detail: 'x', taskKind: 'virtual-model-generation' } as const
      await store.recordPolls({
        now: at(1),
        records: [],
        effects: [{ credential: 'aidge', effect, settings: SETTINGS }],
      })
      const claimed = await claimOverdue()
      expect(claimed.tasks.map((task) => task.taskId)).toEqual(['late'])
      expect(claimed.nextDeadlineAt).toBe(at(9_000))
    })

    test('a canceled task is never told, whatever a query under way brings', async () => {
      const { store } = await open()
      const { id } = await register(store)
      const [task] = await claim(store, 'a')
      expect(await store.cancelTask({ now: at(1), id })).toMatchObject({
        kind: 'canceled',
        task: { status: 'canceled', settledAt: at(1) },
      })
      expect(await store.recordPolls({ now: at(2), records: [settledBy(task!, 'a')], effects: [] })).toEqual({
        applied: 0,
        settled: [],
      })
      expect((await claimDeliveries(store, 'd', at(3))).deliveries).toEqual([])
      expect(await store.cancelTask({ now: at(4), id })).toMatchObject({ kind: 'already_settled' })
      const callback = { kind: 'url', url: 'https://late.example/' } as const
      const [again] = await store.registerTasks({ now: at(5), registrations: [aRegistration({ callback })] })
      expect(again).toMatchObject({ kind: 'canceled', task: { id } })
      expect(await store.cancelTask({ now: at(4), id: 'task_none' })).toEqual({ kind: 'not_found' })
    })
  })

  describe(`${name}: claiming and recording deliveries`, () => {
    test('a due delivery comes with the frozen body and the first attempt’s number', async () => {
      const { store } = await open()
      const task = await settle(store)
      const { deliveries } = await claimDeliveries(store, 'a')
      expect(deliveries).toEqual([
        expect.objectContaining({
          eventId: task.eventId,
          url: 'https://shop.example/hooks',
          attemptNumber: 1,
          isManual: false,
        }),
      ])
      expect(deliveries[0]!.body).toBe((await store.getEvent(task.eventId!))!.body)
      expect((await claimDeliveries(store, 'b')).deliveries).toEqual([])
    })

    test('a delivered one is never claimed again', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      expect(await store.recordAttempts({ now: at(3), records: [attempted(delivery!, 'a', OK)] })).toEqual({
        applied: 1,
      })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'delivered',
        attemptCount: 1,
        settledAt: at(3),
        lastStatusCode: 204,
      })
      expect((await claimDeliveries(store, 'b', at(30 * DAY))).deliveries).toEqual([])
    })

    test('a failed one is due again when the verdict says, with the attempt kept', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED)] })
      expect((await claimDeliveries(store, 'b', at(4_999))).deliveries).toEqual([])
      expect((await claimDeliveries(store, 'b', at(4_999))).nextClaimAt).toBe(at(5_000))
      const [again] = (await claimDeliveries(store, 'c', at(5_000))).deliveries
      expect(again).toMatchObject({
        id: delivery!.id,
        eventId: delivery!.eventId,
        body: delivery!.body,
        attemptNumber: 2,
        scheduledAttemptCount: 1,
      })
      expect(await store.listAttempts([delivery!.id])).toEqual([
        expect.objectContaining({
          attemptNumber: 1,
          verdict: 'retry',
          statusCode: 500,
          responseExcerpt: 'ok',
          remoteAddress: '192.0.2.1',
          timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
          nextAttemptAt: at(5_000),
        }),
      ])
    })

    test('an attempt under a lost lease leaves nothing behind', async () => {
      const { store } = await open()
      await settle(store)
      const [late] = (await claimDeliveries(store, 'a')).deliveries
      const [fresh] = (await claimDeliveries(store, 'b', at(LEASE_MS))).deliveries
      expect(fresh?.id).toBe(late?.id)
      expect(await store.recordAttempts({ now: at(LEASE_MS), records: [attempted(late!, 'a', OK)] })).toEqual({
        applied: 0,
      })
      expect(await store.listAttempts([late!.id])).toEqual([])
      expect(await store.getDelivery(late!.id)).toMatchObject({ status: 'pending', attemptCount: 0 })
    })

    test('a lease that nobody wrote under ends, though the endpoint has had other work since', async () => {
      const { store } = await open()
      await settle(store)
      const [lost] = (await claimDeliveries(store, 'a')).deliveries
      await settle(store, { taskId: 'second' }, at(1_000))
      const [second] = (await claimDeliveries(store, 'b', at(1_000))).deliveries
      await store.recordAttempts({ now: at(1_001), records: [attempted(second!, 'b', OK)] })
      expect((await claimDeliveries(store, 'c', at(2_000))).deliveries).toEqual([])
      const found = (await claimDeliveries(store, 'd', at(2 * LEASE_MS + 1))).deliveries
      expect(found.map((delivery) => delivery.id)).toEqual([lost!.id])
    })

    test('what is given back costs no attempt and is due when the verdict says', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      const fault: AttemptResult = { kind: 'own_fault', reason: 'no_file_handles', detail: 'EMFILE' }
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', fault)] })
      expect(await store.listAttempts([delivery!.id])).toEqual([])
      const [again] = (await claimDeliveries(store, 'b', at(5_000))).deliveries
      expect(again).toMatchObject({ id: delivery!.id, attemptNumber: 1, scheduledAttemptCount: 0 })
    })

    test('the last attempt of the schedule exhausts the delivery', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED, START, [0])] })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'exhausted',
        settledAt: START,
        nextAttemptAt: null,
      })
    })

    test('410 disables the endpoint, which keeps its backlog', async () => {
      const { store } = await open()
      await settle(store)
      await settle(store, { taskId: 'second' })
      const { deliveries } = await claimDeliveries(store, 'a', START, { limit: 1 })
      await store.recordAttempts({ now: START, records: [attempted(deliveries[0]!, 'a', GONE)] })
      expect((await claimDeliveries(store, 'b', at(30 * DAY))).deliveries).toEqual([])
      expect((await store.listDeliveries({ status: 'pending', limit: 10 })).items).toHaveLength(2)
    })

    test('an endpoint with all its slots in use holds up no other', async () => {
      const { store } = await open()
      const url = 'https://dead.example/'
      for (let index = 0; index < 30; index += 1)
        await settle(store, { taskId: `dead${index}`, callback: { kind: 'url', url } })
      await settle(store, { taskId: 'healthy' }, at(1))
      const first = (await claimDeliveries(store, 'a', at(1), { limit: 8, endpointConcurrency: 4 })).deliveries
      expect(first.map((delivery) => delivery.url)).toEqual([url, url, url, url, 'https://shop.example/hooks'])
      const inFlight = new Map([[first[0]!.endpointId, 4]])
      expect((await claimDeliveries(store, 'b', at(2), { endpointConcurrency: 4, inFlight })).deliveries).toEqual([])
      const freed = new Map([[first[0]!.endpointId, 3]])
      expect(
        (await claimDeliveries(store, 'c', at(3), { endpointConcurrency: 4, inFlight: freed })).deliveries,
      ).toHaveLength(1)
    })

    test('endpoints that have nothing more to give hide nobody, however many there are', async () => {
      const { store } = await open()
      for (let index = 0; index < 40; index += 1) {
        await settle(store, {
          taskId: `t${index}`,
          callback: { kind: 'url', url: `https://shop.example/?task=${index}` },
        })
      }
      const seen = new Set<DeliveryId>()
      for (let round = 0; round < 10; round += 1) {
        const { deliveries, nextClaimAt } = await claimDeliveries(store, `r${round}`, at(round), { limit: 8 })
        for (const delivery of deliveries) seen.add(delivery.id)
        if (seen.size < 40) expect(nextClaimAt === null || nextClaimAt <= at(round) || deliveries.length > 0).toBe(true)
      }
      expect(seen.size).toBe(40)
    })

    test('deliveries under a dead daemon’s lease are claimable at once', async () => {
      const harness = await open()
      await settle(harness.store)
      const [delivery] = (await claimDeliveries(harness.store, 'a')).deliveries
      const { store } = await harness.reopen()
      const [again] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(again).toMatchObject({
        id: delivery!.id,
        eventId: delivery!.eventId,
        body: delivery!.body,
        attemptNumber: 1,
      })
    })
  })

  describe(`${name}: redelivering`, () => {
    async function exhausted(store: Store): Promise<DeliveryId> {
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED, START, [0])] })
      return delivery!.id
    }

    test('an exhausted delivery gets one attempt, and is exhausted again when that fails', async () => {
      const { store } = await open()
      const deliveryId = await exhausted(store)
      expect(await store.redeliver({ now: at(1), deliveryId })).toMatchObject({
        kind: 'queued',
        delivery: { status: 'pending' },
      })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(manual).toMatchObject({
        isManual: true,
        attemptNumber: 2,
        scheduledAttemptCount: 1,
        statusBefore: 'exhausted',
      })
      await store.recordAttempts({ now: at(2), records: [attempted(manual!, 'b', FAILED)] })
      expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'exhausted', attemptCount: 2 })
      expect((await store.listAttempts([deliveryId])).map((one) => one.isManual)).toEqual([false, true])
    })

    test('a delivered one that is sent again stays delivered when the receiver fails', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', OK)] })
      await store.redeliver({ now: at(1), deliveryId: delivery!.id })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      await store.recordAttempts({ now: at(2), records: [attempted(manual!, 'b', FAILED)] })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'delivered',
        attemptCount: 2,
        settledAt: START,
        lastStatusCode: 204,
      })
    })

    test('while an attempt is under way there is nothing to ask for', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      expect(await store.redeliver({ now: at(1), deliveryId: delivery!.id })).toMatchObject({ kind: 'under_way' })
    })

    test('asking five times before the attempt was made is one attempt', async () => {
      const { store } = await open()
      const deliveryId = await exhausted(store)
      for (let index = 0; index < 5; index += 1) await store.redeliver({ now: at(index), deliveryId })
      const [manual] = (await claimDeliveries(store, 'b', at(9))).deliveries
      await store.redeliver({ now: at(9), deliveryId })
      await store.recordAttempts({ now: at(10), records: [attempted(manual!, 'b', OK)] })
      expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'delivered', attemptCount: 2 })
      expect((await claimDeliveries(store, 'c', at(DAY))).deliveries).toEqual([])
    })

    test('a waiting delivery is attempted now, and its schedule is not used up', async () => {
      const { store } = await open()
      await settle(store)
      const [first] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(first!, 'a', FAILED)] })
      await store.redeliver({ now: at(1), deliveryId: first!.id })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(manual).toMatchObject({ isManual: true, attemptNumber: 2, statusBefore: 'pending' })
      await store.recordAttempts({ now: at(1), records: [attempted(manual!, 'b', FAILED, at(1))] })
      const [next] = (await claimDeliveries(store, 'c', at(10 * MINUTE))).deliveries
      expect(next).toMatchObject({ isManual: false, attemptNumber: 3, scheduledAttemptCount: 1 })
    })

    test('an endpoint that is not enabled is refused with its state', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', GONE)] })
      expect(await store.redeliver({ now: at(1), deliveryId: delivery!.id })).toMatchObject({
        kind: 'endpoint_not_enabled',
        endpoint: { status: 'disabled', disabledReason: 'gone' },
      })
      expect(await store.redeliver({ now: at(1), deliveryId: 'dlv_none' })).toEqual({ kind: 'not_found' })
    })
  })

  describe(`${name}: endpoints and their secrets`, () => {
    const url = 'https://shop.example/hooks'
    const made = async (store: Store, secret = SECRETS[0]!) => {
      const result = await store.createEndpoint({ now: START, url, name: 'shop', secret })
      if (result.kind !== 'kept') throw new Error(result.kind)
      return result.endpoint
    }
    const signersAt = async (store: Store, name: string, now: EpochMs) => {
      const [delivery] = (await claimDeliveries(store, name, now)).deliveries
      if (delivery !== undefined) await store.recordAttempts({ now, records: [attempted(delivery, name, FAILED, now)] })
      return delivery?.signers.map((signer) =>
        signer === 'daemon' ? 'daemon' : SECRETS.findIndex((text) => sameKey(text, signer)),
      )
    }

    test('an endpoint made by hand signs with its own secret, one found by URL with the daemon’s', async () => {
      const { store } = await open()
      await made(store)
      await settle(store)
      await settle(store, { taskId: 'b', callback: { kind: 'url', url: 'https://other.example/' } })
      const { deliveries } = await claimDeliveries(store, 'a')
      const signers = new Map(deliveries.map((delivery) => [delivery.url, delivery.signers]))
      expect(signers.get('https://other.example/')).toEqual(['daemon'])
      expect(signers.get(url)?.map((signer) => signer !== 'daemon' && sameKey(SECRETS[0]!, signer))).toEqual([true])
    })

    test('a URL has one endpoint: a second is told of the first, also when it was made by registering', async () => {
      const { store } = await open()
      const task = await register(store)
      const id = task.subscriptions[0]!.endpointId
      expect(await store.createEndpoint({ now: START, url, name: null, secret: SECRETS[0]! })).toMatchObject({
        kind: 'url_taken',
        endpoint: { id },
      })
      const other = await store.createEndpoint({
        now: START,
        url: 'https://b.example/',
        name: null,
        secret: SECRETS[0]!,
      })
      expect(await store.updateEndpoint({ now: START, id, url: 'https://b.example/' })).toMatchObject({
        kind: 'url_taken',
        endpoint: { id: other.endpoint.id },
      })
      expect(await store.updateEndpoint({ now: START, id: 'ep_none', name: 'x' })).toEqual({ kind: 'not_found' })
    })

    test('while a secret is replaced both sign; after the overlap only the new one', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      const rotated = await store.rotateSecret({ now: at(1_000), id, secret: SECRETS[1]!, overlapMs: 10_000 })
      expect(rotated?.secrets).toEqual([
        { createdAt: at(1_000), expiresAt: null },
        { createdAt: START, expiresAt: at(11_000) },
      ])
      expect(await signersAt(store, 'a', at(2_000))).toEqual([1, 0])
      expect(await signersAt(store, 'b', at(400_000))).toEqual([1])
    })

    test('the first secret of its own overlaps with the daemon’s', async () => {
      const { store } = await open()
      const id = (await settle(store)).subscriptions[0]!.endpointId
      await store.rotateSecret({ now: at(0), id, secret: SECRETS[0]!, overlapMs: 10_000 })
      expect(await signersAt(store, 'a', at(1_000))).toEqual([0, 'daemon'])
      expect(await signersAt(store, 'b', at(400_000))).toEqual([0])
    })

    test('never more than three are live, however often one is replaced', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      for (const [index, secret] of SECRETS.entries()) {
        await store.rotateSecret({ now: at(index), id, secret, overlapMs: DAY })
      }
      expect(await signersAt(store, 'a', at(100))).toEqual([3, 2, 1])
    })

    test('an edited URL takes effect with the next attempt; id and body stay', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      const [first] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(first!, 'a', FAILED)] })
      await store.updateEndpoint({ now: at(1), id, url: 'https://moved.example/hooks' })
      const [second] = (await claimDeliveries(store, 'b', at(6_000))).deliveries
      expect(second).toMatchObject({
        id: first!.id,
        eventId: first!.eventId,
        body: first!.body,
        url: 'https://moved.example/hooks',
      })
    })

    test('a paused endpoint is sent nothing and keeps its backlog, which is due as soon as it is resumed', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await store.setEndpointStatus({ now: START, id, status: 'paused' })
      await settle(store)
      expect((await claimDeliveries(store, 'a', at(DAY))).deliveries).toEqual([])
      expect(await store.setEndpointStatus({ now: at(DAY), id, status: 'enabled' })).toMatchObject({
        status: 'enabled',
      })
      expect((await claimDeliveries(store, 'b', at(DAY))).deliveries).toHaveLength(1)
      expect(await store.setEndpointStatus({ now: START, id: 'ep_none', status: 'paused' })).toBeNull()
    })

    test('endpoints are listed newest first, by status', async () => {
      const { store } = await open()
      const first = await made(store)
      const second = await store.createEndpoint({
        now: START,
        url: 'https://b.example/',
        name: null,
        secret: SECRETS[1]!,
      })
      await store.setEndpointStatus({ now: START, id: first.id, status: 'paused' })
      const ids = async (filter: object) =>
        (await store.listEndpoints({ now: START, limit: 9, ...filter })).items.map(({ id }) => id)
      expect(await ids({})).toEqual([second.endpoint.id, first.id])
      expect(await ids({ status: 'paused' })).toEqual([first.id])
      expect(await store.getEndpoint({ now: START, id: 'ep_none' })).toBeNull()
    })
  })

  describe(`${name}: looking and forgetting`, () => {
    test('lists come newest first, in pages that neither repeat nor leave out', async () => {
      const { store } = await open()
      const ids: TaskId[] = []
      for (let index = 0; index < 7; index += 1) ids.push((await register(store, { taskId: `t${index}` })).id)
      const seen: TaskId[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await store.listTasks({ limit: 3, ...(cursor === undefined ? {} : { cursor }) })
        seen.push(...page.items.map((task) => task.id))
        if (page.nextCursor === null) break
        cursor = page.nextCursor
      }
      expect(seen).toEqual(ids.reverse())
    })

    test('lists filter by status, kind, upstream id, endpoint and task', async () => {
      const { store } = await open()
      const task = await settle(store)
      await register(store, { taskId: 'other', kind: 'virtual-tryon' })
      const ids = async (filter: object) =>
        (await store.listTasks({ limit: 9, ...filter })).items.map((one) => one.taskId)
      expect(await ids({ status: 'succeeded' })).toEqual(['aidge-1'])
      expect(await ids({ kind: 'virtual-tryon' })).toEqual(['other'])
      expect(await ids({ taskId: 'other' })).toEqual(['other'])
      const endpointId = task.subscriptions[0]!.endpointId
      const count = async (filter: object) => (await store.listDeliveries({ limit: 9, ...filter })).items.length
      expect(await count({ endpointId, taskId: task.id, status: 'pending' })).toBe(1)
      expect(await count({ status: 'delivered' })).toBe(0)
      expect(await count({ endpointId: 'ep_none' })).toBe(0)
    })

    test('what does not exist reads as null', async () => {
      const { store } = await open()
      expect(await store.getTask('task_none')).toBeNull()
      expect(await store.getDelivery('dlv_none')).toBeNull()
      expect(await store.getEvent('evt_none')).toBeNull()
    })

    test('only settled tasks past retention with nothing owed are forgotten, with all that hangs on them', async () => {
      const { store } = await open()
      const done = await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', OK)] })
      const owed = await settle(store, { taskId: 'owed' })
      const pending = await register(store, { taskId: 'pending' })
      expect(await store.deleteSettledTasks({ settledBefore: START, limit: 10 })).toBe(0)
      expect(await store.deleteSettledTasks({ settledBefore: at(1), limit: 10 })).toBe(1)
      expect(await store.getTask(done.id)).toBeNull()
      expect(await store.getEvent(done.eventId!)).toBeNull()
      expect(await store.listAttempts([delivery!.id])).toEqual([])
      expect(await store.getTask(owed.id)).not.toBeNull()
      expect(await store.getTask(pending.id)).not.toBeNull()
    })

    test('the event id is the same in a database that was opened again', async () => {
      const harness = await open()
      const before = harness.store.databaseId
      expect((await harness.reopen()).store.databaseId).toBe(before)
    })
  })

  describe.each([HOUR, -HOUR, 14 * 365 * DAY, -50 * 365 * DAY])(`${name}: a clock that is set by %d ms`, (byMs) => {
    const moved = (ms: number) => at(ms + byMs)
    const move = (store: Store, ms = 0) => store.moveInstants({ now: moved(ms), byMs })

    test('leaves of each wait of a task what was left of it, and its age', async () => {
      const { store } = await open()
      const task = await register(store, { firstPollAt: at(10), deadlineAt: at(MINUTE), submittedAt: at(-SECOND) })
      await move(store)
      expect(await claim(store, 'early', moved(9))).toEqual([])
      const [due] = await claim(store, 'due', moved(10))
      expect(due).toMatchObject({
        dueAt: moved(10),
        registeredAt: moved(0),
        submittedAt: moved(-SECOND),
        deadlineAt: moved(MINUTE),
      })
      expect(await store.getTask(task.id)).toMatchObject({ deadlineAt: moved(MINUTE), nextPollAt: moved(10) })
    })

    test('leaves of each wait of a delivery what was left of it', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', UNAVAILABLE)] })
      await move(store)
      expect((await claimDeliveries(store, 'early', moved(5 * SECOND - 1))).deliveries).toEqual([])
      expect((await claimDeliveries(store, 'due', moved(5 * SECOND))).deliveries).toHaveLength(1)
    })

    test('leaves leases as they were: they hold as long, and what comes under them is applied', async () => {
      const { store } = await open()
      const pending = await register(store, { taskId: 'pending' })
      const [task] = await claim(store, 'task')
      await settle(store, { taskId: 'settled' })
      const [delivery] = (await claimDeliveries(store, 'delivery')).deliveries
      await move(store)
      expect(await claim(store, 'early', moved(LEASE_MS - 1))).toEqual([])
      expect((await claimDeliveries(store, 'early', moved(LEASE_MS - 1))).deliveries).toEqual([])
      const decided = { now: moved(1), records: [pollAgain(task!, 'task', moved(MINUTE))], effects: [] }
      expect((await store.recordPolls(decided)).applied).toBe(1)
      expect((await store.getTask(pending.id))?.nextPollAt).toBe(moved(MINUTE))
      const records = [attempted(delivery!, 'delivery', OK, moved(1))]
      expect((await store.recordAttempts({ now: moved(1), records })).applied).toBe(1)
    })

    test('frees what was leased when the lease would have ended', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'settled' })
      await register(store)
      await claim(store, 'task')
      await claimDeliveries(store, 'delivery')
      await move(store)
      expect(await claim(store, 'late', moved(LEASE_MS))).toHaveLength(1)
      expect((await claimDeliveries(store, 'late', moved(LEASE_MS))).deliveries).toHaveLength(1)
    })

    test('changes nothing about what has been told', async () => {
      const { store } = await open()
      const { id, eventId } = await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', OK)] })
      const told = () =>
        Promise.all([
          store.getTask(id),
          store.getEvent(eventId!),
          store.getDelivery(delivery!.id),
          store.listAttempts([delivery!.id]),
        ])
      const before = await told()
      await move(store)
      expect(await told()).toEqual(before)
    })

    test('ends no ban and no pause early, and none late', async () => {
      const { store } = await open()
      for (const credential of ['banned', 'refused']) await register(store, { taskId: credential, credential })
      const throttled = { kind: 'throttled', askedAt: START, retryAfterMs: 30 * SECOND } as const
      const refused = { kind: 'refused', code: 'NoKey', detail: 'x', taskKind: 'virtual-tryon' } as const
      const effects = [
        { credential: 'banned', effect: throttled, settings: SETTINGS },
        { credential: 'refused', effect: refused, settings: SETTINGS },
      ]
      await store.recordPolls({ now: START, records: [], effects })
      await move(store)
      const claimOf = async (credential: string, now: EpochMs) =>
        (await store.claimDueTasks({ now, lease: lease(credential, now), credential, settings: SETTINGS, limit: 1 }))
          .tasks
      expect(await claimOf('banned', moved(30 * SECOND - 1))).toEqual([])
      expect(await claimOf('refused', moved(MINUTE - 1))).toEqual([])
      expect(await claimOf('banned', moved(30 * SECOND))).toHaveLength(1)
      expect(await claimOf('refused', moved(MINUTE))).toHaveLength(1)
    })

    test('has both secrets sign until the overlap is over, and not again', async () => {
      const { store } = await open()
      const url = 'https://own.example/hooks'
      const created = await store.createEndpoint({ now: START, url, name: null, secret: SECRETS[0]! })
      const { id } = (created as { endpoint: Endpoint }).endpoint
      await store.rotateSecret({ now: START, id, secret: SECRETS[1]!, overlapMs: MINUTE })
      await move(store)
      const liveAt = async (ms: number) => (await store.getEndpoint({ now: moved(ms), id }))?.secrets.length
      expect([await liveAt(MINUTE - 1), await liveAt(MINUTE)]).toEqual([2, 1])
      await store.moveInstants({ now: at(MINUTE), byMs: -byMs })
      expect((await store.getEndpoint({ now: at(MINUTE), id }))?.secrets).toHaveLength(1)
    })

    test('takes nothing for older than it is when it comes to forgetting', async () => {
      const { store } = await open()
      const retentionMs = 30 * DAY
      const { id } = await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', OK)] })
      await move(store, SECOND)
      const forget = (ms: number) => store.deleteSettledTasks({ settledBefore: moved(ms - retentionMs), limit: 10 })
      expect(await forget(DAY)).toBe(0)
      expect(await forget(retentionMs - 2 * HOUR)).toBe(0)
      expect(await store.getTask(id)).not.toBeNull()
      if (byMs > 0) expect(await forget(retentionMs + 2 * SECOND)).toBe(1)
    })

    test('is told in the order of the steps: what was called before goes by the old clock', async () => {
      const { store } = await open()
      const early = register(store, { taskId: 'early', firstPollAt: at(SECOND) })
      const moving = move(store)
      const late = register(store, { taskId: 'late', firstPollAt: moved(SECOND) }, moved(0))
      await Promise.all([early, moving, late])
      expect(await claim(store, 'a', moved(SECOND - 1))).toEqual([])
      expect(await claim(store, 'b', moved(SECOND))).toHaveLength(2)
    })
  })
}
