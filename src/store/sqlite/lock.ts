/**
 * One daemon per database: a side-car SQLite file whose write lock is held for the life of the process.
 *
 * The kernel frees it with the process, however that ends, so there are no stale pid files; it works between containers
 * that share a volume; and the row inside says who holds it, because a write lock of a rollback journal lets others read.
 */

import { closeSync, existsSync, openSync } from 'node:fs'
import { hostname } from 'node:os'
import Database from 'better-sqlite3'
import { LockedError } from '../../core/errors.ts'
import { type EpochMs, toIso } from '../../core/time.ts'

export interface InstanceLock {
  release(): void
}

interface Holder {
  readonly pid: number
  readonly host: string
  readonly started_at: string
}

/** @throws LockedError at once when another process holds it. */
export function acquireInstanceLock(databasePath: string, now: EpochMs): InstanceLock {
  const path = `${databasePath}.lock`
  // Only when it is not there: closing a file that SQLite holds in this process would free its locks.
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
  const db = new Database(path, { timeout: 0 })
  try {
    db.exec(
      'create table if not exists holder (one integer primary key check (one = 1), pid integer, host text, started_at text)',
    )
    db.exec('begin immediate')
    db.prepare('insert or replace into holder (one, pid, host, started_at) values (1, ?, ?, ?)').run(
      process.pid,
      hostname(),
      toIso(now),
    )
    db.exec('commit')
    db.exec('begin immediate')
  } catch (error) {
    const holder = holderOf(db)
    db.close()
    if (!isBusy(error)) throw error
    throw new LockedError(
      `${databasePath} is in use by another ringback${holder}: stop it first, or give this one its own RINGBACK_DATABASE_URL`,
    )
  }
  return { release: () => db.close() }
}

function holderOf(db: Database.Database): string {
  try {
    const holder = db.prepare<[], Holder>('select pid, host, started_at from holder').get()
    return holder === undefined ? '' : ` (pid ${holder.pid} on ${holder.host}, started ${holder.started_at})`
  } catch {
    return ''
  }
}

export function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}
