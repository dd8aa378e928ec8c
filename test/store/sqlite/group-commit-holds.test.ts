/** Group commit when it cannot commit: who is held, who hears what, in which order, and how often it is tried. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { AppError, type DamagedError } from '../../../src/core/errors.ts'
import { after, type EpochMs, HOUR, SECOND } from '../../../src/core/time.ts'
import type { DiskState } from '../../../src/store/sqlite/disk.ts'
import { createGroupCommit, isDamage, type Patience } from '../../../src/store/sqlite/group-commit.ts'
import { aDirectory, START, standingClock } from '../../support/store.ts'

const FULL = new Database.SqliteError('database or disk is full', 'SQLITE_FULL')
const NO_INDEX = new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_SHMSIZE')

/** A group commit over a disk that a test fills and empties. `statements` is all that SQLite was told. */
function open({ ballast = false, onBallast = () => {}, onStatement = (_text: string) => {} } = {}) {
  const path = join(aDirectory(), 'group.db')
  const statements: string[] = []
  const db = new Database(path, {
    timeout: 0,
    verbose(text) {
      statements.push(String(text))
      onStatement(String(text))
    },
  })
  onTestFinished(() => void db.close())
  db.pragma('journal_mode = wal')
  db.exec('create table t (n integer primary key) strict')
  const disk = {
    now: 'roomy' as DiskState,
    state: () => disk.now,
    refusal: () => (disk.now === 'roomy' ? null : new AppError('disk_full', 'no room')),
    filled() {
      disk.now = 'full'
      if (ballast) onBallast()
      return ballast
    },
    displaced: () => null,
  }
  const emptied: string[] = []
  const wal = { empty: () => void emptied.push('emptied') }
  /** With `held`, wake-ups wait there for the test. */
  const time = { now: START, wakeUps: [] as number[], held: null as (() => void)[] | null }
  const clock = {
    ...standingClock,
    now: () => time.now,
    wakeAt(at: EpochMs, wake: () => void) {
      time.wakeUps.push(at - time.now)
      if (time.held !== null) {
        time.held.push(wake)
        return () => {}
      }
      return standingClock.wakeAt(at, wake)
    },
  }
  const damages: DamagedError[] = []
  const told: string[] = []
  const note = ({ event }: { event: string }) => void told.push(event)
  const group = createGroupCommit({
    db,
    clock,
    disk,
    wal,
    onDamaged: (error) => void damages.push(error),
    log: { info: note, warn: note },
  })
  const insert = db.prepare('insert into t (n) values (?)')
  const rows = () => db.prepare('select n from t').pluck().all()
  return { path, db, group, disk, emptied, time, damages, told, statements, insert, rows }
}

