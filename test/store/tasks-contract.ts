/** What every store promises of tasks: registered once, asked about when due, ended once. */

import { describe, expect, test } from 'vitest'
import { eventIdOf } from '../../src/core/ids.ts'
import type { Outcome } from '../../src/core/task.ts'
import { type EpochMs, MINUTE } from '../../src/core/time.ts'
import type { Store } from '../../src/store/store.ts'
import { aRegistration, START } from '../support/store.ts'
import {
  at,
  claim,
  claimDeliveries,
  LEASE_MS,
  lease,
  pollAgain,
  polled,
  register,
  SETTINGS,
  type StoreHarness,
  SUCCEEDED,
  settle,
  settledBy,
  taskOf,
} from './steps.ts'

export function describeTasks(name: string, open: () => Promise<StoreHarness>): void {
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

    test('what was left behind for want of a slot or of budget is told, and what is not due or is under way is not', async () => {
      const { store } = await open()
      for (const taskId of ['a', 'b', 'c']) await register(store, { taskId })
      await register(store, { taskId: 'later', firstPollAt: at(7_000) })
      const claimed = async (name: string, now: EpochMs, limit: number) => {
        const params = { now, lease: lease(name, now), credential: 'aidge', settings: { rate: 10 }, limit }
        const { tasks, isMoreDue } = await store.claimDueTasks(params)
        return [tasks.length, isMoreDue]
      }
      expect(await claimed('one slot', START, 1)).toEqual([1, true])
      expect(await claimed('no budget', START, 5)).toEqual([0, true])
      expect(await claimed('the second', at(200), 5)).toEqual([1, true])
      expect(await claimed('the last', at(400), 5)).toEqual([1, true])
      expect(await claimed('none', at(600), 5)).toEqual([0, false])
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
}
