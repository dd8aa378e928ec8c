/**
 * The claim of due deliveries: the longest due endpoints first, and of each what it has a slot for.
 *
 * Nothing that has no slot is returned, and an endpoint or a host that has none free is not even looked at. Of the slots
 * in all, endpoints that failed lately get a part only: a thousand that hang, at one each, would leave no others.
 *
 * Endpoints that are disabled for failing come first, when it is time to try them again: one delivery each, whatever its
 * own instant.
 */

import type Database from 'better-sqlite3'
import type { DeliveryStatus, DueDelivery } from '../../core/delivery.ts'
import type { DeliveryId, EndpointId, EventId } from '../../core/ids.ts'
import { type EpochMs, earlierOf } from '../../core/time.ts'
import type { ClaimDeliveries, ClaimedDeliveries, Lease } from '../store.ts'
import { type ClaimRoom, createClaimRoom, slotsMaxOf } from './claim-room.ts'
import { LIMIT } from './claim-sql.ts'
import type { CustomHeaderTable } from './custom-headers.ts'
import type { EndpointHealthTable, ProbedEndpoint } from './endpoint-health.ts'
import { isFree, type LeaseTable } from './leases.ts'
import type { SecretTable } from './secrets.ts'
import type { EndpointTurn, TurnTable } from './turns.ts'

interface FreeRow {
  /** In the order of the commits. */
  readonly seq: number
  readonly id: DeliveryId
  readonly eventId: EventId
  readonly attemptCount: number
  readonly scheduledAttemptCount: number
  readonly isManual: 0 | 1
  readonly statusBefore: DeliveryStatus
  readonly body: string
}

/** Each list but the last fills a host, or what failed lately may have; more hosts than that wait for the next claim. */
const PAGES_MAX = 4

export interface DeliveryClaimParts {
  readonly leases: LeaseTable
  readonly health: EndpointHealthTable
  readonly turns: TurnTable
  readonly secrets: SecretTable
  readonly customHeaders: CustomHeaderTable
}

