/**
 * What one receiver may have: how many attempts at once, it or its host, and how many a second.
 *
 * Silence and overload halve it, a success doubles it: a receiver that hangs soon holds one slot and not all it may have,
 * and one that was down is brought back from one at a time, whether it came back by itself or a person enabled it again.
 * Any other answer changes nothing: it came at once and held up nobody, and one that fails each webhook the first time
 * would otherwise get a long backlog one by one.
 */

import type { AttemptResult, NoResponseReason } from './delivery.ts'
import type { GcraPace } from './gcra.ts'
import { parseRetryAfter } from './retry.ts'
import { type EpochMs, MINUTE, SECOND } from './time.ts'

/**
 * How a receiver bears what it is sent. `silent`: it is not there, or holds a slot for nothing. `answering`: somebody is
 * there, though nothing good came of it.
 */
export type Bearing = 'well' | 'answering' | 'overloaded' | 'silent'

const OVERLOAD_STATUSES: ReadonlySet<number> = new Set([429, 503])
/** A connection that was reset, or spoke something else than HTTP, was taken first. */
const TAKEN: ReadonlySet<NoResponseReason> = new Set(['reset', 'protocol'])

/** Null for what says nothing about the receiver: our own fault. */
export function bearingOf(result: AttemptResult): Bearing | null {
  if (result.kind === 'own_fault') return null
  if (result.kind === 'no_response') return TAKEN.has(result.reason) ? 'answering' : 'silent'
  if (result.status >= 200 && result.status <= 299) return 'well'
  return OVERLOAD_STATUSES.has(result.status) ? 'overloaded' : 'answering'
}

/** Null: as many as it may have at all. That is what is kept of a receiver that works: nothing. */
export type Allowance = number | null

/** Where whoever was sent nothing for a while begins, when a backlog waits. */
export const ALLOWANCE_MIN = 1

/** What is allowed after one more attempt came to an end. `max`: what it may have at all. */
export function allowanceAfter(slots: Allowance, max: number, isSuccess: boolean): Allowance {
  const allowed = allowedSlots(slots, max)
  const next = isSuccess ? allowed * 2 : Math.max(ALLOWANCE_MIN, Math.floor(allowed / 2))
  return next >= max ? null : next
}

/** The number itself; the maximum may have been lowered since. */
export function allowedSlots(slots: Allowance, max: number): number {
  return Math.min(slots ?? max, max)
}

/** It rests for a quarter of the time for which it has been failing: seldom asked, and found out soon. */
const REST_SHARE = 0.25
const REST_MS_MAX = 15 * SECOND

/** How long whoever has one slot left, and failed again, is sent nothing at all. */
export function restMs(failingForMs: number): number {
  return Math.round(Math.min(Math.max(failingForMs, 0) * REST_SHARE, REST_MS_MAX))
}

/** What one webhook was answered holds up the others of its endpoint no longer than this: then one of them asks again. */
const HOLD_MS_MAX = MINUTE

/** How long whoever said "not now, but then" (429 or 503 with Retry-After) is sent nothing at all. */
export function holdMs(result: AttemptResult, now: EpochMs): number {
  if (result.kind !== 'response' || bearingOf(result) !== 'overloaded') return 0
  return Math.min(parseRetryAfter(result.retryAfter, now) ?? 0, HOLD_MS_MAX)
}

/** What leaves a little late, because we were busy, may be made up for within this: or the rate would never be reached. */
export const ENDPOINT_TOLERANCE_MS = 100

/** Who fails now and then has a success within this. */
const FAILING_MS = SECOND
/** Attempts a second at whoever has done nothing but fail, at first and for long. */
const FAILING_RATE_MAX = 100
const LONG_FAILING_RATE_MAX = 20
/** Longer than the first wait of the schedule: whoever fails each webhook the first time has had a success by then. */
const LONG_FAILING_MS = 10 * SECOND

/**
 * `rateMax`: attempts a second; null: as fast as its slots allow. `failingMs`: for how long it has done nothing but fail;
 * null: it works. One that answers 500 at once would otherwise go through a backlog of fifty thousand as fast as we can
 * send, at the cost of everybody else; its next success ends that.
 */
export function endpointPace(rateMax: number | null, failingMs: number | null): GcraPace {
  const ownSpacingMs = rateMax === null ? 0 : SECOND / rateMax
  return { spacingMs: Math.max(ownSpacingMs, failingSpacingMs(failingMs)), toleranceMs: ENDPOINT_TOLERANCE_MS }
}

function failingSpacingMs(failingMs: number | null): number {
  if (failingMs === null || failingMs < FAILING_MS) return 0
  return SECOND / (failingMs < LONG_FAILING_MS ? FAILING_RATE_MAX : LONG_FAILING_RATE_MAX)
}

/** Where quick receivers take milliseconds, one that takes longer than this holds a slot that would serve a hundred. */
const SLOW_MS = SECOND
/** One that was slow is quick again below this: around one limit alone it would be either by turns. */
const QUICK_MS = SECOND / 2

/** Whether it counts among those that share a part of the slots, however well it answers in the end. */
export function isSlow(durationMs: number, wasSlow: boolean): boolean {
  return durationMs > (wasSlow ? QUICK_MS : SLOW_MS)
}
