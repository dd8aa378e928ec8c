/** The documented way in through SQL, as a stranger with a sqlite3 shell sees it while the daemon runs. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { SECOND } from '../../../src/core/time.ts'
import { VIEWS_VERSION } from '../../../src/store/sqlite/views.ts'
import { aDirectory, openAt } from '../../support/store.ts'
import type { World } from '../../support/world.ts'
import { createWorld } from '../../support/world.ts'

/** Every other `…_ms` is an instant that stands beside its text. */
const DURATIONS = ['duration_ms', 'median_ms', 'p90_ms', 'poll_cost_ms']
const DOCS = new URL('../../../docs/sql.md', import.meta.url)

async function aBusyWorld(): Promise<{ world: World; db: Database.Database }> {
  const world = createWorld({
    receive: (request) => ({ kind: 'response', status: request.url.includes('broken') ? 500 : 204, retryAfter: null }),
  })
  await world.register({ taskId: 'a', metadata: { order: 7 } })
  await world.register({ taskId: 'b', callbackUrl: 'https://broken.example/hooks?token=secret' })
  await world.clock.runFor(SECOND)
  const db = new Database(world.path, { readonly: true })
  return { world, db }
}

test('each view shows what happened, in the words of the API', async () => {
  const { world, db } = await aBusyWorld()
  const rows = (view: string) => db.prepare(`select * from ${view}`).all() as Record<string, unknown>[]
  const task = (await world.store().listTasks({ taskId: 'a', limit: 1 })).items[0]!
  expect(rows('tasks').find((row) => row['task_id'] === 'a')).toMatchObject({
    id: task.id,
    kind: 'virtual-model-generation',
    status: 'succeeded',
    registered_at: '2026-01-01T00:00:00.000Z',
    registered_at_ms: 1_767_225_600_000,
    poll_count: 1,
    event_id: task.eventId,
    partial: 0,
    error_code: null,
    metadata: '{"order":7}',
  })
  expect(rows('events').find((row) => row['id'] === task.eventId)).toMatchObject({
    task: task.id,
    type: 'task.succeeded',
  })
  expect(rows('deliveries').find((row) => row['task_id'] === 'b')).toMatchObject({
    status: 'pending',
    attempt_count: 1,
    last_status_code: 500,
    endpoint_status: 'enabled',
  })
  expect(rows('attempts')).toHaveLength(2)
  expect(rows('polls')).toEqual([
    expect.objectContaining({ task_id: 'a', poll_number: 1, observation: 'finished', next_poll_at: null }),
    expect.objectContaining({ task_id: 'b', poll_number: 1, observation: 'finished' }),
  ])
  expect(rows('ringback_schema')).toEqual([
    expect.objectContaining({ database_id: world.store().databaseId, views_version: VIEWS_VERSION }),
  ])
  db.close()
})

test('the counters say what counting says', async () => {
  const { db } = await aBusyWorld()
  const counted = db
    .prepare(`select 'tasks.' || status as name, count(*) as n from tasks group by 1
    union all select 'deliveries.' || status, count(*) from deliveries group by 1 order by 1`)
    .all()
  expect(db.prepare('select name, n from counts where n > 0 order by name').all()).toEqual(counted)
  expect(counted).toEqual([
    { name: 'deliveries.delivered', n: 1 },
    { name: 'deliveries.pending', n: 1 },
    { name: 'tasks.succeeded', n: 2 },
  ])
  db.close()
})

test('every query of docs/sql.md runs', async () => {
  const { db } = await aBusyWorld()
  const queries = [...readFileSync(DOCS, 'utf8').matchAll(/```sql\n([\s\S]*?)```/g)].flatMap((match) =>
    match[1]!.split(/;\s*\n/),
  )
  const statements = queries.map((query) => query.trim()).filter((query) => query !== '')
  expect(statements.length).toBeGreaterThan(8)
  for (const statement of statements) expect(() => db.prepare(statement).all(), statement).not.toThrow()
  db.close()
})

test('every column of every view is documented, and none is documented that is not there', async () => {
  const { db } = await aBusyWorld()
  const views = db.prepare(`select name from sqlite_schema where type = 'view' order by name`).pluck().all() as string[]
  expect(views).toEqual([
    'attempts',
    'cadence',
    'counts',
    'deliveries',
    'endpoint_health',
    'events',
    'polls',
    'ringback_schema',
    'tasks',
  ])
  const docs = readFileSync(DOCS, 'utf8')
  for (const view of views) {
    const section = docs.split(/^## /m).find((part) => part.startsWith(`\`${view}\``)) ?? ''
    const documented = [...section.matchAll(/^\| `(\w+)`/gm)].map((match) => match[1])
    const columns = (db.pragma(`table_info(${view})`) as { name: string }[]).map((column) => column.name)
    expect(documented.sort(), view).toEqual(
      columns.filter((column) => !column.endsWith('_ms') || DURATIONS.includes(column)).sort(),
    )
  }
  db.close()
})

test('no view shows a secret', async () => {
  const { db } = await aBusyWorld()
  const views = db
    .prepare(`select group_concat(sql, ' ') from sqlite_schema where type = 'view'`)
    .pluck()
    .get() as string
  expect(views).not.toMatch(/secret|token(?!')/i)
  db.close()
})

test('an ordinary sqlite3 shell reads while the daemon holds the file', async ({ skip }) => {
  const { world, db } = await aBusyWorld()
  db.close()
  try {
    execFileSync('sqlite3', ['--version'])
  } catch {
    skip('no sqlite3 on this machine')
  }
  const answer = execFileSync('sqlite3', [world.path, 'select status, count(*) from tasks group by status'], {
    encoding: 'utf8',
  })
  expect(answer.trim()).toBe('succeeded|2')
})

test('views of an earlier version are made anew, and those of this one are left as they are', async () => {
  const path = join(aDirectory(), 'views.db')
  await openAt(path).close()
  const db = new Database(path)
  const schemaVersion = () => db.pragma('schema_version', { simple: true })
  const before = schemaVersion()
  await openAt(path).close()
  expect(schemaVersion()).toBe(before)
  db.exec(
    `drop view counts; create view counts as select 1 as old; update _meta set value = '1' where key = 'views_version'`,
  )
  await openAt(path).close()
  expect(db.prepare('select name, n from counts').all().length).toBeGreaterThan(0)
  db.close()
})
