/**
 * Moves what waits when the clock was set, so that what is left of each wait stays as it was.
 *
 * Instants to come move, and with them those by which the age of something unfinished is reckoned (a pending task's
 * registration, a first failure). What has been told is history and stays as the clock showed it then: when a task
 * settled, when attempts and polls were made, when an endpoint was created. Only the retention goes by such instants; it
 * asks core/moved-clock.ts how old they really are.
 */

import type Database from 'better-sqlite3'
import { movedBudget } from '../../core/budget.ts'
import { afterMove, asItShowed, type MovedClock } from '../../core/moved-clock.ts'
import { type EpochMs, SECOND } from '../../core/time.ts'
import type { CredentialTable } from './credentials.ts'

interface Moving {
  readonly table: string
  readonly columns: readonly string[]
  readonly where?: string
}

/** Of every other column that holds an instant, test/store/sqlite/clock-shift.test.ts says that it is history. */
export const MOVING: readonly Moving[] = [
  {
    table: '_tasks',
    columns: ['registered_at', 'submitted_at', 'deadline_at', 'next_poll_at', 'suspect_at', 'running_at'],
    where: `status = 'pending'`,
  },
  { table: '_deliveries', columns: ['next_attempt_at'], where: `status = 'pending'` },
  { table: '_endpoints', columns: ['arrival_at', 'failing_since', 'probe_at'] },
  { table: '_secrets', columns: ['expires_at'] },
  { table: 'temp._leases', columns: ['expires_at'] },
  { table: 'temp._turns', columns: ['due_at'] },
]

/** A little may be missing after a restart in the moment in which the clock was disciplined. */
const BEHIND_MS_MAX = 5 * SECOND

export function createClockShift(db: Database.Database, credentials: CredentialTable) {
  const moves = MOVING.map(({ table, columns, where }) =>
    db.prepare<[{ byMs: number }]>(
      `update ${table} set ${columns.map((name) => `${name} = ${name} + :byMs`).join(', ')}
       ${where === undefined ? '' : `where ${where}`}`,
    ),
  )
  const read = db.prepare<[string], string>('select value from _meta where key = ?').pluck()
  const keep = db.prepare<[string, string]>('insert or replace into _meta (key, value) values (?, ?)')
  const remove = db.prepare<[string]>('delete from _meta where key = ?')

  function movedClock(): MovedClock | null {
    const text = read.get('clock_moved')
    return text === undefined ? null : (JSON.parse(text) as MovedClock)
  }

  function keepMovedClock(moved: MovedClock | null): void {
    if (moved === null) remove.run('clock_moved')
    else keep.run('clock_moved', JSON.stringify(moved))
  }

  function noteAlive(now: EpochMs): void {
    keep.run('probed_at', String(now))
  }

  /** To be called in a transaction, with the clock as it was set. */
  function move(now: EpochMs, byMs: number): void {
    for (const step of moves) step.run({ byMs })
    for (const [name, budget] of credentials.list()) credentials.write(name, budget, movedBudget(budget, byMs))
    keepMovedClock(afterMove(movedClock(), now, byMs))
    noteAlive(now)
  }

  return {
    move,
    noteAlive,

    /**
     * A clock that shows less than this database has seen was set back while the daemon was off, at least by that much.
     * Returns by how much everything was moved. One that was set forward looks like a long time off.
     */
    moveToStart(now: EpochMs): number {
      const behindMs = Number(read.get('probed_at') ?? 0) - now
      if (behindMs <= BEHIND_MS_MAX) return 0
      move(now, -behindMs)
      return -behindMs
    },

    /** What is compared with instants that stayed as they were. */
    asItShowed(at: EpochMs): EpochMs {
      const moved = movedClock()
      if (moved !== null && at >= moved.at) keepMovedClock(null)
      return asItShowed(at, moved)
    },
  }
}

export type ClockShift = ReturnType<typeof createClockShift>
