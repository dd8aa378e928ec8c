/**
 * The health of endpoints in their rows: what an attempt, a person or a key makes of it is decided in
 * core/endpoint-health.ts; here it is read, written and told, in the step of whatever it follows from.
 */

import type Database from 'better-sqlite3'
import { holdMs } from '../../core/allowance.ts'
import type { DisabledReason } from '../../core/endpoint.ts'
import {
  type AttemptEnd,
  type AttemptFacts,
  afterAttempt,
  afterDisabling,
  afterMove,
  afterPause,
  afterResume,
  changeOf,
  type Standing,
} from '../../core/endpoint-health.ts'
import type { DeliveryId, EndpointId, TaskId } from '../../core/ids.ts'
import type { OperatorFact } from '../../core/operator-event.ts'
import { after, type EpochMs } from '../../core/time.ts'
import type { AttemptRecord } from '../attempts.ts'
import { LIMIT } from './claim-sql.ts'
import type { OperatorEventTable } from './operator-events.ts'
import type { TurnTable } from './turns.ts'

interface StandingRow extends Omit<Standing, 'failingEvents'> {
  readonly failingEvents: string | null
  readonly name: string | null
  readonly host: string | null
}

interface ExhaustedRow {
  readonly eventType: string
  readonly taskId: TaskId | null
  readonly attemptCount: number
  readonly name: string | null
  readonly host: string | null
}

/** One that may be tried again. */
export interface ProbedEndpoint {
  readonly id: EndpointId
  readonly url: string
  readonly host: string
  readonly concurrencyMax: number | null
}

type Returner = Extract<OperatorFact, { type: 'endpoint.enabled' }>['by']

