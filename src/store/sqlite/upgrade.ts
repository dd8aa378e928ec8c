/** Brings an older database to the schema of this version, and keeps a copy from before: an upgrade has no way back. */

import { chmodSync, closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { ConfigError, DamagedError } from '../../core/errors.ts'
import { withoutForeignViews } from './views.ts'

const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../../migrations/sqlite', import.meta.url))
const MIGRATIONS_TABLE = '_migrations'

interface Migration {
  readonly tag: string
  /** What orders them; the newest that was made is written into the database. */
  readonly when: number
}

function migrations(): readonly Migration[] {
  const path = join(MIGRATIONS_FOLDER, 'meta', '_journal.json')
  return (JSON.parse(readFileSync(path, 'utf8')) as { entries: readonly Migration[] }).entries
}

export function latestMigration(): number {
  return Math.max(...migrations().map(({ when }) => when))
}

/** Null for a database that is new. */
function newestMadeIn(db: Database.Database): number | null {
  const isKnown = db.prepare(`select 1 from sqlite_schema where name = '${MIGRATIONS_TABLE}'`).get() !== undefined
  if (!isKnown) return null
  const { newest } = db.prepare(`select max(created_at) as newest from ${MIGRATIONS_TABLE}`).get() as {
    newest: number | null
  }
  return newest === null ? null : Number(newest)
}

/** @throws ConfigError */
export function refuseNewerSchema(db: Database.Database, file: string): void {
  const newest = newestMadeIn(db)
  if (newest === null || newest <= latestMigration()) return
  throw new ConfigError([
    `${file} was written by a newer ringback: start that version, or restore a backup from before the upgrade`,
  ])
}

/** Each migration is a transaction: a crash in the middle leaves the schema as one of them left it. */
export function upgrade(db: Database.Database, file: string): void {
  const newest = newestMadeIn(db)
  const pending = newest === null ? undefined : migrations().find(({ when }) => when > newest)
  if (pending !== undefined) backUp(db, `${file}.before-${pending.tag}`)
  // A table that others refer to cannot be made anew while SQLite guards the references (its docs, ALTER TABLE §7).
  db.pragma('foreign_keys = off')
  withoutForeignViews(db, () =>
    migrate(drizzle(db), { migrationsFolder: MIGRATIONS_FOLDER, migrationsTable: MIGRATIONS_TABLE }),
  )
  db.pragma('foreign_keys = on')
  if (pending === undefined) return
  const broken = db.pragma('foreign_key_check') as readonly { table: string }[]
  if (broken.length === 0) return
  const tables = [...new Set(broken.map(({ table }) => table))].join(', ')
  throw new DamagedError(`${file}: rows of ${tables} refer to rows that are missing: restore a backup from before`)
}

/**
 * Under its name only when it is whole and on disk. `vacuum into` blocks while it copies, which costs nobody anything:
 * nothing else runs yet.
 */
function backUp(db: Database.Database, path: string): void {
  const unfinished = `${path}.unfinished`
  rmSync(unfinished, { force: true })
  closeSync(openSync(unfinished, 'wx', 0o600))
  try {
    db.prepare('vacuum into ?').run(unfinished)
    flushToDisk(unfinished)
  } catch (error) {
    rmSync(unfinished, { force: true })
    throw error
  }
  chmodSync(unfinished, 0o600)
  renameSync(unfinished, path)
}

function flushToDisk(path: string): void {
  const fd = openSync(path, 'r+')
  fsyncSync(fd)
  closeSync(fd)
}
