/**
 * The database's own fences: what the code never does, the tables refuse when it tries. They are the last line behind
 * leases and rules, so each is tried with plain SQL, past all of those.
 */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { aDirectory, openAt } from '../support/store.ts'

async function withRows(): Promise<Database.Database> {
  const path = join(aDirectory(), 'fences.db')
  await openAt(path).close()
  const db = new Database(path)
  db.pragma('foreign_keys = on')
  db.exec(`
    insert into _endpoints (id, url, status, created_at, updated_at) values ('ep_1', 'https://a.example/', 'enabled', 1, 1);
    insert into _tasks (id, task_id, kind, credential, status, metadata, registered_at, deadline_at, next_poll_at, poll_count, unavailable_count)
      values ('task_1', 'a', 'k', 'c', 'pending', '{}', 1, 2, 1, 0, 0);
    insert into _subscriptions (task_id, endpoint_id, created_at) values ('task_1', 'ep_1', 1);
    insert into _events (id, task_id, type, created_at, body) values ('evt_1', 'task_1', 'task.succeeded', 1, '{}');
    insert into _deliveries (id, event_id, endpoint_id, status, attempt_count, scheduled_attempt_count, is_manual, status_before, next_attempt_at, created_at)
      values ('dlv_1', 'evt_1', 'ep_1', 'pending', 0, 0, 0, 'pending', 1, 1);
    insert into _attempts (id, delivery_id, attempt_number, is_manual, verdict, started_at, duration_ms, response_truncated, response_headers)
      values ('att_1', 'dlv_1', 1, 0, 'retry', 1, 1, 0, '{}');`)
  return db
}

/** Copies a row under another id and another place in the order, with some of its columns changed. */
function again(
  db: Database.Database,
  table: string,
  key: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, unknown>>,
): void {
  const [name, value] = Object.entries(key)[0]!
  const row = db.prepare(`select * from ${table} where ${name} = ?`).get(value) as Record<string, unknown>
  const copy: Record<string, unknown> = { ...row, ...changes }
  const columns = Object.keys(copy).filter((column) => column !== 'seq')
  db.prepare(`insert into ${table} (${columns.join(', ')}) values (${columns.map(() => '?').join(', ')})`).run(
    ...columns.map((column) => copy[column]),
  )
}

test.each([
  ['a second event of one task', '_events', { id: 'evt_1' }, { id: 'evt_2' }, 'task_id'],
  ['a second row of one upstream task', '_tasks', { id: 'task_1' }, { id: 'task_2' }, 'task_id, kind'],
  [
    'a second delivery of one event to one endpoint',
    '_deliveries',
    { id: 'dlv_1' },
    { id: 'dlv_2' },
    'event_id, endpoint_id',
  ],
  ['a second attempt of one number', '_attempts', { id: 'att_1' }, { id: 'att_2' }, 'delivery_id, attempt_number'],
  ['a second endpoint of one URL', '_endpoints', { id: 'ep_1' }, { id: 'ep_2' }, 'url'],
  ['a second subscription of one endpoint', '_subscriptions', { task_id: 'task_1' }, {}, 'task_id, endpoint_id'],
  ['a second event of one id', '_events', { id: 'evt_1' }, { task_id: null }, 'id'],
  ['a second delivery of one id', '_deliveries', { id: 'dlv_1' }, { endpoint_id: 'ep_2' }, 'id'],
])('the database refuses %s', async (_, table, key, changes, columns) => {
  const db = await withRows()
  const failed = columns
    .split(', ')
    .map((column) => `${table}.${column}`)
    .join(', ')
  expect(() => again(db, table, key, changes)).toThrow(`UNIQUE constraint failed: ${failed}`)
  db.close()
})

test.each([
  ['a task that has ended and has no end', `update _tasks set status = 'succeeded'`, /CHECK/],
  ['a task that is pending and has ended', `update _tasks set settled_at = 5`, /CHECK/],
  ['a status that nobody knows', `update _tasks set status = 'gone', settled_at = 5`, /CHECK/],
  ['a delivery that is pending and never due', `update _deliveries set next_attempt_at = null`, /CHECK/],
  ['an event without a task', `update _events set task_id = 'task_9'`, /FOREIGN KEY/],
  ['a delivery without an event', `update _deliveries set event_id = 'evt_9'`, /FOREIGN KEY/],
  ['an instant that is no number', `update _tasks set next_poll_at = 'soon'`, /cannot store TEXT/],
  ['a task without an id', `update _tasks set id = null`, /NOT NULL/],
])('the database refuses %s', async (_, statement, problem) => {
  const db = await withRows()
  expect(() => db.exec(statement)).toThrow(problem)
  db.close()
})
