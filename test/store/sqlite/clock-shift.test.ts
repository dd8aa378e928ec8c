/** Every instant in the tables either waits, and moves when the clock is set, or is history; and a start with an earlier clock. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { DAY, type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../../src/core/time.ts'
import type { Log } from '../../../src/ports.ts'
import { MOVING } from '../../../src/store/sqlite/clock-shift.ts'
import { openSqliteStore } from '../../../src/store/sqlite/store.ts'
import { aDirectory, aRegistration, countingIds, openAt, START, standingClock } from '../../support/store.ts'

/** What has been told, or is moved in another way (credentials: as the JSON and the numbers of a budget). */
const HISTORY = [
  '_attempts.next_attempt_at',
  '_attempts.started_at',
  '_cadence.updated_at',
  '_credentials.arrival_at',
  '_credentials.raised_at',
  '_credentials.silent_since',
  '_credentials.throttled_at',
  '_credentials.throttled_until',
  '_deliveries.created_at',
  '_deliveries.settled_at',
  '_endpoints.created_at',
  '_endpoints.updated_at',
  '_events.created_at',
  '_jobs.created_at',
  '_jobs.finished_at',
  '_jobs.updated_at',
  '_polls.asked_at',
  '_polls.first_asked_at',
  '_polls.next_poll_at',
  '_secrets.created_at',
  '_subscriptions.created_at',
  '_tasks.settled_at',
]

test('every column that holds an instant moves with the clock or is history', async () => {
  const path = join(aDirectory(), 'test.db')
  await openAt(path).close()
  const db = new Database(path, { readonly: true })
  const columns = db
    .prepare<[], string>(
      `select t.name || '.' || c.name from sqlite_schema t, pragma_table_info(t.name) c
       where t.type = 'table' and t.name like '\\_%' escape '\\' and t.name <> '_migrations'
         and (c.name like '%\\_at' escape '\\' or c.name like '%\\_until' escape '\\' or c.name like '%\\_since' escape '\\')`,
    )
    .pluck()
    .all()
  db.close()
  // Temporary tables are in nobody's file.
  const moving = MOVING.filter(({ table }) => !table.startsWith('temp.')).flatMap(({ table, columns: names }) =>
    names.map((name) => `${table}.${name}`),
  )
  expect(columns.toSorted()).toEqual([...moving, ...HISTORY].toSorted())
})

function openWith(path: string, now: EpochMs) {
  const lines: Record<string, unknown>[] = []
  const note = (fields: Record<string, unknown>) => void lines.push(fields)
  const log: Log = { debug: note, info: note, warn: note, error: note }
  const onDamaged = (error: Error) => {
    throw error
  }
  const clock = { ...standingClock, now: () => now }
  return { store: openSqliteStore({ path, clock, newId: countingIds(), onDamaged, log }), lines }
}

async function closedAt(lastSeenAt: EpochMs): Promise<string> {
  const path = join(aDirectory(), 'test.db')
  const { store } = openWith(path, START)
  await store.registerTasks({
    now: START,
    registrations: [aRegistration({ firstPollAt: epochMs(lastSeenAt + MINUTE) })],
  })
  await store.probe({ now: lastSeenAt })
  await store.close()
  return path
}

async function nextPollAt(path: string, now: EpochMs): Promise<{ waitMs: number; lines: readonly object[] }> {
  const { store, lines } = openWith(path, now)
  const task = (await store.listTasks({ limit: 1 })).items[0]
  await store.close()
  return { waitMs: (task?.nextPollAt ?? 0) - now, lines }
}

test.each([HOUR, DAY, START - 5 * MINUTE])(
  'a start %d ms before what the database has seen waits on where it was',
  async (backMs) => {
    const seenAt = epochMs(START + HOUR)
    const path = await closedAt(seenAt)
    const now = epochMs(seenAt - backMs)
    const { waitMs, lines } = await nextPollAt(path, now)
    expect(waitMs).toBe(MINUTE)
    expect(lines).toMatchObject([{ event: 'clock.jumped', mark: 'clock_jump_back', byMs: -backMs }])
    // Once: the next start has seen it.
    expect(await nextPollAt(path, now)).toEqual({ waitMs: MINUTE, lines: [] })
  },
)

test.each([0, HOUR, 3_000 * DAY])('a start %d ms later is a long time off: nothing moves', async (laterMs) => {
  const path = await closedAt(START)
  expect(await nextPollAt(path, epochMs(START + laterMs))).toEqual({ waitMs: MINUTE - laterMs, lines: [] })
})

test('a start a few seconds earlier is a clock that was disciplined: nothing moves', async () => {
  const path = await closedAt(START)
  expect(await nextPollAt(path, epochMs(START - 4 * SECOND))).toEqual({ waitMs: MINUTE + 4 * SECOND, lines: [] })
})

test('a database that was never probed starts at any time', async () => {
  const path = join(aDirectory(), 'test.db')
  await openAt(path).close()
  expect((await nextPollAt(path, epochMs(HOUR))).lines).toEqual([])
})
