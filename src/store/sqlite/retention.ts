/** Forgetting: settled tasks with all that hangs on them, a few at a time; then what nothing refers to any more. */

import type Database from 'better-sqlite3'
import type { EndpointId, EventId, TaskId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { ClockShift } from './clock-shift.ts'

interface ToldRow {
  readonly id: EventId
  readonly createdAt: EpochMs
}

export function createRetention(db: Database.Database, clockShift: Pick<ClockShift, 'asItShowed'>) {
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
  // The wish to hear of a task is no younger than the task, and none is made for an endpoint after its end: before all tasks
  // are younger than that, nobody needs to read through the wishes for one that is left.
  const buried = db
    .prepare<[], EndpointId>(
      `select p.id from _endpoints p
       where p.status = 'deleted' and not exists (select 1 from _deliveries d where d.endpoint_id = p.id)
         and p.updated_at < coalesce((select registered_at from _tasks order by id limit 1), p.updated_at + 1)
         and not exists (select 1 from _subscriptions s where s.endpoint_id = p.id)
       limit 1 /* once an hour */`,
    )
    .pluck()
  const forgetEndpoint = db.prepare('delete from _endpoints where id = ? /* once an hour */')

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
    /** One, because SQLite reads through all wishes before it lets go of it. False when there is none. */
    forgetEndpoint(): boolean {
      const id = buried.get()
      return id !== undefined && forgetEndpoint.run(id).changes > 0
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
