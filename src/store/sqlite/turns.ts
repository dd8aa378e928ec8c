/**
 * Whose turn it is: when each endpoint may be sent to next, how fast, and how much at once.
 *
 * `due_at` is the earliest instant at which one of an endpoint's deliveries may be claimable and its rate lets it go, so
 * that a claim finds what can be sent without looking at any backlog, and never meets what cannot. Nobody writes it but
 * here: it is never earlier than the rate allows, and never later than the truth by more than one lease. It follows from
 * what is stored and moves with every claim, so it is kept in a temporary table, like the leases, and reckoned at the start
 * (decision 0011).
 */

import type Database from 'better-sqlite3'
import {
  ALLOWANCE_MIN,
  allowanceAfter,
  allowedSlots,
  type Bearing,
  ENDPOINT_TOLERANCE_MS,
  endpointPace,
  restMs,
} from '../../core/allowance.ts'
import { type GcraPace, grantAt, heldArrival, spentArrival } from '../../core/gcra.ts'
import type { EndpointId } from '../../core/ids.ts'
import { after, type EpochMs, latest } from '../../core/time.ts'
import { LIMIT } from './claim-sql.ts'

/** An endpoint that has something to send, with what it may have. */
export interface EndpointTurn {
  readonly id: EndpointId
  readonly url: string
  readonly host: string
  readonly rateMax: number | null
  readonly arrivalAt: number
  readonly concurrencyMax: number | null
  readonly slots: number | null
  readonly failingSince: EpochMs | null
}

type BusyEndpoint = Pick<EndpointTurn, 'id' | 'host' | 'concurrencyMax' | 'slots'>
type Health = Pick<EndpointTurn, 'arrivalAt' | 'slots' | 'failingSince'>

export interface DueEndpoints {
  readonly now: EpochMs
  /** Those that have all their slots in use, and hosts that have. */
  readonly full: readonly EndpointId[]
  readonly fullHosts: readonly string[]
  readonly isRecoveringAllowed: boolean
  readonly limit: number
}

/** When the rate lets the next one go; the column is as fractional as the rate is. */
const GRANT_AT = 'cast(ceil(arrival_at - :toleranceMs) as integer)'

