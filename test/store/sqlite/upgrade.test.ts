/** Upgrading: from every schema that ever was, with what was in it; a whole copy from before is left beside it. */

import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../../src/store/sqlite/open.ts'
import { aDirectory, START } from '../../support/store.ts'

const MIGRATIONS = join(import.meta.dirname, '../../../migrations/sqlite')
const JOURNAL = join('meta', '_journal.json')

interface Entry {
  readonly tag: string
}

const ENTRIES = (JSON.parse(readFileSync(join(MIGRATIONS, JOURNAL), 'utf8')) as { entries: readonly Entry[] }).entries
/** All but the latest: from them there is something to upgrade to. */
const OLDER = ENTRIES.slice(0, -1).map(({ tag }, index) => [tag, index + 1] as const)

/** A database as the version with so many migrations left it, with a task in it. */
function anOldDatabase(migrationCount: number): string {
  const folder = join(aDirectory(), 'migrations')
  cpSync(MIGRATIONS, folder, { recursive: true })
  const journal = JSON.parse(readFileSync(join(folder, JOURNAL), 'utf8')) as { entries: Entry[] }
  writeFileSync(
    join(folder, JOURNAL),
    JSON.stringify({ ...journal, entries: journal.entries.slice(0, migrationCount) }),
  )
  const path = join(aDirectory(), 'ringback.db')
  const db = new Database(path)
  migrate(drizzle(db), { migrationsFolder: folder, migrationsTable: '_migrations' })
  db.exec(
    `insert into _tasks (id, task_id, kind, credential, status, metadata, registered_at, deadline_at, next_poll_at, poll_count, unavailable_count)
     values ('task_old', 'aidge-1', 'virtual-model-generation', 'aidge', 'pending', '{}', 1, 2, 1, 0, 0)`,
  )
  db.close()
  return path
}

function copiesBeside(path: string): readonly string[] {
  return readdirSync(join(path, '..')).filter((name) => name.includes('.before-'))
}

test.each(OLDER)(
  'from %s everything is brought along, and a whole copy from before is left',
  (_tag, migrationCount) => {
    const path = anOldDatabase(migrationCount)
    const opened = openDatabase(path, START)
    onTestFinished(() => opened.close())
    expect(opened.reader.prepare('select id from tasks').pluck().all()).toEqual(['task_old'])
    expect(opened.reader.pragma('integrity_check', { simple: true })).toBe('ok')

    const copy = `${path}.before-${ENTRIES[migrationCount]?.tag}`
    expect(copiesBeside(path).map((name) => join(path, '..', name))).toEqual([copy])
    expect(statSync(copy).mode & 0o777).toBe(0o600)
    const before = new Database(copy, { readonly: true })
    onTestFinished(() => void before.close())
    expect(before.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(before.prepare('select id from _tasks').pluck().all()).toEqual(['task_old'])
    expect(before.prepare('select count(*) from _migrations').pluck().get()).toBe(migrationCount)
  },
)

test('polls that were answered alike become one row each, from the first of them to the last', () => {
  const path = anOldDatabase(ENTRIES.findIndex(({ tag }) => tag.endsWith('_scale')))
  const old = new Database(path)
  const poll = old.prepare(
    `insert into _polls (task_id, poll_number, asked_at, duration_ms, observation, detail, http_status, request_id, next_poll_at, reason)
     values ('task_old', :n, :n * 1000, :n, :observation, :detail, :status, 'r' || cast(:n as integer), :n * 1000 + 500, 'because ' || cast(:n as integer))`,
  )
  const running = { observation: 'running', detail: 'running', status: 200 }
  const silent = { observation: 'unavailable', detail: 'timeout', status: null }
  const answers = [running, running, running, silent, silent, running, { ...running, status: 202 }]
  for (const [index, answer] of answers.entries()) poll.run({ n: index + 1, ...answer })
  old.close()
  const opened = openDatabase(path, START)
  onTestFinished(() => opened.close())
  const runs = opened.reader
    .prepare('select first_poll_number, poll_number, run_length, detail from polls order by poll_number')
    .raw()
    .all()
  expect(runs).toEqual([
    [1, 3, 3, 'running'],
    [4, 5, 2, 'timeout'],
    [6, 6, 1, 'running'],
    [7, 7, 1, 'running'],
  ])
  expect(opened.reader.prepare('select * from polls where poll_number = 3').get()).toMatchObject({
    first_asked_at_ms: 1_000,
    asked_at_ms: 3_000,
    duration_ms: 3,
    request_id: 'r3',
    next_poll_at_ms: 3_500,
    reason: 'because 3',
  })
})

test('a new database, and one that is up to date, leave no copy', () => {
  const path = join(aDirectory(), 'ringback.db')
  openDatabase(path, START).close()
  openDatabase(path, START).close()
  expect(copiesBeside(path)).toEqual([])
})

test('what an interrupted copy left is thrown away and made anew', () => {
  const path = anOldDatabase(1)
  const copy = `${path}.before-${ENTRIES[1]?.tag}`
  writeFileSync(`${copy}.unfinished`, 'half of it')
  openDatabase(path, START).close()
  expect(existsSync(`${copy}.unfinished`)).toBe(false)
  const before = new Database(copy, { readonly: true })
  onTestFinished(() => void before.close())
  expect(before.pragma('integrity_check', { simple: true })).toBe('ok')
})

test('what an operator made over our views stays, and what is known of outcomes moves to the events', () => {
  const path = anOldDatabase(ENTRIES.findIndex(({ tag }) => tag.endsWith('_lean_claims')))
  const outcome = { partial: false, images: [{ url: 'http://x/' }], error: { code: 'model_failed', message: 'ü' } }
  const old = new Database(path)
  old.exec(`
    create view tasks as select * from _tasks;
    create view "my ""failed""" as select id, error_code, image_count, partial from tasks where status = 'failed';
    update _tasks set status = 'failed', settled_at = 9, next_poll_at = null, event_id = 'evt_1', outcome = '${JSON.stringify(outcome)}';
    insert into _events (id, task_id, type, created_at, body) values ('evt_1', 'task_old', 'task.failed', 9, '{}')`)
  old.close()
  const opened = openDatabase(path, START)
  onTestFinished(() => opened.close())
  const seen = opened.reader.prepare('select * from "my ""failed"""').all()
  expect(seen).toEqual([{ id: 'task_old', error_code: 'model_failed', image_count: 1, partial: 0 }])
})
