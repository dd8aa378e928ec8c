/** How long each step of opening a connection took: look-up, TCP, TLS. */

import type { Timings } from '../ports.ts'

type Times = Omit<Timings, 'answerMs'>

export interface Stopwatch {
  /** The step has ended; it began when the one before it did, or when the watch was made. */
  lap(step: keyof Times): void
  times(): Times
}

/** `now`: milliseconds of a clock that never jumps. */
export function createStopwatch(now: () => number): Stopwatch {
  const times: { -readonly [step in keyof Times]: Times[step] } = { dnsMs: null, connectMs: null, tlsMs: null }
  let since = now()
  return {
    lap(step) {
      const at = now()
      // Of a name with several addresses the last one counts, which is the one that answered.
      times[step] = Math.round((times[step] ?? 0) + at - since)
      since = at
    },
    times: () => times,
  }
}
