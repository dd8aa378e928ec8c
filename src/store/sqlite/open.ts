/** Opens the database the one way in which nothing acknowledged is lost, or says in one line why it cannot. */

import { randomUUID } from 'node:crypto'
import { chmodSync, closeSync, existsSync, openSync, realpathSync, statfsSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { ConfigError, DamagedError } from '../../core/errors.ts'
import type { EpochMs } from '../../core/time.ts'
import { releaseBallast } from './disk.ts'
import { acquireInstanceLock, type InstanceLock } from './lock.ts'
import { latestMigration, refuseNewerSchema, upgrade } from './upgrade.ts'
import { installViews } from './views.ts'

export interface OpenDatabase {
  /** By its one name, whatever links led to it. */
  readonly file: string
  /** The only connection that writes. */
  readonly writer: Database.Database
  /** For what people look at: cannot write, whatever it is told. */
  readonly reader: Database.Database
  readonly databaseId: string
  close(): void
}

/**
 * Outside these a write-ahead log that two connections reset at once corrupts the file ("WAL-reset bug", fixed in SQLite
 * 3.51.3 and, for older lines, in 3.50.7 and 3.44.6). First version of each range that is fixed, and its end.
 */
const SQLITE_FIXED: readonly (readonly [from: number, below: number])[] = [
  [3_044_006, 3_045_000],
  [3_050_007, 3_051_000],
  [3_051_003, Number.POSITIVE_INFINITY],
]

/** A foreign writer makes us wait this long with the whole event loop standing still; longer waits are asynchronous. */
const BUSY_TIMEOUT_MS = 20

/** Of its 16 MiB by default nothing is needed where a person looks at a page of a list now and then. */
const READER_CACHE_KIB = 4_096

/** A full check reads every page: above this it would make the start slow, and `ringback check` is there for it. */
const QUICK_CHECK_BYTES_MAX = 32 * 1024 * 1024

const NETWORK_FILESYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0x6e_66_73_64, 'NFS'],
  [0xfe_53_4d_42, 'SMB'],
  [0xff_53_4d_42, 'CIFS'],
])

/** @throws ConfigError, LockedError or DamagedError, each with what to do. */
export function openDatabase(path: string, now: EpochMs): OpenDatabase {
  const file = prepareFile(path)
  try {
    return lockAndOpen(file, now)
  } catch (error) {
    // The daemon before us may have died of nothing else; its ballast lets this one come up and say so.
    if (!isNoRoom(error) || !releaseBallast(file)) throw inWords(error, file)
  }
  try {
    return lockAndOpen(file, now)
  } catch (error) {
    throw inWords(error, file)
  }
}

