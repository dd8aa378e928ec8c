/** Events in the order of their commits, for receivers that come and ask instead of being sent to. */

import type Database from 'better-sqlite3'
import type { Event } from '../../core/event.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { PlacedEvent } from '../store.ts'

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
  const acknowledge = writer.prepare(
    `update _deliveries set status = 'delivered', next_attempt_at = null, settled_at = :now
     where endpoint_id = :endpointId and seq <= :upTo and status = 'pending'
       and (select url from _endpoints where id = :endpointId) is null`,
  )
  return {
    after(endpointId: EndpointId | null, after: number, limit: number): readonly PlacedEvent[] {
      const rows = endpointId === null ? all.all({ after, limit }) : ofEndpoint.all({ endpointId, after, limit })
      return rows.map(({ position, ...event }) => ({ position, event }))
    },
    acknowledge: (endpointId: EndpointId, upTo: number, now: EpochMs): number =>
      acknowledge.run({ endpointId, upTo, now }).changes,
  }
}