export function createEndpointHealthTable(
  db: Database.Database,
  turns: Pick<TurnTable, 'begin' | 'hold' | 'setOpen'>,
  operatorEvents: Pick<OperatorEventTable, 'tell'>,
) {
  const read = db.prepare<[EndpointId], StandingRow>(
    `select status, disabled_reason as disabledReason, failing_since as failingSince, failing_events as failingEvents,
       probe_at as probeAt, probe_count as probeCount, name, host
     from _endpoints where id = ? and status <> 'deleted'`,
  )
  const write = db.prepare(
    `update _endpoints set status = :status, disabled_reason = :disabledReason, failing_since = :failingSince,
       failing_events = :failingEvents, probe_at = :probeAt, probe_count = :probeCount where id = :id`,
  )
  const touch = db.prepare('update _endpoints set updated_at = :now where id = :id')
  const HAS_WORK = 'exists (select 1 from temp._turns t where t.endpoint_id = _endpoints.id)'
  const dueProbes = db.prepare<[{ now: number; limit: number }], ProbedEndpoint>(
    `select id, url, host, concurrency_max as concurrencyMax from _endpoints
     where probe_at <= :now and status = 'disabled' and ${HAS_WORK}
     order by probe_at ${LIMIT}`,
  )
  const nextProbe = db.prepare<[{ now: number }], { at: EpochMs }>(
    `select probe_at as at from _endpoints
     where probe_at > :now and status = 'disabled' and ${HAS_WORK} order by probe_at limit 1`,
  )
  const exhausted = db.prepare<[DeliveryId], ExhaustedRow>(
    `select e.type as eventType, e.task_id as taskId, d.attempt_count as attemptCount, p.name, p.host
     from _deliveries d join _events e on e.id = d.event_id join _endpoints p on p.id = d.endpoint_id where d.id = ?`,
  )
  const postpone = db.prepare('update _endpoints set probe_at = :at where id = :id and probe_at is not null')

  function change(id: EndpointId, decide: (standing: Standing) => Standing, now: EpochMs, by: Returner): void {
    const row = read.get(id)
    if (row === undefined) return
    const { name, host, ...kept } = row
    const before: Standing = { ...kept, failingEvents: eventsOf(kept.failingEvents) }
    const standing = decide(before)
    if (standing === before) return
    const { failingEvents } = standing
    write.run({ ...standing, id, failingEvents: failingEvents.length === 0 ? null : JSON.stringify(failingEvents) })
    if (standing.status !== before.status) {
      touch.run({ id, now })
      turns.setOpen(id, standing.status === 'enabled')
    }
    const isTriedAnew = before.status !== 'enabled' || (before.failingSince !== null && by === 'person')
    if (standing.status === 'enabled' && isTriedAnew) turns.begin(id, now)
    const subject = { endpointId: id, name, host }
    switch (changeOf(before, standing)) {
      case 'disabled': {
        const { failingSince, disabledReason: reason } = standing
        if (reason !== null) operatorEvents.tell({ type: 'endpoint.disabled', ...subject, reason, failingSince }, now)
        return
      }
      case 'enabled':
        return operatorEvents.tell({ type: 'endpoint.enabled', ...subject, reason: before.disabledReason, by }, now)
      case null:
    }
  }

  function tellExhausted({ delivery, exchange: { result } }: AttemptRecord, now: EpochMs): void {
    const { id: deliveryId, eventId, endpointId } = delivery
    const row = exhausted.get(deliveryId)
    if (row === undefined) return
    const end =
      result.kind === 'response'
        ? { statusCode: result.status, failure: null }
        : { statusCode: null, failure: result.reason }
    operatorEvents.tell({ type: 'delivery.exhausted', deliveryId, eventId, endpointId, ...row, ...end }, now)
  }

  function postponeProbe(id: EndpointId, at: EpochMs): void {
    postpone.run({ id, at })
  }

  return {
    /** Of an attempt that was recorded. */
    noteAttempt(record: AttemptRecord, now: EpochMs): void {
      const { delivery, verdict, random } = record
      const { eventId, endpointId, isProbe } = delivery
      if (verdict.kind === 'give_back') {
        if (isProbe) postponeProbe(endpointId, verdict.nextAttemptAt)
        return
      }
      const heldMs = holdMs(record.exchange.result, now)
      if (heldMs > 0) turns.hold(endpointId, after(now, heldMs))
      if (verdict.kind === 'exhausted') tellExhausted(record, now)
      const facts: AttemptFacts = { eventId, end: endOf(record), isProbe, now, random }
      change(endpointId, (standing) => afterAttempt(standing, facts), now, 'itself')
    },
    disable: (id: EndpointId, reason: DisabledReason, now: EpochMs): void =>
      change(id, (standing) => afterDisabling(standing, reason), now, 'itself'),
    /** A person's wish. */
    pause: (id: EndpointId, now: EpochMs): void => change(id, afterPause, now, 'person'),
    resume: (id: EndpointId, now: EpochMs, by: Returner = 'person'): void => change(id, afterResume, now, by),
    /** Its URL is another. */
    moved: (id: EndpointId, now: EpochMs): void => change(id, (standing) => afterMove(standing, now), now, 'person'),

    /** Those whose probe is due and that have something to be tried with. */
    listDueProbes: (now: EpochMs, limit: number): readonly ProbedEndpoint[] => dueProbes.all({ now, limit }),
    nextProbeAfter: (now: EpochMs): EpochMs | null => nextProbe.get({ now })?.at ?? null,
    /** While a probe is under way no other begins; if nobody hears of it again, the next is at its lease's end. */
    postponeProbe,
  }
}

function endOf({ verdict, isEndpointGone }: AttemptRecord): AttemptEnd {
  if (isEndpointGone) return 'gone'
  return verdict.kind === 'delivered' ? 'succeeded' : 'failed'
}

function eventsOf(text: string | null): Standing['failingEvents'] {
  return text === null ? [] : (JSON.parse(text) as Standing['failingEvents'])
}

export type EndpointHealthTable = ReturnType<typeof createEndpointHealthTable>
