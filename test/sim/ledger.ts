/**
 * What was seen from outside the daemon: every query, every POST, every acknowledged answer, every blow that fell. The
 * invariants compare it with the rows. Nothing in here comes from the daemon's memory or is lost with it.
 */

import type { AttemptResult, DueDelivery } from '../../src/core/delivery.ts'
import type { DeliveryId, EndpointId, LeaseToken } from '../../src/core/ids.ts'
import type { DueTask } from '../../src/core/task.ts'
import type { EpochMs } from '../../src/core/time.ts'
import type { Plan } from './faults.ts'
import { type Blow, MARK_OF_BLOW, type Mark } from './marks.ts'
import type { DeliveryRow, Rows } from './rows.ts'
import type { SimulatedUpstream } from './upstream.ts'

export interface QueryFact {
  readonly tasks: readonly DueTask[]
  readonly credential: string
  readonly at: number
  readonly wallAt: EpochMs
  readonly life: number
  endedAt: number | null
}

export interface PostFact {
  readonly life: number
  readonly at: number
  readonly wallAt: EpochMs
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The claim that this POST carries out. */
  readonly claimed: DueDelivery | undefined
  endedAt: number | null
  /** What the daemon heard; null while it hears nothing, and for ever when it died before. */
  heard: AttemptResult | null
}

/** A client was told 2xx. */
export interface Ack {
  readonly kind: string
  readonly taskId: string
  readonly url: string
  readonly id: string
}

export interface BlowFact {
  readonly kind: Blow
  readonly at: number
  /** For clocks: by how much. */
  readonly byMs: number
}

/** How far one event has got on its way to one endpoint, as far as it is known outside. */
export interface Telling {
  readonly posts: PostFact[]
  /** `heard`: a 2xx has reached the daemon. `committed`: and its record is known to be on disk. */
  state: 'open' | 'heard' | 'committed'
  /** POSTs that may follow a 2xx: a person asked for one, or a blow fell before the commit. */
  credits: number
  /** A person's attempt whose record is not known to be on disk. */
  isManualOpen: boolean
  /** Its 2xx was handed to the store of this life, first at this true time, which has neither kept nor refused it yet. */
  recording: { readonly life: number; readonly since: number; readonly count: number } | null
}

/** A secret of an endpoint's own, and the true times between which it certainly signs. */
export interface KnownSecret {
  readonly secret: string
  readonly from: number
  until: number
}

/** Of an endpoint that is known to be disabled for failing. */
export interface Probing {
  /** Probes that are known to have failed, on disk. */
  failedCount: number
  /** In true time; no probe leaves before. */
  dueAt: number
}

/** What an endpoint wants to hear of. `certain`: it stood on disk before the rows were last looked at. */
export interface Choice {
  readonly types: readonly string[]
  state: 'asked' | 'kept' | 'certain'
}

export interface Ledger {
  readonly plan: Plan
  readonly upstream: SimulatedUpstream
  readonly queries: QueryFact[]
  readonly posts: PostFact[]
  readonly blows: BlowFact[]
  readonly acks: Map<string, Ack>
  /** Every (kind, taskId, url) that somebody ever asked for, answered or not. */
  readonly wishes: Set<string>
  /** Acknowledged cancels. */
  readonly canceled: Map<string, number>
  /** Known to be settled on disk since this true time. */
  readonly settledAt: Map<string, number>
  /** Known to stand on disk. */
  readonly nextPollAt: Map<string, EpochMs>
  /** When the next attempt of an event for an endpoint is due, in true time: no clock that is set changes it. */
  readonly retryAt: Map<string, number>
  /** The last lease that was handed out for a task or a delivery. */
  readonly tokens: Map<string, LeaseToken>
  /** What was last claimed for an event and a URL. */
  readonly claims: Map<string, DueDelivery>
  /** Where each delivery goes that was claimed, by its id. */
  readonly claimedUrls: Map<DeliveryId, string>
  readonly tellings: Map<string, Telling>
  readonly eventOf: Map<string, string>
  readonly bodyOf: Map<string, string>
  /** URLs known not to be sent to, since this true time. */
  readonly closedUrls: Map<string, number>
  /** Endpoints known to be deleted, since this true time: another may have the URL since then. */
  readonly deletedEndpoints: Map<EndpointId, number>
  readonly probing: Map<EndpointId, Probing>
  /** When an endpoint is known to have had a 2xx recorded, or to have been resumed by a person, in true time. */
  readonly wellAt: Map<EndpointId, number>
  /** Endpoints that somebody ever asked to pause. */
  readonly everPaused: Set<string>
  readonly choices: Map<string, Choice>
  /** What was told of the daemon before its operator’s endpoint was first known to stand on disk; null until then. */
  toldBefore: ReadonlySet<string> | null
  /** Deliveries that were there when the rows were last looked at. */
  readonly seenDeliveries: Set<string>
  /** Credentials known to be refused, since this true time. */
  readonly refusedSince: Map<string, number>
  /** Credentials that were told to wait, since and until when. */
  readonly bans: Map<string, { readonly since: number; readonly until: number }>
  readonly secrets: Map<string, KnownSecret[]>
  /** Settled tasks as they were first seen. */
  readonly firstSeen: Map<string, { readonly text: string; readonly settledAt: number }>
  /** The latest instant that the daemon's clock has ever shown. */
  wallMax: number
  /** Somebody began to forget what is old: it may be gone before anybody hears of it. */
  hasForgotten: boolean
  readonly marks: Map<Mark, number>
  readonly violations: string[]
}

