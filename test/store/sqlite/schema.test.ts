/** What the tables refuse by themselves, in a database that was used, and the counts that they keep by themselves. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { Store } from '../../../src/store/store.ts'
import { aDirectory, countingIds, openAt, START } from '../../support/store.ts'
import { at, attempted, claimDeliveries, FAILED, OK, register, SECRETS, settle } from '../steps.ts'

/** Something in each table. */
async function use(store: Store): Promise<void> {
  const { subscriptions } = await settle(store)
  await settle(store, { taskId: 'forgotten', callback: { kind: 'url', url: 'https://other.example/' } })
  const id = subscriptions[0]!.endpointId
  await store.rotateSecret({ now: START, id, secret: SECRETS[0]!, overlapMs: 1_000 })
  const { deliveries } = await claimDeliveries(store, 'a')
  const records = deliveries.map((one) => attempted(one, 'a', one.endpointId === id ? FAILED : OK))
  await store.recordAttempts({ now: START, records })
  const { id: canceled } = await register(store, { taskId: 'canceled' })
  await store.cancelTask({ now: START, id: canceled })
  await register(store, { taskId: 'waiting' })
}

async function aUsedDatabase(): Promise<Database.Database> {
  const path = join(aDirectory(), 'used.db')
  const store = openAt(path)
  await use(store)
  await store.close()
  const db = new Database(path)
  db.pragma('foreign_keys = on')
  onTestFinished(() => void db.close())
  return db
}

test.each([
  ['an attempt', '_attempts', 'delivery_id'],
  ['a delivery of no event', '_deliveries', 'event_id'],
  ['a delivery to no endpoint', '_deliveries', 'endpoint_id'],
  ['an event', '_events', 'task_id'],
  ['a poll', '_polls', 'task_id'],
  ['a subscription of no task', '_subscriptions', 'task_id'],
  ['a subscription of no endpoint', '_subscriptions', 'endpoint_id'],
  ['a secret', '_secrets', 'endpoint_id'],
])('%s that belongs to nothing is refused', async (_what, table, column) => {
  const db = await aUsedDatabase()
  const one = db.prepare(`select ${column} from ${table} limit 1`).pluck().get()
  expect(one).toBeDefined()
  const move = db.prepare(`update ${table} set ${column} = 'nowhere' where ${column} = ?`)
  expect(() => move.run(one)).toThrow(/FOREIGN KEY/)
})

test.each([
  ['a delivery in a state that nobody knows', `update _deliveries set status = 'lost', next_attempt_at = null`],
  ['a delivery that has ended and is due', `update _deliveries set status = 'delivered', next_attempt_at = 1`],
  ['an endpoint in a state that nobody knows', `update _endpoints set status = 'asleep'`],
])('%s is refused', async (_what, statement) => {
  const db = await aUsedDatabase()
  expect(() => db.exec(statement)).toThrow(/CHECK/)
})

test('a second poll of one number is refused', async () => {
  const db = await aUsedDatabase()
  const columns = (db.pragma('table_info(_polls)') as { name: string }[]).map(({ name }) => name)
  const values = columns.map((name) => (name === 'asked_at' ? 'asked_at + 1' : name))
  expect(() => db.exec(`insert into _polls (${columns}) select ${values} from _polls`)).toThrow(/UNIQUE/)
})

/** What the counts should be, by counting. */
function counted(db: Database.Database): ReadonlyMap<string, number> {
  const rows = db
    .prepare(
      `select 'tasks.' || status as name, count(*) as n from _tasks group by 1
       union all select 'deliveries.' || status, count(*) from _deliveries group by 1`,
    )
    .all() as { name: string; n: number }[]
  return new Map(rows.map(({ name, n }) => [name, n]))
}

function kept(db: Database.Database): ReadonlyMap<string, number> {
  const rows = db.prepare('select name, n from counts where n <> 0').all() as { name: string; n: number }[]
  return new Map(rows.map(({ name, n }) => [name, n]))
}

test('the counts are those of the rows: made, changed and deleted, also by a daemon that did not make the database', async () => {
  const path = join(aDirectory(), 'counts.db')
  const newId = countingIds()
  await openAt(path, newId).close()
  const store = openAt(path, newId)
  await use(store)
  const db = new Database(path, { readonly: true })
  onTestFinished(() => void db.close())
  expect([...counted(db).keys()].toSorted()).toEqual([
    'deliveries.delivered',
    'deliveries.pending',
    'tasks.canceled',
    'tasks.pending',
    'tasks.succeeded',
  ])
  expect(kept(db)).toEqual(counted(db))
  expect(await store.deleteSettledTasks({ settledBefore: at(1), limit: 10 })).toBe(2)
  expect(kept(db)).toEqual(counted(db))
})

test('the oldest are forgotten first, no more at a time than was asked for', async () => {
  const store = openAt(join(aDirectory(), 'forget.db'))
  for (const [index, taskId] of ['b', 'a', 'c'].entries()) {
    const { id } = await register(store, { taskId })
    await store.cancelTask({ now: at(index), id })
  }
  expect(await store.deleteSettledTasks({ settledBefore: at(9), limit: 2 })).toBe(2)
  expect((await store.listTasks({ limit: 9 })).items.map(({ taskId }) => taskId)).toEqual(['c'])
})
