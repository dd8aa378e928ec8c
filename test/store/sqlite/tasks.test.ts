/** Leases, order and counts of tasks: each fence of a claim and of a record, tried alone. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { LeaseToken } from '../../../src/core/ids.ts'
import type { DueTask } from '../../../src/core/task.ts'
import type { PollRecord, Store } from '../../../src/store/store.ts'
import { aDirectory, openAt, START } from '../../support/store.ts'
import { at, claim, LEASE_MS, lease, pollAgain, register, SETTINGS, settledBy } from '../contract.ts'

function open(): { store: Store; db: Database.Database } {
  const path = join(aDirectory(), 'tasks.db')
  const store = openAt(path)
  const db = new Database(path)
  onTestFinished(() => void db.close())
  return { store, db }
}

function givenBack(task: DueTask, token: string): PollRecord {
  return { task, leaseToken: `lse_${token}` as LeaseToken, poll: null, decision: { kind: 'give_back' } }
}

const DECISIONS: readonly (readonly [string, (task: DueTask, token: string) => PollRecord])[] = [
  ['given back', givenBack],
  ['polled again', (task, token) => pollAgain(task, token, at(1))],
  ['settled', settledBy],
]

test.each(DECISIONS)('a task is not %s under a lease that somebody else has taken over', async (_how, record) => {
  const { store, db } = open()
  const { id } = await register(store)
  const [late] = await claim(store, 'a')
  await claim(store, 'b', at(LEASE_MS))
  expect(await store.recordPolls({ now: at(LEASE_MS), records: [record(late!, 'a')], effects: [] })).toMatchObject({
    applied: 0,
  })
  expect(await claim(store, 'c', at(LEASE_MS + 1))).toEqual([])
  expect(await store.getTask(id)).toMatchObject({ status: 'pending', pollCount: 0, nextPollAt: START })
  expect(db.prepare('select count(*) from _polls').pluck().get()).toBe(0)
})

test.each(DECISIONS)('a task that has ended is not %s, though a lease was left on it', async (_how, record) => {
  const { store, db } = open()
  const { id } = await register(store)
  const [task] = await claim(store, 'a')
  await store.cancelTask({ now: START, id })
  db.prepare(`update _tasks set lease_token = 'lse_a', lease_owner = 'x', lease_expires_at = ?`).run(at(LEASE_MS))
  expect(await store.recordPolls({ now: at(1), records: [record(task!, 'a')], effects: [] })).toMatchObject({
    applied: 0,
  })
  expect(await store.getTask(id)).toMatchObject({ status: 'canceled', settledAt: START, nextPollAt: null })
})

test.each<[string, (store: Store, task: DueTask) => Promise<unknown>]>([
  ['settled', (store, task) => store.recordPolls({ now: START, records: [settledBy(task, 'a')], effects: [] })],
  ['canceled', (store, task) => store.cancelTask({ now: START, id: task.id })],
])('a task that was %s is under nobody’s lease any more', async (_how, end) => {
  const { store, db } = open()
  await register(store)
  const [task] = await claim(store, 'a')
  await end(store, task!)
  expect(db.prepare('select lease_token, lease_owner, lease_expires_at from _tasks').get()).toEqual({
    lease_token: null,
    lease_owner: null,
    lease_expires_at: null,
  })
})

test('a claim for one takes the one that has been due for longest', async () => {
  const { store } = open()
  await register(store, { taskId: 'young', firstPollAt: at(-10) })
  await register(store, { taskId: 'old', firstPollAt: at(-20) })
  expect((await claim(store, 'a', START, 1)).map(({ taskId }) => taskId)).toEqual(['old'])
})

test('a task that settles unasked has no poll on record', async () => {
  const { store, db } = open()
  const { id } = await register(store)
  const [task] = await claim(store, 'a')
  const record: PollRecord = { ...settledBy(task!, 'a'), poll: null }
  await store.recordPolls({ now: START, records: [record], effects: [] })
  expect(await store.getTask(id)).toMatchObject({ status: 'succeeded', pollCount: 0 })
  expect(db.prepare('select count(*) from _polls').pluck().get()).toBe(0)
})

test('the next claim of a credential is worth it when one of its own tasks is due, not one of another', async () => {
  const { store } = open()
  await register(store, { taskId: 'elsewhere', credential: 'second', firstPollAt: at(1_000) })
  await register(store, { taskId: 'here', firstPollAt: at(5_000) })
  const params = { now: START, lease: lease('a'), credential: 'aidge', settings: SETTINGS, limit: 10 }
  expect(await store.claimDueTasks(params)).toEqual({ tasks: [], nextClaimAt: at(5_000) })
})

test('with more due than the budget grants, the next claim is worth it when it grants one again: no sooner, no later', async () => {
  const { store } = open()
  for (const taskId of ['a', 'b', 'c']) await register(store, { taskId })
  const params = { lease: lease('a'), credential: 'aidge', settings: { rate: 10 }, limit: 10 }
  expect((await store.claimDueTasks({ ...params, now: START })).tasks).toHaveLength(1)
  expect(await store.claimDueTasks({ ...params, now: START })).toEqual({ tasks: [], nextClaimAt: at(100) })
  expect(await store.claimDueTasks({ ...params, now: at(100) })).toMatchObject({ tasks: [{}], nextClaimAt: at(101) })
})

test('while no credential is paused nothing is overdue, and the next deadline is told', async () => {
  const { store } = open()
  await register(store, { deadlineAt: at(9_000) })
  const params = { now: START, lease: lease('a'), deadlineBefore: START, limit: 10 }
  expect(await store.claimOverdueTasks(params)).toEqual({ tasks: [], nextDeadlineAt: at(9_000) })
})

test('a callback that was taken away by hand and registered again is told once', async () => {
  const { store, db } = open()
  await register(store)
  const [task] = await claim(store, 'a')
  await store.recordPolls({ now: START, records: [settledBy(task!, 'a')], effects: [] })
  db.exec('delete from _subscriptions')
  const again = await register(store)
  expect(again.subscriptions).toMatchObject([{ deliveryStatus: 'pending' }])
  expect((await store.listDeliveries({ limit: 10 })).items).toHaveLength(1)
})
