/**
 * A rate, as one instant: the generic cell rate algorithm (GCRA; ITU-T I.371, annex A).
 *
 * The arrival time says until when the allowance is used up: each thing that leaves moves it on by one spacing. Nothing
 * leaves while it lies further ahead than the tolerance. One number is the whole state, so it is kept in the store and a
 * restart does not forget what was spent. It is fractional: one query may take 0.2 ms of it.
 */

import { after, type EpochMs, epochMs, latest } from './time.ts'

export interface GcraPace {
  /** How far apart, on average. 0: as fast as you like. */
  readonly spacingMs: number
  /** How much earlier than its turn: what leaves late is made up for within it, and that much may leave together. */
  readonly toleranceMs: number
}

export interface Grant {
  readonly grantedCount: number
  /** When the next one will be granted, if none is now. */
  readonly nextGrantAt: EpochMs
}

/**
 * Milliseconds since the epoch leave floating point a precision of 0.0002, lost anew in each sum with a fractional
 * spacing. With less forgiven than that, an arrival that is set anew at each look would never be granted. It is paid for.
 */
const FORGIVEN_MS = 0.001

/** How many of `wantedCount` may leave now. Changes nothing: `spentArrival` does. */
export function grantAt(arrivalAt: number, pace: GcraPace, now: EpochMs, wantedCount: number): Grant {
  const freeMs = pace.toleranceMs - Math.max(0, arrivalAt - now)
  const nextGrantAt = latest(epochMs(Math.ceil(arrivalAt - pace.toleranceMs - FORGIVEN_MS)), after(now, 1))
  if (freeMs < -FORGIVEN_MS) return { grantedCount: 0, nextGrantAt }
  const allowedCount = pace.spacingMs === 0 ? wantedCount : Math.floor((freeMs + FORGIVEN_MS) / pace.spacingMs) + 1
  return { grantedCount: Math.min(allowedCount, wantedCount), nextGrantAt }
}

/** The arrival time after `count` of them left at `now`. */
export function spentArrival(arrivalAt: number, pace: GcraPace, now: EpochMs, count: number): number {
  return Math.max(arrivalAt, now) + count * pace.spacingMs
}

/** The arrival time under which nothing is granted before `until`. */
export function heldArrival(arrivalAt: number, toleranceMs: number, until: EpochMs): number {
  return Math.max(arrivalAt, until + toleranceMs)
}
