/**
 * The dispatcher, the scheduler's twin: claim due → POST to the receiver → judge in core → record in one step.
 *
 * It keeps `concurrency` slots busy, of which one endpoint may hold `endpointConcurrency`, and fewer when it fails
 * (core/allowance.ts). It signs when it sends: a timestamp taken earlier would be out of the receiver's tolerance after a
 * wait.
 *
 * What a crash costs, at each point:
 * - after the claim, before the POST: nothing, the delivery is claimable again at the next start;
 * - after the receiver's 2xx, before the record: one more POST with the same `webhook-id` and the same bytes;
 * - after the record: nothing, it is on disk.
 */

import {
  type AttemptedDelivery,
  type AttemptResult,
  type DueDelivery,
  describeResult,
  judge,
} from '../core/delivery.ts'
import type { EndpointId, LeaseToken } from '../core/ids.ts'
import type { SigningKey } from '../core/signature.ts'
import { after, type EpochMs } from '../core/time.ts'
import { webhookHeaders } from '../core/webhook-headers.ts'
import type { Clock, Exchange, Log, NewId, Post, Random } from '../ports.ts'
import type { AttemptRecord } from '../store/attempts.ts'
import type { Store } from '../store/store.ts'
import { withoutEcho } from './echo.ts'
import { createHandleSlots } from './handle-slots.ts'
import { type AttemptAtHost, createHostSlots } from './host-slots.ts'
import { createInFlight } from './in-flight.ts'

export interface DispatcherDeps {
  readonly store: Pick<Store, 'claimDueDeliveries' | 'recordAttempts'>
  readonly post: Post
  readonly clock: Clock
  readonly newId: NewId
  readonly random: Random
  readonly log: Log
  /** Signs for endpoints that have no secret of their own. */
  readonly signingKeys: readonly SigningKey[]
  /** Another claim may find something. */
  readonly wake: () => void
}

export interface DispatcherOptions {
  readonly concurrency: number
  readonly endpointConcurrency: number
  readonly deadlineMs: number
  /** Longer than the longest attempt, or two daemons would send one delivery at once. */
  readonly leaseMs: number
  /** The wait before attempt n is entry n (1-based). */
  readonly scheduleMs: readonly number[]
}

export interface Dispatcher {
  /** This record, which was just handed to the store, brings deliveries. */
  noteSettling(recording: Promise<unknown>): void
  tick(): Promise<EpochMs | null>
  /** Ends what is under way; what does not end within `graceMs` is given back without costing an attempt. */
  drain(graceMs: number): Promise<void>
}

/** Gives a slot back, once, with what is known of the host by now. */
type Free = (end: AttemptAtHost | null) => void

