/** Deliveries and their attempts: made when a task settles, claimed by endpoint, written under a lease. */

import type Database from 'better-sqlite3'
import { bearingOf } from '../../core/allowance.ts'
import type { DeliveryStatus, Verdict } from '../../core/delivery.ts'
import { hearsOf } from '../../core/endpoint.ts'
import type { DeliveryId, EndpointId, EventId, TaskId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { NewId } from '../../ports.ts'
import type { AttemptRecord } from '../attempts.ts'
import { isFree, type LeaseTable } from './leases.ts'
import type { TurnTable } from './turns.ts'

export interface RedeliverableRow {
  readonly id: DeliveryId
  readonly status: DeliveryStatus
  readonly endpointId: EndpointId
}

/** What there is to tell. */
interface Told {
  readonly id: EventId
  readonly type: string
}

interface Listener {
  readonly endpointId: EndpointId
  /** JSON array. */
  readonly eventTypes: string | null
}

/** What stands in a delivery's row after a verdict. */
function rowAfter(
  verdict: Verdict,
  statusBefore: DeliveryStatus,
): { status: DeliveryStatus; nextAttemptAt: EpochMs | null } {
  switch (verdict.kind) {
    case 'delivered':
    case 'exhausted':
      return { status: verdict.kind, nextAttemptAt: null }
    case 'unchanged':
      return { status: statusBefore, nextAttemptAt: null }
    case 'retry':
    case 'give_back':
      return { status: 'pending', nextAttemptAt: verdict.nextAttemptAt }
  }
}

export interface DeliveryTableParts {
  readonly newId: NewId
  readonly leases: LeaseTable
  readonly turns: TurnTable
}

export function createDeliveryTable(db: Database.Database, { newId, leases, turns }: DeliveryTableParts) {
  // "Or fail": see tasks.ts.
  const insert = db.prepare(
    `insert or fail into _deliveries (id, event_id, endpoint_id, status, attempt_count, scheduled_attempt_count, is_manual,
       status_before, next_attempt_at, created_at)
     values (:id, :eventId, :endpointId, 'pending', 0, 0, 0, 'pending', :now, :now)
     on conflict (event_id, endpoint_id) do nothing`,
  )
  const listener = db.prepare<[EndpointId], Listener>(
    'select id as endpointId, event_types as eventTypes from _endpoints where id = ?',
  )
  const subscribers = db.prepare<[TaskId], Listener>(
    `select s.endpoint_id as endpointId, p.event_types as eventTypes
     from _subscriptions s join _endpoints p on p.id = s.endpoint_id
     where s.task_id = ? and p.status <> 'deleted' order by s.endpoint_id`,
  )
  const waitUntil = db.prepare(`update _deliveries set next_attempt_at = :at where id = :id and status = 'pending'`)
  const settle = db.prepare(
    `update or fail _deliveries set status = :status, attempt_count = attempt_count + 1,
       scheduled_attempt_count = scheduled_attempt_count + :scheduled, is_manual = 0,
       next_attempt_at = :nextAttemptAt, settled_at = :settledAt, last_status_code = :statusCode, last_failure = :failure
     where id = :id and status = 'pending'`,
  )
  // What was probed with waits for its own attempts; and what a person wants sent again keeps how it once ended.
  const leaveWaiting = db.prepare(
    `update _deliveries set attempt_count = attempt_count + 1,
       last_status_code = iif(status_before = 'pending', :statusCode, last_status_code),
       last_failure = iif(status_before = 'pending', :failure, last_failure)
     where id = :id and status = 'pending'`,
  )
  // A person's attempt that failed leaves what it was, and when and how it came to be that.
  const leaveAsBefore = db.prepare(
    `update _deliveries set status = status_before, attempt_count = attempt_count + 1, is_manual = 0,
       next_attempt_at = null
     where id = :id and status = 'pending'`,
  )
  const insertAttempt = db.prepare(
    `insert into _attempts (id, delivery_id, attempt_number, is_manual, is_probe, verdict, started_at, duration_ms, status_code,
       failure, detail, response_excerpt, response_truncated, response_headers, remote_address, timings, next_attempt_at)
     values (:id, :deliveryId, :attemptNumber, :isManual, :isProbe, :verdict, :startedAt, :durationMs, :statusCode,
       :failure, :detail, :responseExcerpt, :responseTruncated, :responseHeaders, :remoteAddress, :timings, :nextAttemptAt)`,
  )
  const redeliverable = db.prepare<[DeliveryId], RedeliverableRow>(
    'select id, status, endpoint_id as endpointId from _deliveries where id = ?',
  )
  const redeliverableOfTask = db.prepare<[TaskId], RedeliverableRow>(
    `select d.id, d.status, d.endpoint_id as endpointId
     from _events e join _deliveries d on d.event_id = e.id where e.task_id = ? order by d.seq`,
  )
  const queueManual = db.prepare(
    `update _deliveries set status = 'pending', is_manual = 1,
       status_before = case when is_manual = 1 then status_before else status end,
       next_attempt_at = :now
     where id = :id and ${isFree('_deliveries.id')}`,
  )

  /** What an endpoint did not choose to hear of is not kept for it either. */
  function makeFor({ endpointId, eventTypes }: Listener, event: Told, now: EpochMs): void {
    if (!hearsOf(eventTypes === null ? null : (JSON.parse(eventTypes) as readonly string[]), event.type)) return
    const { changes } = insert.run({ id: newId('dlv'), eventId: event.id, endpointId, now })
    if (changes > 0) turns.bringForward(endpointId, now)
  }

  function returnUntouched({ delivery }: AttemptRecord, at: EpochMs): void {
    // It was not its own turn that a probe took.
    if (!delivery.isProbe) waitUntil.run({ id: delivery.id, at })
    turns.bringForward(delivery.endpointId, at)
  }

  function writeVerdict({ delivery, exchange, verdict }: AttemptRecord, now: EpochMs): boolean {
    const { id, isManual, isProbe, statusBefore } = delivery
    const end = endOf(exchange)
    if (verdict.kind === 'unchanged') {
      const left = isProbe ? leaveWaiting.run({ id, ...end }) : leaveAsBefore.run({ id })
      return left.changes > 0
    }
    const { status, nextAttemptAt } = rowAfter(verdict, statusBefore)
    const scheduled = isManual || isProbe ? 0 : 1
    // While it is pending nobody is shown when it settled: a person may have sent it on its way again.
    return settle.run({ id, status, scheduled, nextAttemptAt, settledAt: now, ...end }).changes > 0
  }

  function noteAttempt({ delivery, startedAt, exchange, verdict }: AttemptRecord): void {
    const { result } = exchange
    insertAttempt.run({
      id: newId('att'),
      deliveryId: delivery.id,
      attemptNumber: delivery.attemptNumber,
      isManual: delivery.isManual ? 1 : 0,
      isProbe: delivery.isProbe ? 1 : 0,
      verdict: verdict.kind,
      startedAt,
      durationMs: exchange.durationMs,
      detail: result.kind === 'response' ? null : result.detail,
      responseExcerpt: exchange.responseExcerpt,
      responseTruncated: exchange.responseTruncated ? 1 : 0,
      responseHeaders: JSON.stringify(exchange.responseHeaders),
      remoteAddress: exchange.remoteAddress,
      timings: JSON.stringify(exchange.timings),
      nextAttemptAt: verdict.kind === 'retry' ? verdict.nextAttemptAt : null,
      ...endOf(exchange),
    })
  }

  return {
    make(event: Told, endpointId: EndpointId, now: EpochMs): void {
      const one = listener.get(endpointId)
      if (one !== undefined) makeFor(one, event, now)
    },
    /** One delivery for each endpoint that subscribed so far. */
    makeForSubscribers(taskId: TaskId, event: Told, now: EpochMs): void {
      for (const one of subscribers.all(taskId)) makeFor(one, event, now)
    },

    /** Whether the lease was still held; if not, nothing is written. */
    recordAttempt(record: AttemptRecord, now: EpochMs): boolean {
      const { delivery, leaseToken, verdict } = record
      const { endpointId } = delivery
      if (!leases.giveUp(delivery.id, leaseToken)) return false
      if (verdict.kind === 'give_back') {
        returnUntouched(record, verdict.nextAttemptAt)
        return true
      }
      if (!writeVerdict(record, now)) return false
      noteAttempt(record)
      if (verdict.kind === 'retry') turns.bringForward(endpointId, verdict.nextAttemptAt)
      const bearing = bearingOf(record.exchange.result)
      if (bearing !== null) turns.noteAttempt(endpointId, delivery.slotsMax, bearing, now)
      return true
    },

    listRedeliverable: (taskId: TaskId): readonly RedeliverableRow[] => redeliverableOfTask.all(taskId),
    findRedeliverable: (id: DeliveryId): RedeliverableRow | undefined => redeliverable.get(id),

    /** False when an attempt is under way. */
    queueManualAttempt(row: RedeliverableRow, now: EpochMs): boolean {
      const { changes } = queueManual.run({ id: row.id, now })
      if (changes > 0) turns.bringForwardByHand(row.endpointId, now)
      return changes > 0
    },
  }
}

function endOf({ result }: AttemptRecord['exchange']): { statusCode: number | null; failure: string | null } {
  if (result.kind === 'response') return { statusCode: result.status, failure: null }
  return { statusCode: null, failure: result.reason }
}

export type DeliveryTable = ReturnType<typeof createDeliveryTable>