export function createDeliveryClaim(db: Database.Database, parts: DeliveryClaimParts) {
  const { leases, health, turns, secrets, customHeaders } = parts
  const IS_FREE = isFree('d.id')
  const freeWhere = (condition: string, limit: string) =>
    db.prepare<[object], FreeRow>(
      `select d.seq, d.id, d.event_id as eventId, d.attempt_count as attemptCount,
         d.scheduled_attempt_count as scheduledAttemptCount, d.is_manual as isManual, d.status_before as statusBefore, e.body
       from _deliveries d indexed by _deliveries_due cross join _events e on e.id = d.event_id
       where d.status = 'pending' and d.endpoint_id = :endpointId ${condition} and ${IS_FREE}
       order by d.next_attempt_at ${limit}`,
    )
  const freeDue = freeWhere('and d.next_attempt_at <= :now', LIMIT)
  const freeLongestDue = freeWhere('', 'limit 1')
  const stillDue = db.prepare<[{ endpointId: EndpointId; now: number }]>(
    `select 1 from _deliveries d
     where d.status = 'pending' and d.endpoint_id = :endpointId and d.next_attempt_at <= :now and ${IS_FREE} limit 1`,
  )
  const nextWaiting = db.prepare<[{ endpointId: EndpointId; now: number }], { at: EpochMs }>(
    `select next_attempt_at as at from _deliveries
     where status = 'pending' and endpoint_id = :endpointId and next_attempt_at > :now order by next_attempt_at limit 1`,
  )
  const nextLeaseEnd = db.prepare<[{ endpointId: EndpointId; now: number }], { at: EpochMs | null }>(
    `select min(held.expires_at) as at from _deliveries d cross join temp._leases held on held.id = d.id
     where d.status = 'pending' and d.endpoint_id = :endpointId and d.next_attempt_at <= :now`,
  )

  function claimOfEndpoint(params: ClaimDeliveries, turn: EndpointTurn, wantedCount: number): DueDelivery[] {
    const { now, lease } = params
    const { id: endpointId } = turn
    const envelope = envelopeOf(endpointId, now)
    if (envelope === null) return []
    const limit = turns.grantedCount(turn, now, wantedCount)
    const rows = limit === 0 ? [] : freeDue.all({ now, endpointId, limit })
    const taken = takeAll(rows, turn, { ...envelope, slotsMax: slotsMaxOf(turn, params) }, lease)
    const isMoreDue = rows.length === limit && stillDue.get({ endpointId, now }) !== undefined
    turns.moveOn(turn, now, rows.length, isMoreDue ? now : nextDueOf(endpointId, now))
    return taken
  }

  /** What it is sent with; when that cannot be opened, it is not sent to. */
  function envelopeOf(endpointId: EndpointId, now: EpochMs): Pick<DueDelivery, 'signers' | 'headers'> | null {
    const signers = secrets.signersOf(endpointId, now)
    const headers = customHeaders.openOf(endpointId)
    if (signers !== null && headers !== null) return { signers, headers }
    health.disable(endpointId, 'secret_unreadable', now)
    return null
  }

  function claimProbes(params: ClaimDeliveries, room: ClaimRoom): DueDelivery[] {
    const { now, limit, inFlight } = params
    return health.listDueProbes(now, limit).flatMap((endpoint) => {
      // What was under way when it was disabled ends first; then its slot wakes the next claim.
      if (inFlight.has(endpoint.id) || room.ofHost(endpoint.host) <= 0) return []
      const probe = claimProbe(params, endpoint)
      if (probe === null) return []
      room.take({ ...endpoint, slots: null }, 1)
      return [probe]
    })
  }

  function claimProbe(params: ClaimDeliveries, endpoint: ProbedEndpoint): DueDelivery | null {
    const { now, lease } = params
    const { id: endpointId } = endpoint
    const envelope = envelopeOf(endpointId, now)
    if (envelope === null) return null
    const row = freeLongestDue.get({ now, endpointId })
    if (row === undefined) {
      if (nextDueOf(endpointId, now) === null) turns.nothingWaits(endpointId)
      return null
    }
    health.postponeProbe(endpointId, lease.expiresAt)
    const [probe] = takeAll([row], endpoint, { ...envelope, slotsMax: slotsMaxOf(endpoint, params) }, lease)
    return probe === undefined ? null : { ...probe, isProbe: true }
  }

  function nextDueOf(endpointId: EndpointId, now: EpochMs): EpochMs | null {
    return earlierOf(
      nextWaiting.get({ endpointId, now })?.at ?? null,
      nextLeaseEnd.get({ endpointId, now })?.at ?? null,
    )
  }

  function takeAll(
    rows: FreeRow[],
    endpoint: Pick<EndpointTurn, 'id' | 'url'>,
    ofEndpoint: Pick<DueDelivery, 'signers' | 'headers' | 'slotsMax'>,
    lease: Lease,
  ): DueDelivery[] {
    leases.take(
      rows.map(({ id }) => id),
      lease,
    )
    rows.sort((a, b) => a.seq - b.seq)
    return rows.map((row) => ({
      id: row.id,
      eventId: row.eventId,
      endpointId: endpoint.id,
      url: endpoint.url,
      body: row.body,
      attemptNumber: row.attemptCount + 1,
      scheduledAttemptCount: row.scheduledAttemptCount,
      isManual: row.isManual === 1,
      isProbe: false,
      statusBefore: row.statusBefore,
      ...ofEndpoint,
    }))
  }

  function nextClaimAfter(now: EpochMs): EpochMs | null {
    return earlierOf(turns.nextDueAfter(now), health.nextProbeAfter(now))
  }

  function isAnyDue(now: EpochMs): boolean {
    return turns.isAnyDue(now) || health.listDueProbes(now, 1).length > 0
  }

  /** Of the endpoints in one list, the longest due first, what there is room for. */
  function claimPage(params: ClaimDeliveries, due: readonly EndpointTurn[], room: ClaimRoom): DueDelivery[] {
    return due.flatMap((turn) => {
      const wantedCount = room.of(turn)
      if (wantedCount === 0) return []
      const taken = claimOfEndpoint(params, turn, wantedCount)
      room.take(turn, taken.length)
      return taken
    })
  }

  return {
    claimDue(params: ClaimDeliveries): ClaimedDeliveries {
      const { now, inFlight } = params
      const room = createClaimRoom(params, turns.listBusy([...inFlight.keys()]))
      const deliveries = claimProbes(params, room)
      for (let page = 0; page < PAGES_MAX && room.inAll() > 0; page += 1) {
        const limit = room.inAll()
        const due = turns.listDue({ now, ...room.passedBy(), limit })
        deliveries.push(...claimPage(params, due, room))
        // A full list hides others behind endpoints that share what there is room for: a host, or what failed lately.
        if (due.length < limit) {
          return { deliveries, nextClaimAt: nextClaimAfter(now), isMoreDue: isAnyDue(now) }
        }
      }
      return { deliveries, nextClaimAt: now, isMoreDue: true }
    },
  }
}
