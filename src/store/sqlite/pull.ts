/** Events in the order of their commits, for receivers that come and ask instead of being sent to. */

import type Database from 'better-sqlite3'
import type { Signer } from '../../core/endpoint.ts'
import type { Event } from '../../core/event.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { PullResult } from '../pull.ts'

interface PlacedRow extends Event {
  readonly position: number
}

const EVENT_COLUMNS = 'e.id, e.task_id as taskId, e.type, e.created_at as createdAt, e.body'

export function createPullTable(reader: Database.Database, writer: Database.Database) {
  const all = reader.prepare<[{ after: number; limit: number }], PlacedRow>(
    `select e.seq as position, ${EVENT_COLUMNS} from _events e where e.seq > :after order by e.seq limit :limit`,
  )
  // By its deliveries and not by the events: whoever subscribes late is told late, of an event that is older.
  const ofEndpoint = reader.prepare<[{ endpointId: EndpointId; after: number; limit: number }], PlacedRow>(
    `select d.seq as position, ${EVENT_COLUMNS} from _deliveries d join _events e on e.id = d.event_id
     where d.endpoint_id = :endpointId and d.seq > :after and d.status <> 'canceled' order by d.seq limit :limit`,
  )
  // Of what is pending alone: an endpoint's history grows for as long as it is kept, and every question comes through here.
  const unacknowledged = `select seq from _deliveries indexed by _deliveries_due
    where status = 'pending' and endpoint_id = :endpointId and seq <= :upTo
      and (select url from _endpoints where id = :endpointId) is null`
  const isAnyUnacknowledged = reader.prepare<[{ endpointId: EndpointId; upTo: number }]>(`${unacknowledged} limit 1`)
  const acknowledge = writer.prepare(
    `update _deliveries set status = 'delivered', next_attempt_at = null, settled_at = :now
     where seq in (${unacknowledged} order by next_attempt_at limit :limit)`,
  )
  /** The highest position that was ever given out, also when nothing is left of it. */
  const lastGiven = reader.prepare<[string], number>('select seq from sqlite_sequence where name = ?').pluck()
  return {
    page(endpointId: EndpointId | null, after: number, limit: number, signers: readonly Signer[]): PullResult {
      const lastPosition = lastGiven.get(endpointId === null ? '_events' : '_deliveries') ?? 0
      if (after > lastPosition) return { kind: 'beyond_the_last', lastPosition }
      const rows = endpointId === null ? all.all({ after, limit }) : ofEndpoint.all({ endpointId, after, limit })
      return { kind: 'events', events: rows.map(({ position, ...event }) => ({ position, event })), signers }
    },
    isAnyUnacknowledged: (endpointId: EndpointId, upTo: number): boolean =>
      isAnyUnacknowledged.get({ endpointId, upTo }) !== undefined,
    /** A piece of it; fewer than `limit` when it was the last. */
    acknowledge: (endpointId: EndpointId, upTo: number, now: EpochMs, limit: number): number =>
      acknowledge.run({ endpointId, upTo, now, limit }).changes,
  }
}
