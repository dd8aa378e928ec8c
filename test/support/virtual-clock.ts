/** Time that passes only when a test says so. What is due "soon" runs in order, before time moves on. */

import { type EpochMs, epochMs, MINUTE } from '../../src/core/time.ts'
import type { Clock } from '../../src/ports.ts'
import { START } from './store.ts'

interface Timer {
  readonly at: number
  readonly order: number
  readonly wake: () => void
}

export interface VirtualClock extends Clock {
  /** Lets everything run that can run without time passing. */
  settle(): Promise<void>
  /** Moves on from timer to timer until `at`, everything run that falls due. */
  runUntil(at: EpochMs): Promise<void>
  runFor(ms: number): Promise<void>
  /** Somebody sets the machine's clock. */
  setWall(byMs: number): void
  /** The machine sleeps: nothing runs, and afterwards its wall clock shows that time has passed. */
  sleep(ms: number): void
  /** Another process starts: its clock is the machine's. */
  restart(): void
  /** How much time has passed since the start, whatever any clock shows, without sleep. */
  elapsedMs(): number
}

/** Turns of the event loop without any sign of work after which nothing is on its way any more. */
const QUIET_TURNS = 4

export function createVirtualClock(start: EpochMs = START): VirtualClock {
  /** Timers go by it: it is never set. */
  let now: number = start
  /** What `now()` is ahead of it, what the wall clock is, and how much sleep is not counted yet. */
  let movedMs = 0
  let wallMs = 0
  let sleptMs = 0
  let order = 0
  let stirs = 0
  const timers = new Set<Timer>()

  const nextTimer = () =>
    [...timers].reduce<Timer | null>(
      (first, timer) =>
        first === null || timer.at < first.at || (timer.at === first.at && timer.order < first.order) ? timer : first,
      null,
    )

  async function settle(): Promise<void> {
    for (let quiet = 0; quiet < QUIET_TURNS; quiet += 1) {
      const before = stirs
      await new Promise((resolve) => setImmediate(resolve))
      if (stirs !== before) quiet = -1
    }
  }

  async function runUntil(at: EpochMs): Promise<void> {
    await settle()
    const end = at - movedMs
    for (let timer = nextTimer(); timer !== null && timer.at <= end; timer = nextTimer()) {
      timers.delete(timer)
      now = Math.max(now, timer.at)
      timer.wake()
      await settle()
    }
    now = Math.max(now, end)
  }

  return {
    now: () => epochMs(now + movedMs),
    wall: () => epochMs(now + wallMs),
    countSleep() {
      const countedMs = sleptMs
      movedMs += countedMs
      sleptMs = 0
      return countedMs
    },
    moveBy(byMs) {
      movedMs += byMs
    },
    wakeAt(at, wake) {
      order += 1
      const timer = { at: Math.min(Math.max(at - movedMs, now), now + MINUTE), order, wake }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    soon(run) {
      stirs += 1
      setImmediate(run)
    },
    settle,
    runUntil,
    runFor: (ms) => runUntil(epochMs(now + movedMs + ms)),
    setWall(byMs) {
      wallMs += byMs
    },
    sleep(ms) {
      wallMs += ms
      sleptMs += ms
    },
    restart() {
      movedMs = wallMs
      sleptMs = 0
    },
    elapsedMs: () => now - start,
  }
}
