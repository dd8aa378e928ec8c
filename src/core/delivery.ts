/** A delivery: the duty to bring one event to one endpoint. What an attempt came to, and what follows from it. */

import type { CustomHeaders } from './custom-headers.ts'
import type { Signer } from './endpoint.ts'
import type { DeliveryId, EndpointId, EventId } from './ids.ts'
import { jittered, parseRetryAfter, retryEffectOf } from './retry.ts'
import { after, type EpochMs, SECOND } from './time.ts'

/** `delivered` and `exhausted` end the automatic attempts; a person may still redeliver, which makes it pending again. */
export const DELIVERY_TRANSITIONS = {
  pending: ['delivered', 'exhausted', 'canceled'],
  delivered: ['pending'],
  exhausted: ['pending'],
  canceled: [],
} as const satisfies Record<string, readonly string[]>

export type DeliveryStatus = keyof typeof DELIVERY_TRANSITIONS

export const DELIVERY_STATUSES = Object.keys(DELIVERY_TRANSITIONS) as readonly DeliveryStatus[]

/** What has to be known of a delivery to judge what came of an attempt, and to record it. */
export interface AttemptedDelivery {
  readonly id: DeliveryId
  readonly eventId: EventId
  readonly endpointId: EndpointId
  /** How many attempts its endpoint may have at once while it works. */
  readonly slotsMax: number
  /** 1-based, counting every attempt that was made, by the schedule or by a person. */
  readonly attemptNumber: number
  /** Attempts by the schedule so far; those of a person do not use it up. */
  readonly scheduledAttemptCount: number
  /** A person asked for this attempt. */
  readonly isManual: boolean
  /** It tries whether a disabled endpoint works again: the delivery's own attempts are still to come. */
  readonly isProbe: boolean
  /** Where the delivery returns to when a person's attempt fails. */
  readonly statusBefore: DeliveryStatus
}

/** With all that it takes to send it. */
export interface DueDelivery extends AttemptedDelivery {
  readonly url: string
  readonly body: string
  /** Each of them signs. */
  readonly signers: readonly Signer[]
  /** What its receiver wants besides ours. */
  readonly headers: CustomHeaders
}

/** Why no status line came from the receiver. */
export type NoResponseReason = 'timeout' | 'connect' | 'reset' | 'dns' | 'tls' | 'protocol' | 'blocked_address'

/** Why we did not send, or could not know: nothing the receiver did. */
export type OwnFault = 'shutdown' | 'no_file_handles' | 'our_dns' | 'network_down' | 'internal'

export type AttemptResult =
  | { readonly kind: 'response'; readonly status: number; readonly retryAfter: string | null }
  | { readonly kind: 'no_response'; readonly reason: NoResponseReason; readonly detail: string }
  | { readonly kind: 'own_fault'; readonly reason: OwnFault; readonly detail: string }

export type Verdict =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'retry'; readonly nextAttemptAt: EpochMs }
  | { readonly kind: 'exhausted' }
  /** A probe failed, or a person's attempt on a settled delivery: the delivery is again what it was before. */
  | { readonly kind: 'unchanged' }
  /** The attempt does not count: as if it had not been made. */
  | { readonly kind: 'give_back'; readonly nextAttemptAt: EpochMs }

export interface Judgement {
  readonly verdict: Verdict
  /** 410 says that the endpoint is gone for good: stop sending to it. */
  readonly isEndpointGone: boolean
}

export interface JudgeInput {
  readonly delivery: Pick<DueDelivery, 'scheduledAttemptCount' | 'isManual' | 'isProbe' | 'statusBefore'>
  readonly result: AttemptResult
  readonly now: EpochMs
  /** The wait before attempt n is entry n (1-based). */
  readonly scheduleMs: readonly number[]
  /** In [0, 1). */
  readonly random: number
}

/** About how long to leave a delivery alone after a fault of our own, which is rarely gone at once. */
const GIVE_BACK_DELAY_MS = 5 * SECOND

/** The retry contract (retry.ts) applied to one attempt of one delivery. */
export function judge({ delivery, result, now, scheduleMs, random }: JudgeInput): Judgement {
  const effect = retryEffectOf(result)
  if (effect === 'give_back') {
    const isStopping = result.kind === 'own_fault' && result.reason === 'shutdown'
    const delayMs = isStopping ? 0 : jittered(GIVE_BACK_DELAY_MS, random)
    return { verdict: { kind: 'give_back', nextAttemptAt: after(now, delayMs) }, isEndpointGone: false }
  }
  if (effect === 'deliver') return { verdict: { kind: 'delivered' }, isEndpointGone: false }
  const isEndpointGone = effect === 'retry_and_disable'
  if (delivery.isProbe) return { verdict: { kind: 'unchanged' }, isEndpointGone }
  // A person's attempt on a delivery whose schedule had ended is one attempt, not a new schedule.
  if (delivery.isManual && delivery.statusBefore !== 'pending')
    return { verdict: { kind: 'unchanged' }, isEndpointGone }
  const madeCount = delivery.scheduledAttemptCount + (delivery.isManual ? 0 : 1)
  const waitMs = scheduleMs[madeCount]
  if (waitMs === undefined) return { verdict: { kind: 'exhausted' }, isEndpointGone }
  const askedMs = effect === 'retry_no_sooner' ? askedWaitMs(result, now) : 0
  const delayMs = Math.max(jittered(waitMs, random), askedMs)
  return { verdict: { kind: 'retry', nextAttemptAt: after(now, delayMs) }, isEndpointGone }
}

function askedWaitMs(result: AttemptResult, now: EpochMs): number {
  return result.kind === 'response' ? (parseRetryAfter(result.retryAfter, now) ?? 0) : 0
}

/** One line for the log and the attempt list. */
export function describeResult(result: AttemptResult): string {
  return result.kind === 'response' ? `HTTP ${result.status}` : `${result.reason}: ${result.detail}`
}
