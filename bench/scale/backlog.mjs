/** A database with so many pending tasks: one is registered by the daemon, and its rows are copied within SQL. */

import Database from 'better-sqlite3'
import { startDaemon } from '../daemon.mjs'

/** As ids are: ours of 31 characters, theirs of 36. */
const ID = `'task_' || printf('%026d', n)`
const TASK_ID = `printf('%08x-0000-4000-8000-%012x', n, n)`

/** None of them is due before `dueInMs`, from then on so many a millisecond. */
export async function makeBacklog({ path, upstream, count, dueInMs, dueAMs = 100 }) {
  const daemon = await startDaemon({ path, upstream })
  await daemon.register([
    { taskId: 'first', callbackUrl: 'http://127.0.0.1:1024/hooks', metadata: { order: 1180, shop: 'example' } },
  ])
  await daemon.end()
  const db = new Database(path)
  db.pragma('synchronous = off')
  const due = `${Date.now() + dueInMs} + n / ${dueAMs}`
  const changes = { id: ID, task_id: TASK_ID, next_poll_at: due, poll_count: '3', last_observation: `'running'` }
  const columns = db.prepare('select name from pragma_table_info(?)').pluck().all('_tasks')
  const numbers = 'with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)'
  // A piece at a time: one transaction would hold a log as long as the file.
  db.prepare(
    `${numbers} insert into _tasks (${columns.join(', ')})
     select ${columns.map((name) => changes[name] ?? name).join(', ')} from numbers, (select * from _tasks limit 1)`,
  ).run(count)
  db.prepare(
    `${numbers} insert into _subscriptions (task_id, endpoint_id, created_at)
     select ${ID}, endpoint_id, created_at from numbers, (select * from _subscriptions limit 1)`,
  ).run(count)
  db.exec(`update _tasks set deadline_at = deadline_at + 864000000`)
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
}
