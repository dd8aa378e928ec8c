/**
 * Who works on what. A lease ends with the process that holds it, as whoever opens the database is its only owner, so
 * leases are kept in a temporary table: in memory, undone together with the step that took them, and gone at the next
 * start. A claim leaves nothing that has to be flushed to the disk (decision 0011).
 */

import type Database from 'better-sqlite3'
import type { DeliveryId, LeaseToken, TaskId } from '../../core/ids.ts'
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
}

export function createLeaseTable(db: Database.Database): LeaseTable {
  db.exec(
    'create temp table _leases (id text primary key not null, token text not null, expires_at integer not null) strict, without rowid',
  )
  const take = db.prepare<[Item, LeaseToken, number]>(
    'insert or replace into temp._leases (id, token, expires_at) values (?, ?, ?)',
  )
  const giveUp = db.prepare<[Item, LeaseToken]>('delete from temp._leases where id = ? and token = ?')
  const end = db.prepare<[Item]>('delete from temp._leases where id = ?')

  return {
    take(ids, { token, expiresAt }) {
      for (const id of ids) take.run(id, token, expiresAt)
    },
    giveUp: (id, token) => giveUp.run(id, token).changes > 0,
    end: (id) => void end.run(id),
  }
}
