/** The judges of what a daemon did while terrible things were done to it: what receivers heard, and what SQL says. */

import Database from 'better-sqlite3'
import { expect } from 'vitest'
import type { Received } from '../../src/sandbox/receiver.ts'

/** What receivers have heard in all. */
export interface Hearing {
  /** Of each task (our id), the id of its event. */
  readonly eventIds: ReadonlyMap<string, string>
  /** Of each event, how often it came. */
  readonly postCounts: ReadonlyMap<string, number>
}

interface Told {
  readonly type: string
  readonly data: { readonly id: string; readonly taskId: string }
}

/** Genuine, each event with one body, each task with one event, and of the type that its life leads to. */
export function hearingOf(received: readonly Received[], expectedType: (taskId: string) => string): Hearing {
  const eventIds = new Map<string, string>()
  const bodies = new Map<string, string>()
  const postCounts = new Map<string, number>()
  for (const { webhookId, body, isVerified } of received) {
    expect(isVerified).toBe(true)
    const eventId = String(webhookId)
    expect(bodies.get(eventId) ?? body, 'one event, one body').toBe(body)
    bodies.set(eventId, body)
    postCounts.set(eventId, (postCounts.get(eventId) ?? 0) + 1)
    const { type, data } = JSON.parse(body) as Told
    expect(eventIds.get(data.id) ?? eventId, 'one task, one event').toBe(eventId)
    eventIds.set(data.id, eventId)
    expect(type, data.taskId).toBe(expectedType(data.taskId))
  }
  return { eventIds, postCounts }
}

/** Tasks without an end, and deliveries without one. */
export function pendingCount(path: string): number {
  return withDatabase(path, (db) => {
    const query = `select (select count(*) from _tasks where status = 'pending') + (select count(*) from _deliveries where status = 'pending')`
    return db.prepare<[], number>(query).pluck().get()!
  })
}

/** Nothing is damaged, doubled or left out. */
export function expectSound(path: string): void {
  withDatabase(path, (db) => {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    expect(db.pragma('foreign_key_check')).toEqual([])
    const twice = 'select task_id from _events group by task_id having count(*) > 1'
    expect(db.prepare(twice).all(), 'tasks with two events').toEqual([])
    const gaps = `select delivery_id from _attempts group by delivery_id having count(*) <> max(attempt_number)`
    expect(db.prepare(gaps).all(), 'attempts that are not numbered 1 to n').toEqual([])
  })
}

/** Of each event, how many attempts were recorded. */
export function attemptCounts(path: string): ReadonlyMap<string, number> {
  return withDatabase(path, (db) => {
    return new Map(db.prepare<[], [string, number]>('select event_id, attempt_count from _deliveries').raw().all())
  })
}

export interface RecordedAttempt {
  readonly eventId: string
  readonly attemptNumber: number
  /** Null when no answer came. */
  readonly status: number | null
  readonly failure: string | null
}

export function recordedAttempts(path: string): readonly RecordedAttempt[] {
  return withDatabase(path, (db) => {
    const query = `select d.event_id as eventId, a.attempt_number as attemptNumber, a.status_code as status, a.failure
      from _attempts a join _deliveries d on d.id = a.delivery_id order by d.event_id, a.attempt_number`
    return db.prepare<[], RecordedAttempt>(query).all()
  })
}

function withDatabase<T>(path: string, look: (db: Database.Database) => T): T {
  const db = new Database(path, { readonly: true })
  try {
    return look(db)
  } finally {
    db.close()
  }
}
