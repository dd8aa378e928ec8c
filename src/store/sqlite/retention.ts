/** Forgetting: settled tasks with all that hangs on them, a few at a time; then what nothing refers to any more. */

import type Database from 'better-sqlite3'
import type { EndpointId, EventId, TaskId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { ClockShift } from './clock-shift.ts'
import type { TurnTable } from './turns.ts'

interface ToldRow {
  readonly id: EventId
  readonly createdAt: EpochMs
}

export interface ForgottenEndpoints {
  readonly forgottenCount: number
  readonly next: EndpointId | null
}

/** After every id: theirs begin with a letter. */
const LAST_ID = '~'

export interface RetentionParts {
  readonly clockShift: Pick<ClockShift, 'asItShowed'>
  readonly turns: Pick<TurnTable, 'forgetMissing'>
}

export function createRetention(db: Database.Database, { clockShift, turns }: RetentionParts) {
  // A delivery that is still owed keeps its task, however old.
  const settled = db.prepare<[{ settledBefore: number; limit: number }], { id: TaskId }>(
    `select t.id from _tasks t
     where t.settled_at is not null and t.settled_at < :settledBefore
       and not exists (select 1 from _events e join _deliveries d on d.event_id = e.id
         where e.task_id = t.id and d.status = 'pending')
     order by t.settled_at limit :limit`,
  )
  const eventsOf = 'select id from _events where task_id = :id'
  const deletions = [
    `delete from _attempts where delivery_id in (select id from _deliveries where event_id in (${eventsOf}))`,
    `delete from _deliveries where event_id in (${eventsOf})`,
    'delete from _events where task_id = :id',
    'delete from _subscriptions where task_id = :id',
    'delete from _polls where task_id = :id',
    'delete from _tasks where id = :id',
  ].map((text) => db.prepare<[{ id: TaskId }]>(text))

  const forgetJobs = db.prepare('delete from _jobs where finished_at < :settledBefore')
  const placeAfter = db
    .prepare<[{ after: string; limit: number }], EndpointId>(
      'select id from _endpoints where id > :after order by id limit 1 offset :limit - 1',
    )
    .pluck()
  // One that was made by its URL, and that nobody has named, set or given a secret, comes back by itself when it is wanted.
  const forgetEndpoints = db.prepare<[object]>(
    `delete from _endpoints as p where p.id > :after and p.id <= :upTo
       and (p.status = 'deleted' or (p.status in ('enabled', 'disabled') and p.url is not null and p.name is null
         and p.is_operator = 0 and p.headers is null and p.event_types is null and p.rate_max is null
         and p.concurrency_max is null and p.created_at < :usedBefore and p.updated_at < :usedBefore
         and not exists (select 1 from _secrets s where s.endpoint_id = p.id)))
       and not exists (select 1 from _deliveries d where d.endpoint_id = p.id)
       and not exists (select 1 from _subscriptions s where s.endpoint_id = p.id)`,
  )

  // What has not signed for so long is nothing but something to steal.
  const forgetSecrets = db.prepare<[object]>(
    `delete from _secrets where endpoint_id > :after and endpoint_id <= :upTo and expires_at < :expiredBefore`,
  )

  // In the order of the commits: whoever reads on until the first that is young enough has seen all old ones.
  const told = db.prepare<[], ToldRow>(
    'select id, created_at as createdAt from _events where task_id is null order by seq',
  )
  const deletionsOfEvent = [
    'delete from _attempts where delivery_id in (select id from _deliveries where event_id = :id)',
    'delete from _deliveries where event_id = :id',
    'delete from _events where id = :id',
  ].map((text) => db.prepare<[{ id: EventId }]>(text))

  function listOld(before: EpochMs, limit: number): readonly EventId[] {
    const ids: EventId[] = []
    for (const { id, createdAt } of told.iterate()) {
      if (createdAt >= before || ids.length === limit) break
      ids.push(id)
    }
    return ids
  }

  return {
    deleteOperatorEvents(toldBefore: EpochMs, limit: number): number {
      const ids = listOld(clockShift.asItShowed(toldBefore), limit)
      for (const id of ids) for (const deletion of deletionsOfEvent) deletion.run({ id })
      return ids.length
    },
    /** Looks at the next `limit` endpoints after one; `next` is where to go on, null when there are no more. */
    forgetEndpoints(usedBefore: EpochMs, after: EndpointId | null, limit: number): ForgottenEndpoints {
      const next = placeAfter.get({ after: after ?? '', limit }) ?? null
      const stretch = { after: after ?? '', upTo: next ?? LAST_ID }
      // It moves with the clock, as instants do that are still to come; when something was used stays as it was noted.
      forgetSecrets.run({ ...stretch, expiredBefore: usedBefore })
      const params = { ...stretch, usedBefore: clockShift.asItShowed(usedBefore) }
      const forgottenCount = forgetEndpoints.run(params).changes
      if (forgottenCount > 0) turns.forgetMissing(stretch)
      return { forgottenCount, next }
    },
    deleteSettled(settledBefore: EpochMs, limit: number): number {
      // A clock that was set forward would make all that has settled old at once.
      const ids = settled.all({ settledBefore: clockShift.asItShowed(settledBefore), limit })
      for (const { id } of ids) for (const deletion of deletions) deletion.run({ id })
      if (ids.length < limit) {
        forgetJobs.run({ settledBefore: clockShift.asItShowed(settledBefore) })
      }
      return ids.length
    },
  }
}
