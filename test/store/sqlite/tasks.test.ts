/** Leases, order and counts of tasks: each fence of a claim and of a record, tried alone. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { LeaseToken } from '../../../src/core/ids.ts'
import type { DueTask } from '../../../src/core/task.ts'
import type { PollRecord, Store } from '../../../src/store/store.ts'
import { aDirectory, openAt, START } from '../../support/store.ts'
import { at, claim, LEASE_MS, lease, pollAgain, register, SETTINGS, settledBy } from '../steps.ts'

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

test.each(DECISIONS)('a task that was canceled while it was asked about is not %s', async (_how, record) => {
  const { store } = open()
  const { id } = await register(store)
  const [task] = await claim(store, 'a')
  await store.cancelTask({ now: START, id })
  expect(await store.recordPolls({ now: at(1), records: [record(task!, 'a')], effects: [] })).toMatchObject({
    applied: 0,
  })
  expect(await store.getTask(id)).toMatchObject({ status: 'canceled', settledAt: START, nextPollAt: null })
})

test.each(DECISIONS)('a task that ended by another hand is not %s, though its lease is held', async (_how, record) => {
  const { store, db } = open()
  const { id } = await register(store)
  const [task] = await claim(store, 'a')
  db.exec(`update _tasks set status = 'canceled', settled_at = ${START}, next_poll_at = null`)
  const { settled } = await store.recordPolls({ now: at(1), records: [record(task!, 'a')], effects: [] })
  expect(settled).toEqual([])
  expect(await store.getTask(id)).toMatchObject({ status: 'canceled', settledAt: START, nextPollAt: null })
})

test('a claim, and what is given back, leave nothing on the disk but what a budget reserves ahead', async () => {
  const { store, db } = open()
  await register(store)
  const claimAndGiveBack = async () => {
    const [task] = await claim(store, 'a')
    const record = { task: task!, leaseToken: 'lse_a', poll: null, decision: { kind: 'give_back' } } as const
    expect((await store.recordPolls({ now: START, records: [record], effects: [] })).applied).toBe(1)
    return db.pragma('data_version', { simple: true })
  }
  await claimAndGiveBack()
  const reserved = await claimAndGiveBack()
  expect(await claimAndGiveBack()).toBe(reserved)
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
  expect(await store.claimDueTasks(params)).toEqual({ tasks: [], nextClaimAt: at(5_000), isMoreDue: false })
})

test('with more due than the budget grants, the next claim is worth it when it grants one again: no sooner, no later', async () => {
  const { store } = open()
  for (const taskId of ['a', 'b', 'c']) await register(store, { taskId })
  const params = { lease: lease('a'), credential: 'aidge', settings: { rate: 10 }, limit: 10 }
  expect((await store.claimDueTasks({ ...params, now: START })).tasks).toHaveLength(1)
  expect(await store.claimDueTasks({ ...params, now: START })).toEqual({
    tasks: [],
    nextClaimAt: at(100),
    isMoreDue: true,
  })
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

/** Many more than any test could register: copies of the one that is there. */
function addCopies(db: Database.Database, taskId: string, count: number, changes: Record<string, unknown> = {}): void {
  const columns = db.prepare<[], string>(`select name from pragma_table_info('_tasks')`).pluck().all()
  const copyOf = (name: string) => {
    if (name in changes) return JSON.stringify(changes[name]).replaceAll('"', "'")
    return name === 'id' || name === 'task_id' ? `${name} || '-${taskId}-' || n` : name
  }
  db.prepare(
    `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)
     insert into _tasks (${columns.join(', ')}) select ${columns.map(copyOf).join(', ')} from _tasks, numbers where task_id = ?`,
  ).run(count, taskId)
}

/** Claims as the scheduler does, at each instant at which the budget grants something, and tells who was claimed when. */
async function claimFor(store: Store, forMs: number, rate = 10, limit = 16) {
  const claimed: { readonly task: DueTask; readonly ms: number }[] = []
  let ms = 0
  for (let nth = 0; ms < forMs; nth += 1) {
    const now = at(ms)
    const params = { now, lease: { token: `lse_${nth}` as LeaseToken, expiresAt: at(10 * 60_000) }, limit }
    const { tasks, nextClaimAt } = await store.claimDueTasks({ ...params, credential: 'aidge', settings: { rate } })
    claimed.push(...tasks.map((task) => ({ task, ms })))
    if (nextClaimAt === null) break
    ms = Math.max(ms + 1, nextClaimAt - START)
  }
  return claimed
}