export function createTurnTable(db: Database.Database) {
  const toleranceMs = ENDPOINT_TOLERANCE_MS
  // Only of endpoints with a URL and something pending. Those that are not open would hide the others from a claim.
  db.exec(`
    create temp table _turns (endpoint_id text primary key not null, due_at integer not null, is_open integer not null) strict, without rowid;
    create index temp._turns_due on _turns (due_at) where is_open = 1`)
  const IS_OPEN = `status = 'enabled'`
  const bringForward = db.prepare(
    `insert into temp._turns (endpoint_id, due_at, is_open)
     select id, max(:at, ${GRANT_AT}), ${IS_OPEN} from _endpoints where id = :id and url is not null and status <> 'deleted'
     on conflict (endpoint_id) do update set due_at = excluded.due_at where excluded.due_at < due_at`,
  )
  const setDue = db.prepare('update temp._turns set due_at = :dueAt where endpoint_id = :id')
  const setArrival = db.prepare('update _endpoints set arrival_at = :arrivalAt where id = :id')
  const putOff = db.prepare('update temp._turns set due_at = max(due_at, :until) where endpoint_id = :id')
  const setOpen = db.prepare('update temp._turns set is_open = :isOpen where endpoint_id = :id')
  const nothing = db.prepare('delete from temp._turns where endpoint_id = :id')
  const missing = db.prepare(
    `delete from temp._turns where endpoint_id > :after and endpoint_id <= :upTo
       and not exists (select 1 from _endpoints p where p.id = endpoint_id)`,
  )
  const due = db.prepare<[object], EndpointTurn>(
    `select p.id, p.url, p.host, p.rate_max as rateMax, p.arrival_at as arrivalAt, p.concurrency_max as concurrencyMax,
       p.slots, p.failing_since as failingSince
     from temp._turns t indexed by _turns_due cross join _endpoints p on p.id = t.endpoint_id
     where t.is_open = 1 and t.due_at <= :now
       and p.id not in (select value from json_each(:full)) and p.host not in (select value from json_each(:fullHosts))
       and (p.slots is null or :isRecoveringAllowed)
     order by t.due_at ${LIMIT}`,
  )
  const busy = db.prepare<[string], BusyEndpoint>(
    `select e.id, e.host, e.concurrency_max as concurrencyMax, e.slots
     from json_each(?) cross join _endpoints e on e.id = json_each.value`,
  )
  const anyDue = db.prepare<[EpochMs]>('select 1 from temp._turns where is_open = 1 and due_at <= ? limit 1')
  const nextDue = db.prepare<[{ now: number }], { dueAt: EpochMs }>(
    'select due_at as dueAt from temp._turns where is_open = 1 and due_at > :now order by due_at limit 1',
  )
  const health = db.prepare<[EndpointId], Health>(
    'select arrival_at as arrivalAt, slots, failing_since as failingSince from _endpoints where id = ?',
  )
  const recovering = db.prepare<[EndpointId]>('select 1 from _endpoints where id = ? and slots is not null')
  const setSlots = db.prepare('update _endpoints set slots = :slots where id = :id')
  const rest = db.prepare('update _endpoints set slots = :slots, arrival_at = :arrivalAt where id = :id')
  const lift = db.prepare(
    'update _endpoints set arrival_at = min(arrival_at, :now) where id = :id and rate_max is null',
  )
  const forgetWaits = db.prepare(
    'update _endpoints set arrival_at = min(arrival_at, :now + :toleranceMs) where id = :id',
  )
  // What of the backlog is due is found from its own index; it may have waited under another status.
  const reckonWhere = (condition: string) =>
    db.prepare(
      `insert or replace into temp._turns (endpoint_id, due_at, is_open)
       select id, max(due_at, ${GRANT_AT}), is_open from (
         select id, arrival_at, ${IS_OPEN} as is_open,
           (select min(next_attempt_at) from _deliveries where endpoint_id = _endpoints.id and status = 'pending') as due_at
         from _endpoints where url is not null and ${condition})
       where due_at is not null`,
    )
  const reckonOne = reckonWhere('id = :id')
  // At the start every lease is a dead daemon's, so what is pending is claimable at its own instant.
  const reckonAll = reckonWhere('true')
  const startSlowly = db.prepare(
    `update _endpoints set slots = ${ALLOWANCE_MIN}
     where id = :id and exists (select 1 from _deliveries
       where endpoint_id = :id and status = 'pending' and next_attempt_at <= :now)`,
  )
  function reckon(id: EndpointId): void {
    nothing.run({ id })
    reckonOne.run({ id, toleranceMs })
  }

  return {
    /** A delivery of this endpoint becomes claimable at `at`. */
    bringForward: (id: EndpointId, at: EpochMs): void => void bringForward.run({ id, at, toleranceMs }),
    /** A person wants it now: what rests because it fails need not. A rate is kept all the same. */
    bringForwardByHand(id: EndpointId, now: EpochMs): void {
      lift.run({ id, now })
      bringForward.run({ id, at: now, toleranceMs })
    },
    /** It was enabled again: it begins with one attempt at once, when a backlog has gathered. */
    begin(id: EndpointId, now: EpochMs): void {
      forgetWaits.run({ id, now, toleranceMs })
      reckon(id)
      startSlowly.run({ id, now })
    },
    /** It may be sent to, or may not for a while: what it has pending is kept. */
    setOpen: (id: EndpointId, isOpen: boolean): void => void setOpen.run({ id, isOpen: isOpen ? 1 : 0 }),
    /** It is somewhere else now, or has another rate: what it waited for by the old ones is nothing to wait for. */
    changed(id: EndpointId, now: EpochMs): void {
      forgetWaits.run({ id, now, toleranceMs })
      reckon(id)
    },
    /** Nothing of it is pending. */
    nothingWaits: (id: EndpointId): void => void nothing.run({ id }),
    /** Of those between two ids, the ones that are no more: nobody else comes by their rows. */
    forgetMissing: (stretch: { after: string; upTo: string }): void => void missing.run(stretch),
    reckonAll: (): void => void reckonAll.run({ toleranceMs }),

    /** Those with something to send and a slot to send it in, the longest due first. */
    listDue: ({ now, full, fullHosts, isRecoveringAllowed, limit }: DueEndpoints): readonly EndpointTurn[] =>
      due.all({
        now,
        full: JSON.stringify(full),
        fullHosts: JSON.stringify(fullHosts),
        isRecoveringAllowed: isRecoveringAllowed ? 1 : 0,
        limit,
      }),
    isAnyDue: (now: EpochMs): boolean => anyDue.get(now) !== undefined,
    nextDueAfter: (now: EpochMs): EpochMs | null => nextDue.get({ now })?.dueAt ?? null,
    /** What those may have that have something under way. */
    listBusy: (ids: readonly EndpointId[]): readonly BusyEndpoint[] => busy.all(JSON.stringify(ids)),

    /** It may have fewer attempts at once than it will have when it is well. */
    isRecovering: (id: EndpointId): boolean => recovering.get(id) !== undefined,

    /** How many may leave now by the endpoint's rate. */
    grantedCount: (turn: EndpointTurn, now: EpochMs, wantedCount: number): number =>
      grantAt(turn.arrivalAt, paceOf(turn, now), now, wantedCount).grantedCount,

    /** `sentCount` leave now, and the next may be wanted at `wantedAt`. */
    moveOn(turn: EndpointTurn, now: EpochMs, sentCount: number, wantedAt: EpochMs | null): void {
      const pace = paceOf(turn, now)
      // Who has no rate spends nothing, and its row stays as it is.
      const isSpent = sentCount > 0 && pace.spacingMs > 0
      const arrivalAt = isSpent ? spentArrival(turn.arrivalAt, pace, now, sentCount) : turn.arrivalAt
      if (isSpent) setArrival.run({ id: turn.id, arrivalAt })
      if (wantedAt === null) return void nothing.run({ id: turn.id })
      const { grantedCount, nextGrantAt } = grantAt(arrivalAt, pace, now, 1)
      setDue.run({ id: turn.id, dueAt: latest(wantedAt, grantedCount > 0 ? now : nextGrantAt) })
    },

    /** It asked to be left alone until then; a person may want something of it sent before. */
    hold(id: EndpointId, until: EpochMs): void {
      const row = health.get(id)
      if (row === undefined) return
      setArrival.run({ id, arrivalAt: heldArrival(row.arrivalAt, toleranceMs, until) })
      putOff.run({ id, until })
    },

    /** An attempt came to an end. Who bears it badly gets fewer at once; who is silent with one at once rests after each. */
    noteAttempt(id: EndpointId, slotsMax: number, bearing: Bearing, now: EpochMs): void {
      if (bearing === 'answering') return
      const row = health.get(id)
      if (row === undefined || (bearing === 'well' && row.slots === null)) return
      const slots = allowanceAfter(row.slots, slotsMax, bearing === 'well')
      if (bearing !== 'silent' || allowedSlots(slots, slotsMax) > ALLOWANCE_MIN) {
        if (slots !== row.slots) setSlots.run({ id, slots })
        return
      }
      const until = after(now, restMs(now - (row.failingSince ?? now)))
      rest.run({ id, slots, arrivalAt: heldArrival(row.arrivalAt, toleranceMs, until) })
      putOff.run({ id, until })
    },
  }
}

function paceOf({ rateMax, failingSince }: Pick<EndpointTurn, 'rateMax' | 'failingSince'>, now: EpochMs): GcraPace {
  return endpointPace(rateMax, failingSince === null ? null : now - failingSince)
}

export type TurnTable = ReturnType<typeof createTurnTable>
