/**
 * Virtual time: one true time that only goes forward, the machine's clock, which may be set to anything, and the daemon's
 * own time, which starts at the machine's clock and follows it when the daemon decides to. What is due runs in the order
 * in which it falls due; between two instants everything comes to rest.
 */

import { after, type EpochMs, epochMs, MINUTE } from '../../src/core/time.ts'
import type { Clock } from '../../src/ports.ts'
import { START } from '../support/store.ts'

export interface VirtualTime {
  /** True milliseconds since the start of the history. */
  now(): number
  /** What the daemon's clock shows. */
  wall(): EpochMs
  /** What the machine's clock shows. */
  machine(): EpochMs
  /** Somebody sets the machine's clock. */
  setWall(byMs: number): void
  /** Runs at the true time `at`; returns how to call it off. */
  at(at: number, run: () => void): () => void
  /** Moves from event to event until `until`, or until `isEnough`. */
  run(until: number, isEnough?: () => boolean): Promise<void>
  /**
   * A clock as one daemon sees it: it dies with its process and stands still while the process is stopped. No timer is
   * longer than `timerMsMax`: those of a real machine are not, and virtual days need not be full of them.
   */
  clockOf(process: Process, timerMsMax?: number): Clock
  /** Something from outside reaches a process, not before it runs again; a dead one it never reaches. */
  reach(process: Process, delayMs: number, run: () => void): () => void
}

/** What of the operating system's process time has to know. */
export interface Process {
  readonly isDead: () => boolean
  /** SIGSTOP until this true time: nothing of the process runs before. */
  readonly stoppedUntil: () => number
}

interface Timer {
  readonly at: number
  readonly phase: Phase
  readonly order: number
  readonly run: () => void
  isOff: boolean
}

/** Of two that are due at one instant a process sees its own timers before what comes in from outside, as Node does. */
type Phase = 0 | 1
const OWN_TIMERS: Phase = 0
const FROM_OUTSIDE: Phase = 1

/** Many events at one instant are normal; this many are a loop that spins without time passing. */
const EVENTS_PER_INSTANT_MAX = 20_000
/** Looks at the clock in one turn of the event loop: more are a chain of promises that never lets anything else run. */
const LOOKS_PER_TURN_MAX = 100_000

export function createVirtualTime(): VirtualTime {
  let now = 0
  let machineOffset: number = START
  let wallOffset: number = START
  let order = 0
  let instantEvents = 0
  let looks = 0
  const heap: Timer[] = []
  const soon: (() => void)[] = []

  const wall = () => epochMs(now + wallOffset)
  const machine = () => epochMs(now + machineOffset)
  const isBefore = (a: Timer, b: Timer) =>
    a.at !== b.at ? a.at < b.at : a.phase !== b.phase ? a.phase < b.phase : a.order < b.order

  function push(timer: Timer): void {
    let index = heap.push(timer) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(timer, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = timer
  }

  function pop(): Timer | undefined {
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1
      if (!isBefore(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return first
  }

  function at(at: number, run: () => void, phase = OWN_TIMERS): () => void {
    const timer = { at: Math.max(at, now), phase, order: order++, run, isOff: false }
    push(timer)
    return () => {
      timer.isOff = true
    }
  }

  /** One turn of the event loop runs every promise that is on its way; what was asked for "soon" comes between turns. */
  async function settle(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve))
      if (looks > LOOKS_PER_TURN_MAX) throw spinning()
      looks = 0
      const run = soon.shift()
      if (run === undefined) return
      countEvent()
      run()
    }
  }

  function countEvent(): void {
    instantEvents += 1
    if (instantEvents > EVENTS_PER_INSTANT_MAX) throw spinning()
  }

  /** Throws into a chain that spins, as nothing else can end it. */
  function look(): EpochMs {
    looks += 1
    if (looks > LOOKS_PER_TURN_MAX) throw spinning()
    return wall()
  }

  function spinning(): Error {
    return new Error(`time stands still at ${now}: something spins`)
  }

  async function run(until: number, isEnough = () => false): Promise<void> {
    await settle()
    while (!isEnough()) {
      const timer = heap[0]
      if (timer === undefined || timer.at > until) break
      pop()
      if (timer.isOff) continue
      if (timer.at > now) instantEvents = 0
      now = timer.at
      countEvent()
      timer.run()
      await settle()
    }
    if (!isEnough()) now = Math.max(now, until)
  }

  /** A stopped process finds its timers overdue when it goes on. */
  function whenRunning(process: Process, run: () => void, phase = OWN_TIMERS): void {
    if (process.isDead()) return
    if (process.stoppedUntil() > now) at(process.stoppedUntil(), () => whenRunning(process, run, phase), phase)
    else run()
  }

  function reach(process: Process, delayMs: number, run: () => void, phase = FROM_OUTSIDE): () => void {
    let isOff = false
    const callOff = at(now + delayMs, () => whenRunning(process, () => (isOff ? undefined : run()), phase), phase)
    return () => {
      isOff = true
      callOff()
    }
  }

  function clockOf(process: Process, timerMsMax: number = MINUTE): Clock {
    wallOffset = machineOffset
    return {
      now: look,
      wall: machine,
      countSleep: () => 0,
      moveBy(byMs) {
        wallOffset += byMs
      },
      wakeAt: (wakeAt, wake) => reach(process, Math.min(Math.max(0, wakeAt - wall()), timerMsMax), wake, OWN_TIMERS),
      soon: (run) => void soon.push(() => whenRunning(process, run)),
    }
  }

  return {
    now: () => now,
    wall,
    machine,
    setWall(byMs) {
      machineOffset = after(epochMs(machineOffset), byMs)
    },
    at,
    run,
    clockOf,
    reach,
  }
}
