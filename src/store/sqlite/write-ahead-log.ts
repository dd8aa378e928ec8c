/** The write-ahead log beside the database: kept short, and off the hot path. */

import { statSync } from 'node:fs'
import type Database from 'better-sqlite3'
import type { Log } from '../../ports.ts'

export interface WriteAheadLog {
  /** Moves into the database what no reader needs any more. */
  checkpoint(): void
  /** Moves all of it and gives its room back to the disk, unless somebody reads. */
  empty(): void
}

/** SQLite empties it at 4 MiB by itself; it is longer only when a reader has held an old state for a long time. */
const LONG_BYTES = 64 * 1024 * 1024

export interface WriteAheadLogDeps {
  readonly db: Database.Database
  readonly file: string
  /** Told what went wrong; a checkpoint that failed is otherwise only a checkpoint later. */
  readonly onError: (error: unknown) => void
  readonly log?: Pick<Log, 'warn'> | undefined
}

export function createWriteAheadLog({ db, file, onError, log }: WriteAheadLogDeps): WriteAheadLog {
  function run(mode: 'passive' | 'truncate'): void {
    try {
      db.pragma(`wal_checkpoint(${mode})`)
    } catch (error) {
      onError(error)
    }
  }

  function byteCount(): number {
    return statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0
  }

  return {
    checkpoint() {
      run('passive')
      if (byteCount() <= LONG_BYTES) return
      run('truncate')
      const bytes = byteCount()
      if (bytes <= LONG_BYTES) return
      const remedy = 'end the program that has had the database open for reading since long ago'
      log?.warn({ event: 'store.log_long', bytes }, `the write-ahead log has grown to ${bytes} bytes: ${remedy}`)
    },
    empty: () => run('truncate'),
  }
}
