/** What time it is at the upstream: it refuses a signature whose timestamp is off, and says in each answer what it goes by. */

import { after, type EpochMs, formatDuration, MINUTE, parseHttpDate, SECOND } from '../../core/time.ts'
import type { Clock, Log } from '../../ports.ts'

export interface UpstreamClock {
  /** For a signature that is made now. */
  now(): EpochMs
  /** Looks at the `Date` of an answer; a clock that is far off is told once, until it is right again. */
  compare(date: string | null): void
  /** Goes by this `Date` from now on. False when it says nothing. */
  follow(date: string | null): boolean
}

/** Far more than an answer is under way for, and still harmless: whoever keeps this clock should hear of it in time. */
const SKEW_MS_MAX = MINUTE

/** Goes by the wall clock until the upstream has once refused it: a proxy on the way may have a clock that is wrong. */
export function createUpstreamClock(wall: Clock['wall'], log?: Pick<Log, 'info' | 'warn'>): UpstreamClock {
  /** What to add to our wall clock to have the upstream's. */
  let offsetMs = 0
  let isSkewed = false

  /** The header is cut to whole seconds: half a second on top halves the error. */
  function aheadMs(date: string | null): number | null {
    const upstreamAt = date === null ? null : parseHttpDate(date)
    return upstreamAt === null ? null : upstreamAt + SECOND / 2 - wall()
  }

  return {
    now: () => after(wall(), offsetMs),
    compare(date) {
      const ms = aheadMs(date)
      if (ms === null || Math.abs(ms) > SKEW_MS_MAX === isSkewed) return
      isSkewed = !isSkewed
      if (!isSkewed) return log?.info({ event: 'clock.agrees' }, "the machine's clock agrees with the upstream's again")
      const skew = `${formatDuration(Math.round(Math.abs(ms) / MINUTE) * MINUTE)} ${ms > 0 ? 'behind' : 'ahead of'}`
      log?.warn(
        { event: 'clock.skewed', aheadMs: -ms },
        `the machine's clock is ${skew} the upstream's: set it, or receivers will refuse our timestamps`,
      )
    },
    follow(date) {
      const ms = aheadMs(date)
      if (ms !== null) offsetMs = ms
      return ms !== null
    },
  }
}
