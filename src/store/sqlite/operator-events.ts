/**
 * What we tell the operator of ourselves: written in the step of the transition that it tells of, with a delivery to the
 * operator's endpoint when there is one.
 */

import type Database from 'better-sqlite3'
import type { EndpointId } from '../../core/ids.ts'
import { type OperatorEvent, type OperatorFact, operatorEvent, troubledEndpoint } from '../../core/operator-event.ts'
import type { EpochMs } from '../../core/time.ts'
import type { DeliveryTable } from './deliveries.ts'
import type { DiskRoom } from './disk.ts'

export function createOperatorEventTable(
  db: Database.Database,
  databaseId: string,
  deliveries: Pick<DeliveryTable, 'make'>,
) {
  const insert = db.prepare(
    `insert into _events (id, task_id, type, created_at, body) values (:id, null, :type, :at, :body)
     on conflict (id) do nothing`,
  )
  const isThere = db.prepare<[EndpointId]>(`select 1 from _endpoints where id = ? and status <> 'deleted'`)
  const appoint = db.prepare(
    'update _endpoints set is_operator = 1, updated_at = :now where id = :id and is_operator = 0',
  )
  const dismiss = db.prepare('update _endpoints set is_operator = 0, updated_at = :now where id = :id')
  const appointed = db
    .prepare<[], EndpointId>('select id from _endpoints where is_operator = 1 /* at the start */')
    .pluck()
  /** There is one at most, and it changes at the start only. */
  let operatorId: EndpointId | null = appointed.get() ?? null
  /** Of the step that is being made. */
  let fresh: OperatorEvent[] = []

  function tell(fact: OperatorFact, now: EpochMs): void {
    const event = operatorEvent(databaseId, fact, now)
    const { id, body } = event
    if (insert.run({ id, type: fact.type, at: now, body }).changes === 0) return
    fresh.push(event)
    if (operatorId === null || operatorId === troubledEndpoint(fact)) return
    if (isThere.get(operatorId) !== undefined) deliveries.make({ id, type: fact.type }, operatorId, now)
  }

  return {
    tell,
    /** What was told since it was asked last: whoever begins a step asks too, as the one before may have been undone. */
    takeFresh(): readonly OperatorEvent[] {
      const taken = fresh
      fresh = []
      return taken
    },
    /** From now on this endpoint is told, and no other. */
    appoint(id: EndpointId | null, now: EpochMs): void {
      for (const other of appointed.all()) if (other !== id) dismiss.run({ id: other, now })
      if (id !== null) appoint.run({ id, now })
      operatorId = id
    },
  }
}

export type OperatorEventTable = ReturnType<typeof createOperatorEventTable>

interface Told<T> {
  readonly value: T
  readonly told: readonly OperatorEvent[]
}

/** Hands over what a step told once it is on disk, and what was told before anybody listened when somebody does. */
export function createTelling({ takeFresh }: Pick<OperatorEventTable, 'takeFresh'>) {
  let listen: ((told: readonly OperatorEvent[]) => void) | null = null
  const unheard: OperatorEvent[] = []

  function handOver(told: readonly OperatorEvent[]): void {
    if (told.length === 0) return
    if (listen === null) unheard.push(...told)
    else listen(told)
  }

  return {
    handOver,
    onTold(next: (told: readonly OperatorEvent[]) => void): void {
      listen = next
      handOver(unheard.splice(0))
    },
    async through<T>(step: () => T, commit: (step: () => Told<T>) => Promise<Told<T>>): Promise<T> {
      const { value, told } = await commit(() => {
        // The step before this one may have been undone with what it told.
        takeFresh()
        return { value: step(), told: takeFresh() }
      })
      handOver(told)
      return value
    },
  }
}

/** Tells that the disk is nearly full, once until it has room again, also when the daemon is started anew meanwhile. */
export function createDiskNotes(db: Database.Database, operatorEvents: Pick<OperatorEventTable, 'tell'>) {
  const read = db.prepare(`select 1 from _meta where key = 'disk_low'`)
  const keep = db.prepare(`insert or replace into _meta (key, value) values ('disk_low', ?)`)
  const remove = db.prepare(`delete from _meta where key = 'disk_low'`)

  return {
    note({ state, freeBytes }: DiskRoom, now: EpochMs): void {
      const isTold = read.get() !== undefined
      if ((state !== 'roomy') === isTold) return
      if (state === 'roomy') return void remove.run()
      keep.run(String(now))
      operatorEvents.tell({ type: 'disk.low', freeBytes, isFull: state === 'full' }, now)
    },
  }
}
