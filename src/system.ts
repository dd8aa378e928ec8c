/** The real clock, chance and ids behind their ports. */

import { randomBytes } from 'node:crypto'
import { uptime } from 'node:os'
import { ENTROPY_BYTES, encodeId } from './core/ids.ts'
import { epochMs, MINUTE, SECOND } from './core/time.ts'
import type { Clock, NewId } from './ports.ts'

/** A timer further away than 2^31 ms fires at once; all are looked at again after a minute at the latest. */
const TIMER_MS_MAX = MINUTE

/** The machine counts its uptime in hundredths of a second, some in whole ones: less than this may be rounding. */
const SLEEP_MS_MIN = 2 * SECOND

export interface TimeSources {
  /** Milliseconds since 1970; anybody may set it. */
  readonly wallMs: () => number
  /** Never set and never back, from any start; on most systems it stands still while the machine sleeps. */
  readonly steadyMs: () => number
  /** Since the machine started, sleep included. */
  readonly uptimeMs: () => number
}

const SOURCES: TimeSources = {
  wallMs: () => Date.now(),
  steadyMs: () => performance.now(),
  uptimeMs() {
    try {
      return uptime() * SECOND
    } catch {
      // Some containers do not tell it. Then sleep looks like a clock that was set: waits go on where they were.
      return performance.now()
    }
  },
}

/**
 * A clock that starts at the wall clock and then goes by the steady one. Reading the uptime instead of the steady clock
 * would count sleep by itself, but it is a file of the kernel (20 µs) and not exact to the millisecond.
 */
export function createClock({ wallMs, steadyMs, uptimeMs }: TimeSources): Clock {
  let aheadMs = wallMs() - steadyMs()
  let sleptMsBefore = uptimeMs() - steadyMs()
  const now = () => epochMs(steadyMs() + aheadMs)
  return {
    now,
    wall: () => epochMs(wallMs()),
    countSleep() {
      const sleptMs = Math.round(uptimeMs() - steadyMs() - sleptMsBefore)
      if (sleptMs < SLEEP_MS_MIN) return 0
      sleptMsBefore += sleptMs
      aheadMs += sleptMs
      return sleptMs
    },
    moveBy(byMs) {
      aheadMs += byMs
    },
    wakeAt(at, wake) {
      const timer = setTimeout(wake, Math.min(Math.max(0, at - now()), TIMER_MS_MAX))
      return () => clearTimeout(timer)
    },
    soon: (run) => void setImmediate(run),
  }
}

export const systemClock: Clock = createClock(SOURCES)

/** How long the process has been computing, in all its threads. */
export function systemCpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000
}

/** Random bytes are fetched in blocks: one call to the kernel serves some hundred ids. */
const POOL_BYTES = ENTROPY_BYTES * 400
let pool = Buffer.alloc(0)

function entropy(): Uint8Array {
  if (pool.length < ENTROPY_BYTES) pool = randomBytes(POOL_BYTES)
  const bytes = pool.subarray(0, ENTROPY_BYTES)
  pool = pool.subarray(ENTROPY_BYTES)
  return bytes
}

export const systemNewId: NewId = (prefix) => encodeId(prefix, systemClock.now(), entropy())
