/** The lock of one daemon: held against other processes whatever this one tries, and not mistaken for a broken file. */

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { LockedError } from '../../../src/core/errors.ts'
import { acquireInstanceLock } from '../../../src/store/sqlite/lock.ts'
import { aDirectory, START } from '../../support/store.ts'

const DRIVER = createRequire(import.meta.url).resolve('better-sqlite3')

/** Whether another process can write to the lock file: what a second daemon would do. */
function isFreeForOthers(path: string): boolean {
  const script = `
    const db = new (require(${JSON.stringify(DRIVER)}))(${JSON.stringify(`${path}.lock`)}, { timeout: 0 })
    try { db.exec('begin immediate'); console.log('free') } catch (error) { console.log(error.code) }`
  return execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim() === 'free'
}

test('a second try in this process is refused and does not open the lock to others', () => {
  const path = join(aDirectory(), 'a.db')
  const lock = acquireInstanceLock(path, START)
  onTestFinished(lock.release)
  expect(isFreeForOthers(path)).toBe(false)
  expect(() => acquireInstanceLock(path, START)).toThrow(LockedError)
  expect(isFreeForOthers(path)).toBe(false)
})

test('a released lock is free for others, and its file stays', () => {
  const path = join(aDirectory(), 'a.db')
  acquireInstanceLock(path, START).release()
  expect(existsSync(`${path}.lock`)).toBe(true)
  expect(isFreeForOthers(path)).toBe(true)
})

test('a lock file that is no lock file is not taken for another daemon', () => {
  const path = join(aDirectory(), 'a.db')
  writeFileSync(`${path}.lock`, 'x'.repeat(5_000))
  expect(() => acquireInstanceLock(path, START)).toThrow(expect.not.objectContaining({ name: 'LockedError' }))
  expect(() => acquireInstanceLock(path, START)).toThrow(/not a database/)
})

test.skipIf(!existsSync('/proc/self/fd'))('a try that was refused leaves no file open', () => {
  const path = join(aDirectory(), 'a.db')
  onTestFinished(acquireInstanceLock(path, START).release)
  const openCount = () => readdirSync('/proc/self/fd').length
  const refuse = () => expect(() => acquireInstanceLock(path, START)).toThrow(LockedError)
  refuse()
  const before = openCount()
  for (let count = 0; count < 20; count += 1) refuse()
  expect(openCount()).toBeLessThan(before + 20)
})
