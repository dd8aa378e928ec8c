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
