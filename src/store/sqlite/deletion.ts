/**
 * Deleting an endpoint. From that step on nothing is sent to it and nothing is made for it; its pending deliveries are
 * canceled a piece at a time, because everybody else waits for each, and its row stays until nothing refers to it.
 */

import type Database from 'better-sqlite3'
import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { DeletionResult } from '../jobs.ts'
import type { JobTable } from './jobs.ts'
import { isFree } from './leases.ts'
import type { TurnTable } from './turns.ts'

/** What is canceled together with the endpoint: most backlogs are smaller. */
const FIRST_PIECE = 500

export interface DeletionParts {
  readonly jobs: Pick<JobTable, 'cancelOfEndpoint'>
  readonly turns: Pick<TurnTable, 'nothingWaits'>
}

export function createDeletion(db: Database.Database, { jobs, turns }: DeletionParts) {
  const living = db.prepare<[EndpointId]>(`select 1 from _endpoints where id = ? and status <> 'deleted'`)
  const pendingCount = db
    .prepare<[EndpointId], number>(`select count(*) from _deliveries where status = 'pending' and endpoint_id = ?`)
    .pluck()
  const anyPending = db.prepare<[EndpointId]>(
    `select 1 from _deliveries where status = 'pending' and endpoint_id = ? limit 1`,
  )
  const bury = db.prepare(
    `update _endpoints set status = 'deleted', disabled_reason = null, headers = null, headers_key_id = null,
       probe_at = null, updated_at = :now where id = :id`,
  )
  const forgetSecrets = db.prepare('delete from _secrets where endpoint_id = ?')
  // What a person wanted sent once more is again what it was.
  const cancel = db.prepare(
    `update _deliveries set status = case when is_manual = 1 and status_before <> 'pending' then status_before else 'canceled' end,
       settled_at = case when is_manual = 1 and status_before <> 'pending' then settled_at else :now end,
       is_manual = 0, next_attempt_at = null
     where seq in (select seq from _deliveries where status = 'pending' and endpoint_id = :id
       and ${isFree('_deliveries.id')} order by next_attempt_at limit :limit)`,
  )
  const buriedWithPending = db
    .prepare<[], EndpointId>(
      `select id from _endpoints where status = 'deleted' and exists
         (select 1 from _deliveries d where d.endpoint_id = _endpoints.id and d.status = 'pending') /* at the start */`,
    )
    .pluck()
  /** Found anew at each start: those whose backlog is not gone yet. */
  const dropping = new Set<EndpointId>(buriedWithPending.all())

  function cancelPiece(id: EndpointId, limit: number, now: EpochMs): number {
    return cancel.run({ id, limit, now }).changes
  }

  return {
    delete(id: EndpointId, doesDropBacklog: boolean, now: EpochMs): DeletionResult {
      if (living.get(id) === undefined) return { kind: 'not_found' }
      const count = pendingCount.get(id) ?? 0
      if (count > 0 && !doesDropBacklog) return { kind: 'has_backlog', pendingCount: count }
      bury.run({ id, now })
      turns.nothingWaits(id)
      forgetSecrets.run(id)
      jobs.cancelOfEndpoint(id, now)
      cancelPiece(id, FIRST_PIECE, now)
      // Also when the step is undone in the end: then the next look finds an endpoint that lives, and leaves it alone.
      dropping.add(id)
      return { kind: 'deleted', droppedCount: count }
    },

    /** Whether `dropBacklogs` has anything to do: most of the time it has not, and no transaction is opened for it. */
    isDropping: (): boolean => dropping.size > 0,

    dropBacklogs(limit: number, now: EpochMs): { droppedCount: number; isMore: boolean } {
      let droppedCount = 0
      for (const id of dropping) {
        // By what was found and never by what was just done: that may still be undone with the whole step.
        if (living.get(id) !== undefined || anyPending.get(id) === undefined) dropping.delete(id)
        else droppedCount += cancelPiece(id, limit - droppedCount, now)
        if (droppedCount >= limit) break
      }
      return { droppedCount, isMore: dropping.size > 0 }
    },
  }
}

export type Deletion = ReturnType<typeof createDeletion>