function lockAndOpen(file: string, now: EpochMs): OpenDatabase {
  const lock = acquireInstanceLock(file, now)
  try {
    return openLocked(file, lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

function openLocked(file: string, lock: InstanceLock): OpenDatabase {
  const writer = new Database(file, { timeout: BUSY_TIMEOUT_MS })
  try {
    checkVersion(writer)
    setPragmas(writer)
    refuseNewerSchema(writer, file)
    if (statSync(file).size <= QUICK_CHECK_BYTES_MAX) quickCheck(writer, file)
    upgrade(writer, file)
    installViews(writer, latestMigration())
    const databaseId = keepDatabaseId(writer)
    const reader = new Database(file, { readonly: true, timeout: BUSY_TIMEOUT_MS })
    reader.pragma('query_only = on')
    reader.pragma(`cache_size = -${READER_CACHE_KIB}`)
    const close = () => {
      reader.close()
      writer.close()
      lock.release()
    }
    return { file, writer, reader, databaseId, close }
  } catch (error) {
    writer.close()
    throw error
  }
}

/** Made 0600 before SQLite sees it; its `-wal` and `-shm` take over the mode. */
function prepareFile(path: string): string {
  const wanted = resolve(path)
  const folder = dirname(wanted)
  if (!existsSync(folder)) {
    throw new ConfigError([`RINGBACK_DATABASE_URL: the folder ${folder} does not exist: make it, or name another file`])
  }
  const filesystem = NETWORK_FILESYSTEMS.get(statfsSync(folder).type)
  if (filesystem !== undefined) {
    throw new ConfigError([
      `RINGBACK_DATABASE_URL: ${folder} is on ${filesystem}, where SQLite's locks do not hold and files get damaged: use a local disk`,
    ])
  }
  try {
    if (!existsSync(wanted)) closeSync(openSync(wanted, 'a', 0o600))
    // Two names of one file would get two locks.
    const file = realpathSync(wanted)
    if ((statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600)
    return file
  } catch (error) {
    throw inWords(error, wanted)
  }
}

function checkVersion(db: Database.Database): void {
  const { version } = db.prepare('select sqlite_version() as version').get() as { version: string }
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
  const number = major * 1_000_000 + minor * 1_000 + patch
  const isFixed = SQLITE_FIXED.some(([from, below]) => number >= from && number < below)
  if (!isFixed) {
    throw new ConfigError([
      `SQLite ${version} can damage a database in WAL mode: install better-sqlite3 12.11.1 or later`,
    ])
  }
}

function setPragmas(db: Database.Database): void {
  const mode = db.pragma('journal_mode = wal', { simple: true })
  if (mode !== 'wal')
    throw new ConfigError([`the database cannot use a write-ahead log here (mode ${String(mode)}): use a local disk`])
  // better-sqlite3 is built so that every open after the first silently gets NORMAL, which loses acknowledged
  // registrations on power failure.
  db.pragma('synchronous = full')
  if (db.pragma('synchronous', { simple: true }) !== 2) throw new ConfigError(['SQLite refuses synchronous = FULL'])
  db.pragma('wal_autocheckpoint = 1000')
  db.pragma('journal_size_limit = 67108864')
  db.pragma('foreign_keys = on')
  db.pragma('trusted_schema = off')
  db.pragma('cell_size_check = on')
  db.pragma('mmap_size = 0')
  // A statement that may have to be undone writes its own small journal, by default to a file: without a free file handle
  // a result that came could not be kept.
  db.pragma('temp_store = memory')
  if (process.platform === 'darwin') {
    db.pragma('fullfsync = on')
    db.pragma('checkpoint_fullfsync = on')
  }
}

function quickCheck(db: Database.Database, file: string): void {
  const result = db.pragma('quick_check(1)', { simple: true })
  if (result !== 'ok') throw new DamagedError(damagedMessage(file, String(result)))
}

function keepDatabaseId(db: Database.Database): string {
  db.prepare(`insert into _meta (key, value) values ('database_id', ?) on conflict do nothing`).run(randomUUID())
  const row = db.prepare<[], { value: string }>(`select value from _meta where key = 'database_id'`).get()
  if (row === undefined) throw new DamagedError('the database has lost its id')
  return row.value
}

function isNoRoom(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code)
  return code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_SHMSIZE' || code === 'ENOSPC'
}

function inWords(error: unknown, file: string): unknown {
  const code = (error as { code?: unknown } | null)?.code
  const text = error instanceof Error ? error.message : String(error)
  if (isNoRoom(error)) {
    const message = `${file} cannot be opened: its disk is full; free some space and start again`
    return Object.assign(new Error(message, { cause: error }), { code: 'ENOSPC' })
  }
  switch (code) {
    case 'SQLITE_NOTADB':
      return new ConfigError([`RINGBACK_DATABASE_URL: ${file} is not a SQLite database: name another file`])
    case 'SQLITE_CORRUPT':
      return new DamagedError(damagedMessage(file, text))
    case 'SQLITE_READONLY':
    case 'SQLITE_CANTOPEN':
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'EISDIR':
      return new ConfigError([
        `RINGBACK_DATABASE_URL: ${file} cannot be written (${text}): check its owner, mode and disk`,
      ])
    default:
      return error
  }
}

function damagedMessage(file: string, detail: string): string {
  return `${file} is damaged (${detail}): stop using it and restore a backup`
}