export function createLedger(plan: Plan, upstream: SimulatedUpstream): Ledger {
  return {
    plan,
    upstream,
    queries: [],
    posts: [],
    blows: [],
    acks: new Map(),
    wishes: new Set(),
    canceled: new Map(),
    settledAt: new Map(),
    nextPollAt: new Map(),
    retryAt: new Map(),
    tokens: new Map(),
    claims: new Map(),
    claimedUrls: new Map(),
    tellings: new Map(),
    eventOf: new Map(),
    bodyOf: new Map(),
    closedUrls: new Map(),
    deletedEndpoints: new Map(),
    probing: new Map(),
    wellAt: new Map(),
    everPaused: new Set(),
    choices: new Map(),
    toldBefore: null,
    seenDeliveries: new Set(),
    refusedSince: new Map(),
    bans: new Map(),
    secrets: new Map(),
    firstSeen: new Map(),
    wallMax: 0,
    hasForgotten: false,
    marks: new Map(),
    violations: [],
  }
}

export function note(ledger: Ledger, name: Mark): void {
  ledger.marks.set(name, (ledger.marks.get(name) ?? 0) + 1)
}

export function wishOf(kind: string, taskId: string, url: string): string {
  return `${kind} ${taskId} ${url}`
}

export function tellingOf(ledger: Ledger, eventId: string, endpointId: EndpointId): Telling {
  const key = `${eventId} ${endpointId}`
  const known = ledger.tellings.get(key)
  if (known !== undefined) return known
  const telling: Telling = { posts: [], state: 'open', credits: 0, isManualOpen: false, recording: null }
  ledger.tellings.set(key, telling)
  return telling
}

/** The endpoint that a POST is for. A URL may have had several, one after the other. */
export function endpointOf({ claimed, url }: PostFact): EndpointId {
  if (claimed === undefined) throw new Error(`a POST to ${url} that nobody claimed`)
  return claimed.endpointId
}

/** What a job has queued is to be told from the start, also where a receiver had said 2xx. */
export function reopenQueued(ledger: Ledger, deliveries: readonly DeliveryRow[]): void {
  for (const row of deliveries) {
    const isQueuedAnew = row.status === 'pending' && row.attempt_count > 0 && row.scheduled_attempt_count === 0
    if (!isQueuedAnew || row.is_manual === 1) continue
    const telling = tellingOf(ledger, row.event_id, row.endpoint_id as EndpointId)
    telling.state = 'open'
    telling.credits = 0
  }
}

/** The rows have been looked at: what was there before does not show again, and what was chosen by then holds. */
export function noteSeen(ledger: Ledger, { deliveries, events, subscriptions }: Rows): void {
  if (ledger.choices.size > 0 && !ledger.marks.has('event_filtered')) {
    const made = new Set(deliveries.map(({ event_id, endpoint_id }) => `${event_id} ${endpoint_id}`))
    const eventOf = new Map(events.map((event) => [event.task_id, event]))
    const isFiltered = subscriptions.some(({ task_id, endpoint_id }) => {
      const event = eventOf.get(task_id)
      const isChosen = event === undefined || (ledger.choices.get(endpoint_id)?.types.includes(event.type) ?? true)
      return !isChosen && !made.has(`${event.id} ${endpoint_id}`)
    })
    if (isFiltered) note(ledger, 'event_filtered')
  }
  for (const { id } of deliveries) ledger.seenDeliveries.add(id)
  for (const choice of ledger.choices.values()) if (choice.state === 'kept') choice.state = 'certain'
}

const FORGETTING: ReadonlySet<Blow> = new Set(['crash', 'power_loss', 'store'])

/** After some blows, what was heard and is not known to be recorded may happen once more. */
export function noteBlow(ledger: Ledger, kind: Blow, at: number, byMs = 0): void {
  ledger.blows.push({ kind, at, byMs })
  const mark = MARK_OF_BLOW[kind]
  if (mark !== undefined) note(ledger, mark)
  if (!FORGETTING.has(kind)) return
  for (const telling of ledger.tellings.values()) {
    if (telling.state === 'heard' || telling.isManualOpen) telling.credits = 1
  }
}

/** How far the wall clock may have come since `from`: leases are counted by it. */
export function wallProgressMs(ledger: Ledger, from: number, now: number): number {
  const forwardMs = ledger.blows
    .filter((blow) => blow.kind === 'clock_forward' && blow.at >= from)
    .reduce((sum, blow) => sum + blow.byMs, 0)
  return now - from + forwardMs
}
