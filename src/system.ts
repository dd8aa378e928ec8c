/** The real clock, chance and ids behind their ports, and what is asked of the machine that runs us. */

import { randomBytes } from 'node:crypto'
import { uptime } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { ENTROPY_BYTES, encodeId } from './core/ids.ts'
import { type EpochMs, epochMs, MINUTE, SECOND } from './core/time.ts'
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

/**
 * Ids of one millisecond count on from the first of them, which is chance (as ULID's monotonic variant does): each goes to
 * the very end of its index, where chance would split pages in the middle and dirty three for each that is full.
 */
function createNewId(now: () => EpochMs): NewId {
  let at: EpochMs | null = null
  let entropy = new Uint8Array(ENTROPY_BYTES)
  return (prefix) => {
    const instant = now()
    if (instant === at) increment(entropy)
    else {
      at = instant
      entropy = randomBytes(ENTROPY_BYTES)
    }
    return encodeId(prefix, instant, entropy)
  }
}

/** As a number, the high byte first; after the last comes the first. */
function increment(bytes: Uint8Array): void {
  for (let index = bytes.length - 1; index >= 0; index -= 1) {
    const next = ((bytes[index] ?? 0) + 1) & 0xff
    bytes[index] = next
    if (next !== 0) return
  }
}

export const systemNewId: NewId = createNewId(systemClock.now)

/**
 * undici parses answers with WebAssembly. V8 compiles its one large function a second time, optimised, after the very first
 * of them, which takes 30 MiB of memory for a moment and 0.2 s of CPU (on Node 20; 15 MiB on 22), and makes a request of
 * 30 µs cheaper by no more than the measurement scatters (2 µs).
 *
 * To be called before undici opens a connection and after all modules are loaded: V8 refuses the code that Node brings along
 * compiled under other flags, and compiling it anew took 0.2 s of the start.
 */
export function skipOptimizingWebAssembly(): void {
  setFlagsFromString('--liftoff-only')
}
