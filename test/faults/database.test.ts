/**
 * Files that power loss or a person has left in a state that no daemon writes: what was acknowledged before the damage is
 * there as a whole, what was damaged is gone as a whole, and the daemon goes on.
 */

import { execFileSync } from 'node:child_process'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { createWriteAheadLog } from '../../src/store/sqlite/write-ahead-log.ts'
import { aDirectory, aRegistration, countingIds, openAt, START } from '../support/store.ts'

const TASK_COUNT = 60

/** A file and its write-ahead log as a power loss leaves them: copied from under a running store, by another process. */
async function afterPowerLoss(): Promise<{ path: string; walBytes: number }> {
  const folder = aDirectory()
  const live = join(folder, 'live.db')
  const store = openAt(live)
  for (let index = 0; index < TASK_COUNT; index += 1) {
    await store.registerTasks({ now: START, registrations: [aRegistration({ taskId: `task-${index}` })] })
  }
  const path = join(folder, 'copy.db')
  for (const end of ['', '-wal']) execFileSync('cp', [`${live}${end}`, `${path}${end}`])
  return { path, walBytes: statSync(`${path}-wal`).size }
}

/** The tasks of a store, the eldest first. */
async function tasksAt(path: string): Promise<readonly string[]> {
  const store = openAt(path, distinctIds())
  const { items } = await store.listTasks({ limit: 500 })
  for (const task of items) expect([task.taskId, task.subscriptions.length]).toEqual([task.taskId, 1])
  const [added] = await store.registerTasks({ now: START, registrations: [aRegistration({ taskId: 'later' })] })
  expect(added?.kind).toBe('registered')
  await store.close()
  const db = new Database(path, { readonly: true })
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
  expect(db.pragma('foreign_key_check')).toEqual([])
  db.close()
  return items.map(({ taskId }) => taskId).toReversed()
}

/** Other ids than those of the daemon before. */
function distinctIds() {
  const newId = countingIds()
  for (let index = 0; index < 10 * TASK_COUNT; index += 1) newId('task')
  return newId
}

const inOrder = (count: number) => Array.from({ length: count }, (_, index) => `task-${index}`)

async function copyOf(path: string, number: number): Promise<string> {
  const copy = `${path}.${number}.db`
  for (const end of ['', '-wal']) execFileSync('cp', [`${path}${end}`, `${copy}${end}`])
  return copy
}

describe('F05 a write-ahead log', () => {
  test('that is whole loses nothing', async () => {
    const { path } = await afterPowerLoss()
    expect(await tasksAt(path)).toEqual(inOrder(TASK_COUNT))
  })

  test('that is torn at any length loses whole commits from its end, and nothing else', async () => {
    const { path, walBytes } = await afterPowerLoss()
    const kept: number[] = []
    for (let number = 0; number <= 24; number += 1) {
      const copy = await copyOf(path, number)
      // Odd lengths: in the middle of a header, of a frame, of a page.
      truncateSync(`${copy}-wal`, Math.min(walBytes, Math.floor((walBytes * number) / 24) + (number % 5)))
      const tasks = await tasksAt(copy)
      expect(tasks).toEqual(inOrder(tasks.length))
      kept.push(tasks.length)
    }
    expect(kept).toEqual(kept.toSorted((one, other) => one - other))
    expect([kept[0], kept.at(-1)]).toEqual([0, TASK_COUNT])
  })

  test('with one bit of its last frames flipped loses whole commits from there on', async () => {
    const { path, walBytes } = await afterPowerLoss()
    for (let number = 0; number < 12; number += 1) {
      const copy = await copyOf(path, 100 + number)
      const bytes = readFileSync(`${copy}-wal`)
      const at = walBytes - 1 - number * 1_373
      bytes[at] = (bytes[at] ?? 0) ^ 0x10
      writeFileSync(`${copy}-wal`, bytes)
      const tasks = await tasksAt(copy)
      expect(tasks).toEqual(inOrder(tasks.length))
      expect(tasks.length).toBeLessThan(TASK_COUNT)
    }
  })
})

describe('F08 a reader that stays', () => {
  test('keeps the write-ahead log long, which is told with the remedy; when it leaves, the log is cut', () => {
    const path = join(aDirectory(), 'read.db')
    const db = new Database(path)
    db.pragma('journal_mode = wal')
    db.pragma('synchronous = off')
    db.exec('create table pages (body blob) strict')
    db.exec('insert into pages values (zeroblob(1))')
    const reader = new Database(path, { readonly: true })
    reader.exec('begin')
    reader.prepare('select count(*) from pages').get()
    for (let megabyte = 0; megabyte < 70; megabyte += 1) db.exec('insert into pages values (zeroblob(1048576))')
    const warnings: string[] = []
    const log = { warn: (_fields: unknown, message: string) => void warnings.push(message) }
    const onError = (error: unknown) => {
      throw error
    }
    const walOf = createWriteAheadLog({ db, file: path, onError, log })
    walOf.checkpoint()
    expect(warnings).toEqual([expect.stringMatching(/has grown to \d+ bytes: end the program/)])
    expect(db.prepare('select count(*) as count from pages').get()).toEqual({ count: 71 })
    reader.exec('rollback')
    walOf.checkpoint()
    expect(warnings).toHaveLength(1)
    expect(statSync(`${path}-wal`).size).toBeLessThan(64 * 1024 * 1024)
    reader.close()
    db.close()
  })
})

describe('F16 a row made by hand', () => {
  test.each([
    ['an unknown status', `update _tasks set status = 'dreaming'`],
    ['no status', 'update _tasks set status = null'],
    ['an end without its instant', `update _tasks set status = 'succeeded'`],
    ['a text for an instant', `update _tasks set registered_at = 'yesterday'`],
    ['no id', `insert into _tasks (id) values (null)`],
    ['the same task twice', 'insert into _tasks select * from _tasks'],
    ['a subscription of nobody', `insert into _subscriptions select 'sub_x', 'task_x', 'ep_x', 1 from _tasks`],
    ['an unknown status of an endpoint', `update _endpoints set status = 'asleep'`],
  ])('with %s is refused by the schema', async (_what, statement) => {
    const path = join(aDirectory(), 'by-hand.db')
    const store = openAt(path)
    await store.registerTasks({ now: START, registrations: [aRegistration()] })
    await store.close()
    const db = new Database(path)
    db.pragma('foreign_keys = on')
    expect(() => db.exec(statement)).toThrow(/constraint|cannot store|NOT NULL|UNIQUE|CHECK|columns|no column/i)
    db.close()
    expect((await openAt(path).listTasks({ limit: 10 })).items).toMatchObject([{ status: 'pending' }])
  })

  test('with times before 1970 and after 2038 is claimed and stops nobody', async () => {
    const path = join(aDirectory(), 'odd-times.db')
    const store = openAt(path)
    const registrations = ['early', 'ordinary', 'late'].map((taskId) => aRegistration({ taskId }))
    await store.registerTasks({ now: START, registrations })
    await store.close()
    const db = new Database(path)
    db.exec(`update _tasks set next_poll_at = -86400000 where task_id = 'early'`)
    db.exec(`update _tasks set next_poll_at = 4102444800000 where task_id = 'late'`)
    db.close()
    const again = openAt(path, distinctIds())
    const lease = { token: countingIds()('lse'), expiresAt: START }
    const settings = { rate: 1_000 }
    const claimed = await again.claimDueTasks({ now: START, lease, credential: 'aidge', settings, limit: 10 })
    expect(claimed.tasks.map(({ taskId }) => taskId)).toEqual(['early', 'ordinary'])
  })
})
