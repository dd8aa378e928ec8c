/** Group commit: who has an answer has it on disk; who failed, failed alone. */

import { readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { DamagedError } from '../../../src/core/errors.ts'
import { after } from '../../../src/core/time.ts'
import { createDisk } from '../../../src/store/sqlite/disk.ts'
import { createGroupCommit, type Patience } from '../../../src/store/sqlite/group-commit.ts'
import { openSqliteStore } from '../../../src/store/sqlite/store.ts'
import { createWriteAheadLog } from '../../../src/store/sqlite/write-ahead-log.ts'
import { systemClock, systemNewId } from '../../../src/system.ts'
import { aDirectory, aRegistration, START, standingClock } from '../../support/store.ts'

function open() {
  const path = join(aDirectory(), 'group.db')
  const db = new Database(path, { timeout: 5 })
  onTestFinished(() => void db.close())
  db.pragma('journal_mode = wal')
  db.exec('create table t (n integer primary key) strict')
  const damages: DamagedError[] = []
  const clock = { ...standingClock, now: () => time.now }
  const time = { now: START }
  const disk = createDisk({ file: path })
  const wal = createWriteAheadLog({ db, file: path, onError: () => {} })
  const group = createGroupCommit({ db, clock, disk, wal, onDamaged: (error) => damages.push(error) })
  const insert = db.prepare('insert into t (n) values (?)')
  const count = () => db.prepare('select count(*) from t').pluck().get()
  return { path, db, group, disk, damages, insert, count, time }
}

/** As good as a full disk: the file may not grow beyond what it has now. */
function fill(db: Database.Database): void {
  db.pragma(`max_page_count = ${Number(db.pragma('page_count', { simple: true }))}`)
}

function makeRoom(db: Database.Database): void {
  db.pragma('max_page_count = 100000')
}

const BIG = 'x'.repeat(20_000)

/** Commits in a write-ahead log: frames that carry the size of the database (SQLite file format, section 4.1). */
function commitsIn(walPath: string): number {
  const wal = readFileSync(walPath)
  let count = 0
  for (let frame = 32; frame + 24 <= wal.length; frame += 24 + 4096) if (wal.readUInt32BE(frame + 4) > 0) count += 1
  return count
}

test('steps of one moment share one commit, and each gets its own value', async () => {
  const { db, group, insert } = open()
  const before = commitsIn(`${db.name}-wal`)
  const values = await Promise.all(
    Array.from({ length: 100 }, (_, n) => group.write(() => insert.run(n).lastInsertRowid)),
  )
  expect(values).toEqual(Array.from({ length: 100 }, (_, n) => n))
  expect(commitsIn(`${db.name}-wal`)).toBe(before + 1)
})

test('a promise resolves only when another connection can see the row', async () => {
  const { path, group, insert } = open()
  const other = new Database(path, { readonly: true })
  onTestFinished(() => void other.close())
  await group.write(() => insert.run(7))
  expect(other.prepare('select n from t').pluck().all()).toEqual([7])
})

test('a step that throws is undone alone', async () => {
  const { group, insert, count } = open()
  const good = group.write(() => insert.run(1))
  const bad = group.write(() => {
    insert.run(2)
    throw new Error('no')
  })
  const alsoGood = group.write(() => insert.run(3))
  await expect(bad).rejects.toThrow('no')
  await Promise.all([good, alsoGood])
  expect(count()).toBe(2)
})

function grower(db: Database.Database) {
  db.exec('create table big (value text) strict')
  const grow = db.prepare('insert into big values (?)')
  return { grow: () => grow.run(BIG), grown: () => db.prepare('select count(*) from big').pluck().get() }
}

test('on a full disk a request is refused as disk_full, and so is all that comes after it', async () => {
  const { db, group, insert, count } = open()
  const { grow } = grower(db)
  fill(db)
  await expect(group.write(grow)).rejects.toMatchObject({ code: 'disk_full' })
  // This one would fit; but who is let in on a full disk takes the room of those who are inside.
  await expect(group.write(() => insert.run(1))).rejects.toMatchObject({ code: 'disk_full' })
  await expect(group.write(() => insert.run(1), 'claim')).rejects.toMatchObject({ code: 'disk_full' })
  expect(count()).toBe(0)
})

test('on a full disk a record waits until there is room, and is then written before anything new', async () => {
  const { db, group, disk, insert } = open()
  const { grow, grown } = grower(db)
  fill(db)
  const order: string[] = []
  const record = group.write(grow, 'record').then(() => order.push('record'))
  await expect(group.write(() => insert.run(0))).rejects.toMatchObject({ code: 'disk_full' })
  await group.write(() => insert.run(1), 'probe')
  expect(grown()).toBe(0)
  makeRoom(db)
  await group.write(() => insert.run(2), 'probe')
  disk.look()
  await group.write(() => insert.run(3)).then(() => order.push('request'))
  await record
  expect(order).toEqual(['record', 'request'])
  expect(grown()).toBe(1)
})

test('on a full disk what makes room is tried alone, and others go on as soon as it has made some', async () => {
  const { db, group } = open()
  const { grow, grown } = grower(db)
  for (let index = 0; index < 3; index += 1) grow()
  fill(db)
  const record = group.write(grow, 'record')
  await expect(group.write(grow)).rejects.toMatchObject({ code: 'disk_full' })
  await group.write(() => db.exec('delete from big where rowid = 1'), 'chore')
  await record
  expect(grown()).toBe(3)
})

test('what waits for a full disk hears at the close that it was not kept', async () => {
  const { db, group } = open()
  const { grow } = grower(db)
  fill(db)
  const record = group.write(grow, 'record')
  await expect(group.write(grow)).rejects.toThrow()
  group.close()
  await expect(record).rejects.toMatchObject({ code: 'disk_full' })
})

test('a file that was moved away acknowledges nothing more', async () => {
  const { path, group, damages, insert } = open()
  await group.write(() => insert.run(1))
  renameSync(path, `${path}.moved`)
  await expect(group.write(() => insert.run(2))).rejects.toThrow('moved away')
  await expect(group.write(() => insert.run(3))).rejects.toThrow('closed')
  expect(damages.map(({ exitCode }) => exitCode)).toEqual([74])
})

test('a foreign writer is waited for without blocking, and nothing is lost', async () => {
  const { path, group, insert, count } = open()
  const foreign = new Database(path)
  onTestFinished(() => void foreign.close())
  foreign.exec('begin immediate')
  const waiting = group.write(() => insert.run(1))
  let turns = 0
  await new Promise<void>((resolve) => {
    const turn = () => {
      turns += 1
      if (turns < 20) return void setTimeout(turn, 1)
      foreign.exec('commit')
      resolve()
    }
    turn()
  })
  await waiting
  expect(count()).toBe(1)
})

test('behind a foreign writer the event loop never stands still for long', async () => {
  const path = join(aDirectory(), 'ringback.db')
  const store = openSqliteStore({
    path,
    clock: systemClock,
    newId: systemNewId,
    onDamaged: (error) => {
      throw error
    },
  })
  onTestFinished(() => store.close())
  const foreign = new Database(path)
  foreign.exec('begin immediate')
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const registrations = [aRegistration({ deadlineAt: after(systemClock.now(), 60_000) })]
  const refused = store.registerTasks({ now: systemClock.now(), registrations }).catch((error: unknown) => error)
  expect(await refused).toMatchObject({ code: 'unavailable' })
  delay.disable()
  foreign.close()
  expect(delay.max / 1e6).toBeLessThan(1_500)
  expect(await store.registerTasks({ now: systemClock.now(), registrations })).toHaveLength(1)
})

test('behind a foreign writer a request and a claim give up as busy, and a record never does', async () => {
  const { path, group, insert, count, time } = open()
  const foreign = new Database(path)
  onTestFinished(() => void foreign.close())
  foreign.exec('begin immediate')
  const steps = {
    record: group.write(() => insert.run(1), 'record'),
    claim: group.write(() => insert.run(2), 'claim'),
    request: group.write(() => insert.run(3), 'request'),
  }
  time.now = after(time.now, 3_000)
  await expect(steps.claim).rejects.toMatchObject({ code: 'unavailable' })
  time.now = after(time.now, 3_000)
  await expect(steps.request).rejects.toMatchObject({ code: 'unavailable' })
  time.now = after(time.now, 3_600_000)
  foreign.exec('commit')
  await steps.record
  expect(count()).toBe(1)
})

test('closing runs what waits and refuses what comes later', async () => {
  const { group, insert, count } = open()
  const waiting = group.write(() => insert.run(1))
  group.close()
  await waiting
  expect(count()).toBe(1)
  await expect(group.write(() => insert.run(2))).rejects.toThrow('closed')
})

test('a failing disk is told once and ends all writing', async () => {
  const { group, damages } = open()
  const ioError = () => {
    throw new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_FSYNC')
  }
  await expect(group.write(ioError)).rejects.toThrow('disk I/O error')
  await expect(group.write(ioError)).rejects.toThrow()
  expect(damages).toHaveLength(1)
})

/** The order in which steps of these patiences run, when all of them are asked for at one moment. */
async function orderOf(...patiences: readonly Patience[]): Promise<readonly string[]> {
  const { group } = open()
  const order: string[] = []
  await Promise.all(patiences.map((patience, nth) => group.write(() => order.push(`${patience} ${nth}`), patience)))
  return order
}

test('claims go before records that leave no less to claim, and before what callers ask for', async () => {
  const inLine = ['request', 'good_record', 'claim', 'claim', 'good_record'] as const
  expect(await orderOf(...inLine)).toEqual(['claim 2', 'claim 3', 'request 0', 'good_record 1', 'good_record 4'])
})

test('no claim goes before a record that leaves less to claim', async () => {
  const inLine = ['good_record', 'record', 'claim', 'good_record'] as const
  expect(await orderOf(...inLine)).toEqual(['good_record 0', 'record 1', 'claim 2', 'good_record 3'])
})

test('claims that come without end keep no record waiting for longer than one group of them', async () => {
  const { group } = open()
  const order: string[] = []
  const claimAgain = (left: number): Promise<unknown> =>
    group.write(() => order.push('claim'), 'claim').then(() => (left > 0 ? claimAgain(left - 1) : null))
  const claims = claimAgain(5)
  await group.write(() => order.push('record'), 'good_record')
  await claims
  expect(order.slice(0, 2)).toEqual(['claim', 'record'])
  expect(order).toHaveLength(7)
})

test('rows are forgotten before each transaction, and when a step was undone', async () => {
  const { db, disk } = open()
  const order: string[] = []
  const wal = createWriteAheadLog({ db, file: db.name, onError: () => {} })
  const forgetRows = () => order.push('forget')
  const group = createGroupCommit({ db, clock: standingClock, disk, wal, forgetRows, onDamaged: () => {} })
  const failing = group.write(() => {
    order.push('fails')
    throw new Error('no')
  })
  const next = group.write(() => order.push('next'))
  await expect(failing).rejects.toThrow('no')
  await next
  expect(order).toEqual(['forget', 'fails', 'forget', 'fails', 'forget', 'next'])
})

test('no claim goes before a record that has waited for long: its lease may have ended meanwhile', async () => {
  const { group, db, time } = open()
  const order: string[] = []
  const other = new Database(db.name)
  onTestFinished(() => void other.close())
  other.exec('begin immediate')
  const record = group.write(() => order.push('record'), 'good_record')
  await new Promise((resolve) => setImmediate(resolve))
  time.now = after(START, 2_001)
  const claim = group.write(() => order.push('claim'), 'claim')
  other.exec('commit')
  await Promise.all([record, claim])
  expect(order).toEqual(['record', 'claim'])
})
