/**
 * A clock that was set forward makes all that was noted before it look older than it is. This remembers by how much, so
 * that nothing is forgotten before its time.
 */

import { DAY, type EpochMs, epochMs } from './time.ts'

export interface MovedClock {
  /** What the clock showed when it had been set. */
  readonly at: EpochMs
  readonly byMs: number
}

/** Less is nothing to those who keep things for days, and a virtual machine that is halted every night would add up. */
const REMEMBERED_MS_MIN = DAY

/** What is to be remembered after the clock was moved to `now` by `byMs`; null for nothing. */
export function afterMove(before: MovedClock | null, now: EpochMs, byMs: number): MovedClock | null {
  if (byMs >= REMEMBERED_MS_MIN) return { at: now, byMs: byMs + (before?.byMs ?? 0) }
  if (before === null || byMs >= 0) return before
  // Set back again: what it had been moved too far is taken off.
  const restMs = before.byMs + byMs
  return restMs < REMEMBERED_MS_MIN ? null : { at: epochMs(before.at + byMs), byMs: restMs }
}

/** What the clock showed then, if it was not set yet at `at`. */
export function asItShowed(at: EpochMs, moved: MovedClock | null): EpochMs {
  return moved === null || at >= moved.at ? at : epochMs(at - moved.byMs)
}
