/** The log beside the database: emptied it takes no room, and a look at it leaves a short one as it is. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { createWriteAheadLog } from '../../../src/store/sqlite/write-ahead-log.ts'
import { aDirectory } from '../../support/store.ts'

function open() {
  const file = join(aDirectory(), 'log.db')
  const db = new Database(file)
  onTestFinished(() => void db.close())
  db.pragma('journal_mode = wal')
  db.exec('create table t (n integer) strict')
  const errors: unknown[] = []
  const wal = createWriteAheadLog({ db, file, onError: (error) => void errors.push(error) })
  return { db, wal, errors, byteCount: () => statSync(`${file}-wal`).size }
}

test('emptying gives its room back to the disk', () => {
  const { wal, byteCount } = open()
  expect(byteCount()).toBeGreaterThan(0)
  wal.empty()
  expect(byteCount()).toBe(0)
})

test('a checkpoint of a short log keeps its room, to be written over', () => {
  const { wal, byteCount } = open()
  const before = byteCount()
  wal.checkpoint()
  expect(byteCount()).toBe(before)
})

test('a checkpoint that fails is told and throws nothing', () => {
  const { db, wal, errors } = open()
  db.close()
  wal.checkpoint()
  wal.empty()
  expect(errors).toHaveLength(2)
})
