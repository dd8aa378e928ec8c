/** What every store promises of looking, forgetting, and a clock that is set. */

import { describe, expect, test } from 'vitest'
import type { Endpoint } from '../../src/core/endpoint.ts'
import type { TaskId } from '../../src/core/ids.ts'
import { DAY, type EpochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from '../support/store.ts'
import {
  at,
  attempted,
  claim,
  claimDeliveries,
  LEASE_MS,
  lease,
  OK,
  pollAgain,
  register,
  SECRETS,
  SETTINGS,
  type StoreHarness,
  settle,
  UNAVAILABLE,
} from './steps.ts'

export function describeTime(name: string, open: () => Promise<StoreHarness>): void {
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
