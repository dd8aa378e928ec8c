/** Opening the database: the one way in which nothing acknowledged is lost, and the words for what is wrong. */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test, vi } from 'vitest'
import { ConfigError, DamagedError, LockedError } from '../../../src/core/errors.ts'
import { type OpenDatabase, openDatabase } from '../../../src/store/sqlite/open.ts'
import { aDirectory, START } from '../../support/store.ts'

function open(path: string): OpenDatabase {
  const opened = openDatabase(path, START)
  onTestFinished(() => {
    if (opened.writer.open) opened.close()
  })
  return opened
}

function aPath(): string {
  return join(aDirectory(), 'ringback.db')
}

test.each([
  ['journal_mode', 'wal'],
  ['synchronous', 2],
  ['foreign_keys', 1],
  ['wal_autocheckpoint', 1000],
  ['journal_size_limit', 67_108_864],
  ['trusted_schema', 0],
  ['cell_size_check', 1],
  ['mmap_size', 0],
  ['temp_store', 2],
])('pragma %s is %s on the first and on every later open', (pragma, value) => {
  const path = aPath()
  const first = open(path)
  expect(first.writer.pragma(pragma, { simple: true })).toBe(value)
  first.close()
  expect(open(path).writer.pragma(pragma, { simple: true })).toBe(value)
})

test('the reader cannot write', () => {
  const { reader } = open(aPath())
  expect(() => reader.exec(`insert into _meta values ('a', 'b')`)).toThrow(/readonly/)
})

test('all tables are STRICT', () => {
  const { reader } = open(aPath())
  const loose = reader
    .prepare(
      `select name from pragma_table_list where schema = 'main' and type = 'table' and name like '\\_%' escape '\\' and strict = 0`,
    )
    .all()
  expect(loose).toEqual([{ name: '_migrations' }])
})

test('the database and what belongs to it is readable by its owner only', () => {
  const path = aPath()
  open(path)
  for (const file of [path, `${path}-wal`, `${path}-shm`, `${path}.lock`])
    expect(statSync(file).mode & 0o777).toBe(0o600)
})

test('a second daemon on the same file is told who holds it, also by way of a link', () => {
  const path = aPath()
  open(path)
  const link = join(aDirectory(), 'link.db')
  symlinkSync(path, link)
  for (const name of [path, link]) {
    expect(() => openDatabase(name, START)).toThrow(LockedError)
    expect(() => openDatabase(name, START)).toThrow(
      new RegExp(`in use by another ringback \\(pid ${process.pid} on .*started 2026-01-01`),
    )
  }
})

test('the lock is free again after closing', () => {
  const path = aPath()
  open(path).close()
  expect(() => open(path)).not.toThrow()
})

test.each<[string, (path: string) => string, RegExp]>([
  ['a folder that does not exist', (path) => join(path, 'none', 'x.db'), /folder .* does not exist: make it/],
  [
    'a file that is no database',
    (path) => {
      writeFileSync(path, 'x'.repeat(5_000))
      return path
    },
    /not a SQLite database/,
  ],
  [
    'a folder in its place',
    (path) => {
      mkdirSync(path)
      return path
    },
    /cannot be written/,
  ],
])('%s is a configuration error in one line', (_what, prepare, words) => {
  const path = prepare(aPath())
  expect(() => openDatabase(path, START)).toThrow(ConfigError)
  expect(() => openDatabase(path, START)).toThrow(words)
})

test('a newer schema is refused in words', () => {
  const path = aPath()
  const first = open(path)
  first.writer.exec(`insert into _migrations (hash, created_at) values ('from the future', 9999999999999)`)
  first.close()
  expect(() => openDatabase(path, START)).toThrow(/written by a newer ringback: start that version/)
})

test('a damaged page is found at the start and nothing is written on', () => {
  const path = aPath()
  const first = open(path)
  const insert = first.writer.prepare(`insert into _meta (key, value) values (?, ?)`)
  for (let index = 0; index < 500; index += 1) insert.run(`key-${index}`, 'v'.repeat(200))
  first.writer.pragma('wal_checkpoint(truncate)')
  const pageCount = first.writer.pragma('page_count', { simple: true }) as number
  first.close()
  damagePages(path, pageCount)
  expect(() => openDatabase(path, START)).toThrow(DamagedError)
})

function damagePages(path: string, pageCount: number): void {
  const bytes = readFileSync(path)
  for (let page = 20; page < pageCount; page += 1) bytes.fill(0xa5, page * 4096 + 8, page * 4096 + 64)
  writeFileSync(path, bytes)
}

test('the database id is made once and kept', () => {
  const path = aPath()
  const first = open(path)
  const { databaseId } = first
  first.close()
  expect(open(path).databaseId).toBe(databaseId)
})

test('a damaged page that nothing reads at the start is found all the same', () => {
  const path = aPath()
  const first = open(path)
  first.writer.exec('create table unread (value text) strict')
  const insert = first.writer.prepare('insert into unread values (?)')
  for (let index = 0; index < 500; index += 1) insert.run('v'.repeat(200))
  first.writer.pragma('wal_checkpoint(truncate)')
  const pageCount = first.writer.pragma('page_count', { simple: true }) as number
  first.close()
  const bytes = readFileSync(path)
  // The last pages are of the table that was made last.
  for (let page = pageCount - 10; page < pageCount; page += 1) bytes.fill(0xa5, page * 4096 + 8, page * 4096 + 64)
  writeFileSync(path, bytes)
  expect(() => openDatabase(path, START)).toThrow(/is damaged/)
})

test('the reader is kept from writing twice over: by how it was opened, and by what it was told', () => {
  const { reader } = open(aPath())
  expect(reader.readonly).toBe(true)
  expect(reader.pragma('query_only', { simple: true })).toBe(1)
})

test('closing closes both connections', () => {
  const { reader, writer, close } = open(aPath())
  close()
  expect([reader.open, writer.open]).toEqual([false, false])
})

test('a database that others may read is taken from them', () => {
  const path = aPath()
  writeFileSync(path, '', { mode: 0o644 })
  open(path)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test.skipIf(!existsSync('/proc/self/fd'))('a start that is refused leaves no file open', () => {
  const path = aPath()
  const first = open(path)
  first.writer.exec(`insert into _migrations (hash, created_at) values ('from the future', 9999999999999)`)
  first.close()
  for (let count = 0; count < 3; count += 1) expect(() => openDatabase(path, START)).toThrow(/newer ringback/)
  const held = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return []
    }
  })
  expect(held.filter((name) => name.startsWith(path))).toEqual([])
})

test.each([
  ['3.44.5', false],
  ['3.44.6', true],
  ['3.45.0', false],
  ['3.50.6', false],
  ['3.50.7', true],
  ['3.51.0', false],
  ['3.51.2', false],
  ['3.51.3', true],
  ['3.60.0', true],
  ['4.0.0', true],
])('SQLite %s is taken: %s', (version, isTaken) => {
  const prepare = Database.prototype.prepare
  const spy = vi.spyOn(Database.prototype, 'prepare').mockImplementation(function (
    this: Database.Database,
    text: string,
  ) {
    return text.includes('sqlite_version()') ? { get: () => ({ version }) } : prepare.call(this, text)
  } as never)
  onTestFinished(() => spy.mockRestore())
  const opening = () => open(aPath())
  if (isTaken) expect(opening).not.toThrow()
  else expect(opening).toThrow(/can damage a database in WAL mode/)
})