test.each([10, 200])('a kind with 100 000 overdue does not starve one with ten, at %i a second', async (rate) => {
  const { store, db } = open()
  await register(store, { taskId: 'many', kind: 'many', firstPollAt: at(-3_600_000) })
  await register(store, { taskId: 'few', kind: 'few', firstPollAt: START })
  addCopies(db, 'many', 100_000, { poll_count: 5 })
  addCopies(db, 'few', 9)
  const claimed = await claimFor(store, 5_000, rate)
  const few = claimed.filter(({ task }) => task.kind === 'few')
  expect(few).toHaveLength(10)
  // One in three: the first of the many is new, and has a turn too.
  expect(claimed.findLastIndex(({ task }) => task.kind === 'few')).toBeLessThan(30)
  // Both by one budget, and nothing of it is lost.
  expect(claimed.length).toBeGreaterThanOrEqual(rate * 5 * 0.98)
  expect(claimed.length).toBeLessThanOrEqual(rate * 5 + Math.max(1, rate / 10))
})

test('new tasks and overdue ones have half of the turns each, while both wait', async () => {
  const { store, db } = open()
  await register(store, { taskId: 'task', firstPollAt: at(-60_000) })
  addCopies(db, 'task', 20_000, { poll_count: 3, next_poll_at: at(-1_000) })
  db.prepare('update _tasks set poll_count = 3').run()
  await register(store, { taskId: 'new', firstPollAt: START })
  addCopies(db, 'new', 20_000)
  const claimed = await claimFor(store, 20_000)
  const newCount = claimed.filter(({ task }) => task.pollCount === 0).length
  expect(Math.abs(newCount - claimed.length / 2)).toBeLessThanOrEqual(1)
})

test('whose turn it is outlives the daemon: with one query each life, nobody is left out', async () => {
  const path = join(aDirectory(), 'lives.db')
  const kinds: string[] = []
  for (let life = 0; life < 6; life += 1) {
    const store = openAt(path)
    if (life === 0)
      for (const kind of ['a', 'b', 'c']) await register(store, { taskId: kind, kind, firstPollAt: at(-9) })
    const now = at(life * 100)
    const params = { now, lease: lease(`life-${life}`, now), credential: 'aidge', settings: { rate: 10 }, limit: 16 }
    const { tasks } = await store.claimDueTasks(params)
    kinds.push(...tasks.map((task) => task.kind))
    const records = tasks.map((task) => pollAgain(task, `life-${life}`, now))
    await store.recordPolls({ now, records, effects: [] })
    await store.close()
  }
  expect(kinds.slice(0, 3).toSorted()).toEqual(['a', 'b', 'c'])
  expect(kinds.slice(3).toSorted()).toEqual(['a', 'b', 'c'])
})

test('what a queue has not enough for goes to the others', async () => {
  const { store } = open()
  await register(store, { taskId: 'rare', kind: 'rare' })
  for (let nth = 0; nth < 20; nth += 1) await register(store, { taskId: `often-${nth}`, kind: 'often' })
  const claimed = await claim(store, 'a', START, 16)
  expect(claimed.filter(({ kind }) => kind === 'often')).toHaveLength(15)
  expect(await claim(store, 'b', at(1_000), 16)).toHaveLength(5)
})

test('a claim that finds nothing due writes nothing', async () => {
  const { store, db } = open()
  await register(store, { firstPollAt: at(5_000) })
  const holder = new Database(db.name, { timeout: 0 })
  onTestFinished(() => void holder.close())
  // Nobody else can begin to write, and no claim has to.
  holder.exec('begin immediate')
  const params = { now: START, lease: lease('a'), credential: 'aidge', settings: SETTINGS, limit: 10 }
  expect(await store.claimDueTasks(params)).toEqual({ tasks: [], nextClaimAt: at(5_000), isMoreDue: false })
  holder.exec('rollback')
})

test.each([{ kind: 'k' }, { status: 'pending' as const }, { status: 'canceled' as const, kind: 'k' }, {}])(
  'pages of %j are whole, newest first, and without repetition',
  async (filter) => {
    const { store } = open()
    for (let nth = 0; nth < 24; nth += 1) {
      const { id } = await register(store, { taskId: `t-${nth}`, kind: nth % 3 === 0 ? 'k' : `other-${nth % 2}` })
      if (nth % 4 === 0) await store.cancelTask({ now: START, id })
    }
    const all = (await store.listTasks({ limit: 100 })).items.filter(
      (task) => (filter.kind ?? task.kind) === task.kind && (filter.status ?? task.status) === task.status,
    )
    const found: string[] = []
    let cursor: string | undefined
    do {
      const page = await store.listTasks({ ...filter, limit: 2, ...(cursor === undefined ? {} : { cursor }) })
      found.push(...page.items.map(({ id }) => id))
      cursor = page.nextCursor ?? undefined
    } while (cursor !== undefined)
    expect(found).toEqual(all.map(({ id }) => id))
  },
)
