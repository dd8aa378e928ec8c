/** A database in which tens of thousands of deliveries wait: a few are made by the daemon, and their rows copied in SQL. */

import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { startDaemon } from './processes.mjs'

/** Parents first; the columns that name something get a number behind. */
const COPIED = [
  ['_tasks', ['id', 'task_id', 'event_id']],
  ['_subscriptions', ['task_id']],
  ['_events', ['id', 'task_id']],
  ['_deliveries', ['id', 'event_id']],
]
const SETTLING_MS_MAX = 20_000

/** `count` deliveries wait for `callbackUrls`, shared out among them, as if nothing had been tried yet. */
export async function makeBacklog({ path, upstream, callbackUrls, count }) {
  const daemon = await startDaemon(path, upstream)
  if (callbackUrls.length === 0) return await daemon.end()
  await daemon.register(callbackUrls.map((callbackUrl, index) => ({ taskId: `waiting-${index}`, callbackUrl })))
  await untilSettled(path, callbackUrls.length)
  await daemon.end()
  copyRows(path, Math.ceil(count / callbackUrls.length) - 1)
}

async function untilSettled(path, count) {
  const db = new Database(path, { readonly: true })
  const settled = db.prepare('select count(*) from _events').pluck()
  for (let waitedMs = 0; settled.get() < count; waitedMs += 50) {
    if (waitedMs > SETTLING_MS_MAX) throw new Error(`${settled.get()} of ${count} tasks settled within 20 s`)
    await sleep(50)
  }
  db.close()
}

function copyRows(path, times) {
  const db = new Database(path)
  db.exec('delete from _attempts')
  db.exec(`update _deliveries set next_attempt_at = created_at, attempt_count = 0, scheduled_attempt_count = 0`)
  for (const [table, naming] of COPIED) {
    const columns = db
      .prepare('select name from pragma_table_info(?)')
      .pluck()
      .all(table)
      .filter((name) => name !== 'seq')
    const values = columns.map((name) => (naming.includes(name) ? `${name} || printf('-%06d', n)` : name))
    db.prepare(
      `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)
       insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from ${table}, numbers order by 1`,
    ).run(times)
  }
  db.exec('update _endpoints set slots = null, failing_since = null, failing_events = null, arrival_at = 0')
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
}

/** How many attempts were made at anything that waited. */
export function attemptsAtBacklog(path) {
  const db = new Database(path, { readonly: true })
  const count = db
    .prepare(
      `select count(*) from _attempts a join _deliveries d on d.id = a.delivery_id
       join _events e on e.id = d.event_id join _tasks t on t.id = e.task_id where t.task_id like 'waiting-%'`,
    )
    .pluck()
    .get()
  db.close()
  return count
}