export function createDispatcher(deps: DispatcherDeps, options: DispatcherOptions): Dispatcher {
  const { store, post, clock, newId, random, log } = deps
  const inFlight = createInFlight(clock)
  const inFlightByEndpoint = new Map<EndpointId, number>()
  /** What all that failed lately may hold together, or one host whatever its endpoints: others always find the rest. */
  const recoveringMax = Math.ceil(options.concurrency / 2)
  const unhurriedMax = Math.max(Math.ceil(options.concurrency * 0.75), options.endpointConcurrency)
  const hostSlots = createHostSlots(Math.max(recoveringMax, options.endpointConcurrency))
  const handleSlots = createHandleSlots(options.concurrency, log)
  let busySlots = 0
  /** The last claim may have left something behind for want of a slot, or has no answer yet: one that frees is worth another. */
  let isMoreDue = true
  /** What the next claim is to come behind. */
  let settling: Promise<unknown> | null = null

  async function tick(): Promise<EpochMs | null> {
    isMoreDue = true
    const limit = handleSlots.count() - busySlots
    if (limit <= 0) return null
    const now = clock.now()
    const lease = { token: newId('lse'), expiresAt: after(now, options.leaseMs) }
    const { endpointConcurrency } = options
    const recording = settling
    settling = null
    const claiming = store.claimDueDeliveries({
      now,
      lease,
      limit,
      endpointConcurrency,
      // As it is now: what ends from here on is recorded after this claim.
      inFlight: new Map(inFlightByEndpoint),
      hosts: hostSlots.room(),
      recoveringMax,
      unhurriedMax,
      isBehindRecords: recording !== null,
    })
    // Refused while the record waits, for a lock or for room: then it is worth another when that is written.
    claiming.catch(() => recording?.then(deps.wake, deps.wake))
    const claimed = await claiming
    isMoreDue = claimed.isMoreDue
    for (const delivery of claimed.deliveries) {
      const free = takeSlot(delivery)
      inFlight.track((signal) => attempt(delivery, free, lease.token, signal))
    }
    // With every slot taken the next claim is worth it when one frees, at whatever instant something is due.
    return claimed.isMoreDue && claimed.deliveries.length === limit ? null : claimed.nextClaimAt
  }

  /**
   * What it brings is claimed right behind it: a commit sooner than if the claim were called when it is on disk. While half
   * of the slots are busy that would cost more than it gives: those that free would wait for the record, too.
   */
  function noteSettling(recording: Promise<unknown>): void {
    if (busySlots >= handleSlots.count() / 2) return void recording.then(deps.wake, () => {})
    settling = recording
    deps.wake()
  }

  async function attempt(
    delivery: DueDelivery,
    free: Free,
    leaseToken: LeaseToken,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const startedAt = clock.now()
      const noteHandles = handleSlots.take()
      const exchange = await send(delivery, signal)
      noteHandles(exchange.result, busySlots)
      const now = clock.now()
      const { scheduleMs } = options
      const chance = random()
      const judgement = judge({ delivery, result: exchange.result, now, scheduleMs, random: chance })
      const record = {
        delivery: attempted(delivery),
        leaseToken,
        startedAt,
        exchange,
        random: chance,
        ...judgement,
      }
      const recording = store.recordAttempts({ now, records: [record] })
      // Now, and not when the record is on disk: the slot would stand empty for as long as a commit takes. What the record
      // takes from what may be claimed is seen by the claim that fills the slot (store.ts).
      free(atHost(exchange))
      // It may be due again, or its endpoint be sent to again. An endpoint that another success enabled is told of, which
      // wakes, too (engine.ts).
      if (judgement.verdict.kind !== 'delivered' || delivery.isProbe) deps.wake()
      logAttempt(record, delivery.url, (await recording).applied)
    } catch (error) {
      log.error(
        { event: 'attempt.failed', deliveryId: delivery.id, error },
        'an attempt could not be recorded; the delivery is attempted again when its lease ends',
      )
    } finally {
      free(null)
    }
  }

  async function send(delivery: DueDelivery, signal: AbortSignal): Promise<Exchange> {
    const { eventId, url, body, signers, headers } = delivery
    // Receivers compare it with the clock on their own wall.
    const sentAt = clock.wall()
    const signed = webhookHeaders({ eventId, body, sentAt, signers, daemonKeys: deps.signingKeys })
    const request = { url, headers: { ...headers, ...signed }, body, deadlineMs: options.deadlineMs }
    return withoutEcho(await post(request, signal), headers)
  }

  function takeSlot({ endpointId, url }: DueDelivery): Free {
    const host = hostOf(url)
    let isTaken = true
    busySlots += 1
    hostSlots.take(host)
    inFlightByEndpoint.set(endpointId, (inFlightByEndpoint.get(endpointId) ?? 0) + 1)
    return (end) => {
      if (!isTaken) return
      isTaken = false
      busySlots -= 1
      hostSlots.free(host, end)
      const rest = (inFlightByEndpoint.get(endpointId) ?? 1) - 1
      if (rest === 0) inFlightByEndpoint.delete(endpointId)
      else inFlightByEndpoint.set(endpointId, rest)
      if (isMoreDue) deps.wake()
    }
  }

  function logAttempt({ delivery, exchange, verdict }: AttemptRecord, url: string, applied: number): void {
    const { id, eventId, endpointId, attemptNumber } = delivery
    const fields = {
      event: 'delivery.attempted',
      deliveryId: id,
      eventId,
      endpointId,
      host: hostOf(url),
      attemptNumber,
      isProbe: delivery.isProbe,
      status: exchange.result.kind === 'response' ? exchange.result.status : null,
      durationMs: exchange.durationMs,
      verdict: verdict.kind,
      nextAttemptAt: 'nextAttemptAt' in verdict ? verdict.nextAttemptAt : null,
      isRecorded: applied > 0,
    }
    const message = `attempt ${attemptNumber}: ${describeResult(exchange.result)}; ${verdict.kind}`
    if (isSuccess(exchange.result)) log.info(fields, message)
    else log.warn(fields, message)
  }

  return { tick, noteSettling, drain: inFlight.drain }
}

/** Without what was sent: the store may be in another thread, where every byte of a record is a copy. */
function attempted(delivery: DueDelivery): AttemptedDelivery {
  const { id, eventId, endpointId, slotsMax, attemptNumber, scheduledAttemptCount } = delivery
  const { isManual, isProbe, statusBefore } = delivery
  return {
    id,
    eventId,
    endpointId,
    slotsMax,
    attemptNumber,
    scheduledAttemptCount,
    isManual,
    isProbe,
    statusBefore,
  }
}

function isSuccess(result: AttemptResult): boolean {
  return result.kind === 'response' && result.status >= 200 && result.status <= 299
}

/** A refusal is one endpoint's word and says nothing about its neighbours; silence is its host's. Null: not known. */
function atHost({ result, durationMs }: Exchange): AttemptAtHost | null {
  return result.kind === 'own_fault' ? null : { hasAnswered: result.kind === 'response', durationMs }
}

/** A callback URL's path and query may be a secret of its owner. */
function hostOf(url: string): string {
  return new URL(url).host
}
