/**
 * Who works on what. A lease ends with the process that holds it, as whoever opens the database is its only owner, so
 * leases are kept in a temporary table: in memory, undone together with the step that took them, and gone at the next
 * start. A claim leaves nothing that has to be flushed to the disk (decision 0011).
 */

import type Database from 'better-sqlite3'
import type { DeliveryId, LeaseToken, TaskId } from '../../core/ids.ts'
import { DAY, type EpochMs, HOUR } from '../../core/time.ts'
import type { Lease } from '../store.ts'

type Item = TaskId | DeliveryId

/** Of a statement about items at `:now`: no lease that counts is on the one whose id is in `column`. */
export function isFree(column: string): string {
  return `not exists (select 1 from temp._leases held where held.id = ${column} and held.expires_at > :now)`
}

export interface LeaseTable {
  take(ids: readonly Item[], lease: Lease): void
  /** False when it is not held under this token any more: somebody else's, or ended. */
  giveUp(id: Item, token: LeaseToken): boolean
  /** Whoever holds it: what comes under it later changes nothing. */
  end(id: Item): void
  /** Something was claimed whose lease has ended by now, and its record may be on its way. */
  hasAnyEnded(now: EpochMs): boolean
  /** Those that nobody will write under any more. */
  forgetOld(now: EpochMs): void
}

/** A lease that ended longer ago is of an item that is gone, or of one that the next claim takes. */
const RECORD_MS_MAX = HOUR

export function createLeaseTable(db: Database.Database): LeaseTable {
  db.exec(
    'create temp table _leases (id text primary key not null, token text not null, expires_at integer not null) strict, without rowid',
  )
  const take = db.prepare<[Item, LeaseToken, number]>(
    'insert or replace into temp._leases (id, token, expires_at) values (?, ?, ?)',
  )
  const giveUp = db.prepare<[Item, LeaseToken]>('delete from temp._leases where id = ? and token = ?')
  const end = db.prepare<[Item]>('delete from temp._leases where id = ?')
  const anyEnded = db.prepare<[number, number]>(
    'select 1 from temp._leases where expires_at <= ? and expires_at > ? limit 1',
  )
  const forgetOld = db.prepare<[number]>('delete from temp._leases where expires_at < ?')

  return {
    take(ids, { token, expiresAt }) {
      for (const id of ids) take.run(id, token, expiresAt)
    },
    giveUp: (id, token) => giveUp.run(id, token).changes > 0,
    end: (id) => void end.run(id),
    hasAnyEnded: (now) => anyEnded.get(now, now - RECORD_MS_MAX) !== undefined,
    forgetOld: (now) => void forgetOld.run(now - DAY),
  }
}
