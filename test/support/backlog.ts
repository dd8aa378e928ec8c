/**
 * A database with a hundred thousand tasks or deliveries waiting: a few are made through the store itself, and their rows
 * are then copied within SQL, which takes two seconds where the store would take twenty.
 */

import Database from 'better-sqlite3'
import type { LeaseToken } from '../../src/core/ids.ts'
import type { Outcome } from '../../src/core/task.ts'
import { after, DAY, HOUR } from '../../src/core/time.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { PollRecord, Store } from '../../src/store/store.ts'
import { systemClock, systemNewId } from '../../src/system.ts'
import { aRegistration } from './store.ts'

export interface BacklogOptions {
  readonly path: string
  readonly count: number
  /** Deliveries: all tasks have settled, and nobody has been told. */
  readonly of: 'tasks' | 'deliveries'
  /** One endpoint each; the tasks are shared out among them. */
  readonly callbackUrls: readonly string[]
}

const LEASE = 'lse_backlog' as LeaseToken

const SUCCEEDED: Outcome = {
  status: 'succeeded',
  partial: false,
  images: [{ url: 'http://pictures.example/a.png?Expires=1&Signature=x', width: 768, height: 1024, expiresAt: null }],
  error: null,
  response: '{"taskStatus":"finished"}',
  responseTruncated: false,
}

export async function makeBacklog({ path, count, of, callbackUrls }: BacklogOptions): Promise<void> {
  const onDamaged = (error: Error) => {
    throw error
  }
  const store = openSqliteStore({ path, clock: systemClock, newId: systemNewId, onDamaged })
  const now = systemClock.now()
  const registrations = callbackUrls.map((url, index) =>
    aRegistration({
      taskId: `ok-waiting-${index}`,
      callback: { kind: 'url', url },
      deadlineAt: after(now, DAY),
      firstPollAt: now,
    }),
  )
  await store.registerTasks({ now, registrations })
  if (of === 'deliveries') await settleAll(store)
  await store.close()
  copyRows(path, Math.ceil(count / callbackUrls.length) - 1)
}

async function settleAll(store: Store): Promise<void> {
  const now = systemClock.now()
  const lease = { token: LEASE, expiresAt: after(now, HOUR) }
  const { tasks } = await store.claimDueTasks({
    now,
    lease,
    credential: 'aidge',
    settings: { rate: 1_000 },
    limit: 100,
  })
  const records = tasks.map((task): PollRecord => {
    return { task, leaseToken: LEASE, poll: null, decision: { kind: 'settle', outcome: SUCCEEDED } }
  })
  await store.recordPolls({ now, records, effects: [] })
}

/** Parents first; the columns that name something get a number behind. */
const COPIED: readonly (readonly [table: string, naming: readonly string[]])[] = [
  ['_tasks', ['id', 'task_id', 'event_id']],
  ['_subscriptions', ['task_id']],
  ['_events', ['id', 'task_id']],
  ['_deliveries', ['id', 'event_id']],
]

function copyRows(path: string, times: number): void {
  const db = new Database(path)
  for (const [table, naming] of COPIED) {
    // The place in the order of the commits is given by SQLite.
    const columns = db
      .prepare<[string], string>(`select name from pragma_table_info(?) where name <> 'seq'`)
      .pluck()
      .all(table)
    const values = columns.map((name) => (naming.includes(name) ? `${name} || printf('-%06d', n)` : name))
    db.prepare(
      `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)
       insert into ${table} (${columns.join(', ')}) select ${values.join(', ')} from ${table}, numbers order by 1`,
    ).run(times)
  }
  db.close()
}