/** Turns of the event loop, in which everything that is on its way runs. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

const countOf = (statements: readonly string[], text: string) =>
  statements.filter((statement) => statement.toLowerCase() === text).length

test('more steps than one group may have are committed in several, and all of them are', async () => {
  const { group, insert, statements, rows } = open()
  await Promise.all(Array.from({ length: 600 }, (_, n) => group.write(() => insert.run(n))))
  expect(countOf(statements, 'commit')).toBe(2)
  expect(rows()).toHaveLength(600)
})

test('a group is as large as what its steps are about: a thousand at once hold up nobody who came before them', async () => {
  const { group, insert, statements } = open()
  const step = (n: number) => () => void insert.run(n)
  const commitsAt = (work: Promise<unknown>) => work.then(() => countOf(statements, 'commit'))
  const seen = await Promise.all([
    commitsAt(group.write(step(1), 'request')),
    commitsAt(group.write(step(2), 'request', 1_000)),
    commitsAt(group.write(step(3), 'request', 300)),
    commitsAt(group.write(step(4), 'request', 200)),
    commitsAt(group.write(step(5), 'request', 1)),
  ])
  expect(seen).toEqual([1, 2, 3, 3, 4])
})

function threeStepsOneOfWhichThrows({ group, insert }: Pick<ReturnType<typeof open>, 'group' | 'insert'>) {
  const steps = [1, 2, 3].map((n) =>
    group.write(() => {
      insert.run(n)
      if (n === 2) throw new Error('no')
      return n
    }, 'record'),
  )
  return Promise.allSettled(steps)
}

const ONE_AND_THREE = [
  { status: 'fulfilled', value: 1 },
  { status: 'rejected', reason: new Error('no') },
  { status: 'fulfilled', value: 3 },
]

test('only a group in which a step throws is run again with savepoints, and is one commit all the same', async () => {
  const { group, insert, statements, rows } = open()
  await Promise.all([group.write(() => insert.run(10)), group.write(() => insert.run(11))])
  expect(countOf(statements, 'savepoint step')).toBe(0)
  expect(await threeStepsOneOfWhichThrows({ group, insert })).toEqual(ONE_AND_THREE)
  expect(countOf(statements, 'savepoint step')).toBe(3)
  expect(countOf(statements, 'commit')).toBe(2)
  expect(rows()).toEqual([1, 3, 10, 11])
})

test('whoever takes the lock before a group can be run again only delays it', async () => {
  let beginCount = 0
  let foreign: Database.Database | null = null
  const { path, group, insert, statements, rows, time } = open({
    onStatement(text) {
      if (text !== 'begin immediate') return
      beginCount += 1
      if (beginCount !== 2) return
      foreign = new Database(path)
      foreign.exec('begin immediate')
    },
  })
  time.held = []
  const heard = threeStepsOneOfWhichThrows({ group, insert })
  await turns(3)
  expect([time.held.length, countOf(statements, 'commit')]).toEqual([1, 0])
  const later = group.write(() => insert.run(4), 'record')
  ;(foreign as Database.Database | null)?.close()
  time.held[0]?.()
  expect(await heard).toEqual(ONE_AND_THREE)
  await later
  expect(rows()).toEqual([1, 3, 4])
})

test('closing runs all that waits, however many groups it takes', async () => {
  const { group, insert, rows } = open()
  const waiting = Array.from({ length: 600 }, (_, n) => group.write(() => insert.run(n)))
  group.close()
  await Promise.all(waiting)
  expect(rows()).toHaveLength(600)
})

test('what waits behind a foreign lock at the close hears that nothing was kept', async () => {
  const { path, group, insert, rows } = open()
  const foreign = new Database(path)
  foreign.exec('begin immediate')
  const waiting = (['record', 'request'] as const).map((patience) => group.write(() => insert.run(1), patience))
  const heard = Promise.allSettled(waiting)
  await turns(2)
  group.close()
  foreign.close()
  expect(await heard).toMatchObject([{ reason: { code: 'unavailable' } }, { reason: { code: 'unavailable' } }])
  await turns(10)
  expect(rows()).toEqual([])
})

test('what was held by a full disk is tried once more at the close', async () => {
  const { group, insert, disk, rows } = open()
  let isFull = true
  const record = group.write(() => {
    if (isFull) throw FULL
    insert.run(1)
  }, 'record')
  await turns(3)
  expect(disk.now).toBe('full')
  isFull = false
  group.close()
  await record
  expect(rows()).toEqual([1])
})

test.each([
  ['SQLITE_FULL', FULL],
  ['SQLITE_IOERR_SHMSIZE', NO_INDEX],
])('a step that finds no room (%s) undoes its whole group, which is held and written later', async (_code, error) => {
  const { group, insert, rows, damages } = open()
  let isFull = true
  const records = [1, 2].map((n) =>
    group.write(() => {
      insert.run(n)
      if (n === 2 && isFull) throw error
    }, 'record'),
  )
  await turns(3)
  expect(rows()).toEqual([])
  isFull = false
  await group.write(() => {}, 'probe')
  await Promise.all(records)
  expect(rows()).toEqual([1, 2])
  expect(damages).toEqual([])
})

test('records that a full disk held are written in the order in which they came', async () => {
  const { group } = open()
  let isFull = true
  const order: number[] = []
  const records = Array.from({ length: 300 }, (_, n) =>
    group.write(() => {
      if (isFull) throw FULL
      order.push(n)
    }, 'record'),
  )
  await turns(4)
  isFull = false
  await group.write(() => {}, 'probe')
  await Promise.all(records)
  expect(order).toEqual(Array.from({ length: 300 }, (_, n) => n))
})

test('a probe behind more records than fit into one group is not refused with what they brought to light', async () => {
  const { group, rows, insert } = open()
  let isFull = true
  const records = Array.from({ length: 500 }, (_, n) =>
    group.write(() => {
      if (isFull) throw FULL
      insert.run(n)
    }, 'record'),
  )
  const request = group.write(() => insert.run(1_000), 'request')
  await Promise.all([
    group.write(() => {
      isFull = false
    }, 'probe'),
    expect(request).rejects.toMatchObject({ code: 'disk_full' }),
  ])
  await group.write(() => {}, 'probe')
  await Promise.all(records)
  expect(rows()).toHaveLength(500)
})

test('on a full disk a record that comes later waits with the others, and nothing is tried until somebody looks', async () => {
  const { group } = open()
  const tries = { first: 0, later: 0 }
  let isFull = true
  const step = (name: keyof typeof tries) => () => {
    tries[name] += 1
    if (isFull) throw FULL
  }
  const first = group.write(step('first'), 'record')
  await turns(3)
  const later = group.write(step('later'), 'record')
  await turns(5)
  expect(tries).toEqual({ first: 1, later: 0 })
  isFull = false
  await group.write(() => {}, 'probe')
  await Promise.all([first, later])
})

test('the room of the ballast is used at once: the log is emptied into it, and what was held is written', async () => {
  let isFull = true
  const { group, insert, emptied, rows } = open({
    ballast: true,
    onBallast: () => {
      isFull = false
    },
  })
  await group.write(() => {
    if (isFull) throw FULL
    insert.run(1)
  }, 'record')
  expect(emptied).toEqual(['emptied'])
  expect(rows()).toEqual([1])
})

test('a step that ends the transaction itself fails its group with its own words', async () => {
  const { group, db, insert, rows } = open()
  insert.run(1)
  const writing = [
    group.write(() => insert.run(2)),
    group.write(() => db.exec('insert or rollback into t (n) values (1)')),
  ]
  const heard = await Promise.allSettled(writing)
  expect(heard).toMatchObject([
    { status: 'rejected', reason: { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' } },
    { status: 'rejected', reason: { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' } },
  ])
  expect(rows()).toEqual([1])
  await group.write(() => insert.run(3))
  expect(rows()).toEqual([1, 3])
})

test('a commit that fails keeps nothing, and nobody of its group hears that it was kept', async () => {
  const { group, db, insert, rows } = open()
  db.pragma('foreign_keys = on')
  db.exec('create table child (n integer references t(n) deferrable initially deferred) strict')
  const writing = [group.write(() => insert.run(1)), group.write(() => db.exec('insert into child values (9)'))]
  const heard = await Promise.allSettled(writing)
  expect(heard.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(rows()).toEqual([])
  await group.write(() => insert.run(2))
  expect(rows()).toEqual([2])
})

test.each(['SQLITE_IOERR_FSYNC', 'SQLITE_CORRUPT', 'SQLITE_NOTADB'])(
  'after %s nothing is written, the end is told once, and those who wait hear of it',
  async (code) => {
    const { group, insert, damages, rows } = open()
    const damage = new Database.SqliteError('the disk is gone', code)
    const failing = Array.from({ length: 300 }, (_, n) =>
      group.write(() => {
        if (n === 0) throw damage
        insert.run(n)
      }, 'record'),
    )
    const heard = await Promise.allSettled(failing)
    expect(new Set(heard.map((one) => one.status === 'rejected' && one.reason))).toEqual(new Set([damage]))
    group.fail(damage)
    expect(damages.map(({ exitCode }) => exitCode)).toEqual([74])
    expect(rows()).toEqual([])
    await expect(group.write(() => insert.run(1))).rejects.toThrow('closed')
  },
)

const PATIENCES: readonly (readonly [Patience, number])[] = [
  ['claim', 2 * SECOND],
  ['probe', 2 * SECOND],
  ['request', 5 * SECOND],
  ['chore', 15 * SECOND],
]

test.each(PATIENCES)('behind a foreign lock a %s gives up after %i ms and not before', async (patience, waitMsMax) => {
  const { path, group, insert, time } = open()
  const foreign = new Database(path)
  onTestFinished(() => void foreign.close())
  foreign.exec('begin immediate')
  let ending = 'waiting'
  const writing = group
    .write(() => insert.run(1), patience)
    .catch((error: AppError) => {
      ending = error.code
    })
  await turns(3)
  time.now = after(START, waitMsMax)
  const tries = time.wakeUps.length
  while (time.wakeUps.length < tries + 3) await turns(1)
  expect(ending).toBe('waiting')
  time.now = after(START, waitMsMax + 1)
  await writing
  expect(ending).toBe('unavailable')
})

test('a foreign lock is tried ever more rarely, by one timer however many wait; its end is told if its beginning was', async () => {
  const { path, group, insert, time, told, statements } = open()
  const foreign = new Database(path)
  onTestFinished(() => void foreign.close())
  foreign.exec('begin immediate')
  const writing = [group.write(() => insert.run(0), 'record')]
  while (time.wakeUps.length < 6) await turns(1)
  expect(time.wakeUps.slice(0, 6)).toEqual([20, 40, 80, 160, 160, 160])
  expect(told).toEqual([])
  time.held = []
  while (time.held.length === 0) await turns(1)
  const before = countOf(statements, 'begin immediate')
  for (let n = 1; n < 50; n += 1) {
    writing.push(group.write(() => insert.run(n), 'record'))
    await turns(1)
  }
  expect(countOf(statements, 'begin immediate')).toBe(before)
  expect(time.held).toHaveLength(1)
  const [wake] = time.held
  time.held = null
  wake?.()
  time.now = after(time.now, HOUR)
  const tries = time.wakeUps.length
  while (time.wakeUps.length < tries + 3) await turns(1)
  expect(told).toEqual(['store.locked'])
  foreign.exec('commit')
  await Promise.all(writing)
  expect(told).toEqual(['store.locked', 'store.unlocked'])

  // The next one is another one: told of only when it lasts, and tried soon again.
  foreign.exec('begin immediate')
  time.wakeUps.length = 0
  const last = group.write(() => insert.run(99), 'record')
  while (time.wakeUps.length < 2) await turns(1)
  expect(time.wakeUps.slice(0, 2)).toEqual([20, 40])
  foreign.exec('commit')
  await last
  expect(told).toEqual(['store.locked', 'store.unlocked'])
})

test('a disk without room is no damage, in whatever words it says so', () => {
  expect([FULL, NO_INDEX].map(isDamage)).toEqual([false, false])
  expect(isDamage(new Database.SqliteError('disk I/O error', 'SQLITE_IOERR_READ'))).toBe(true)
})
