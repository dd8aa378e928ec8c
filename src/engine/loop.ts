/**
 * A tick becomes a service: run again when woken, when the tick said so, or after a while.
 *
 * A tick does a bounded amount of work and says when there will be more. A wake-up during a tick makes it run again right
 * after, so none is lost. A tick that throws is a bug or a failing disk: it is logged, and the loop goes on.
 *
 * Loops that have nothing to do wake on a common beat: one wake-up of the process then serves all of them, and one message
 * to the thread of the store.
 */

import { after, type EpochMs, earliest, epochMs } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'

export interface Loop {
  start(): void
  /** There may be something to do now. */
  wake(): void
  /** There will be something to do at `at`: sleep no longer than that. */
  wakeBy(at: EpochMs): void
  /** Resolves when the last tick has ended; none starts any more. */
  stop(): Promise<void>
}

/** Does a bounded amount of work. Says when to run again at the latest; null means only when woken. */
export type Tick = () => Promise<EpochMs | null>

export interface LoopOptions {
  readonly clock: Pick<Clock, 'now' | 'soon' | 'wakeAt'>
  readonly log: Log
  /** From one beat to the next, the longest sleep: due times are exact, this is the net below them. */
  readonly idleMs: number
  /** One of the beats, to be shared with other loops. */
  readonly beatAt?: EpochMs
  /** How long to wait after a tick that threw. */
  readonly failureMs: number
  /** Tells that a tick has ended, well or not, for those who watch over the loop. */
  readonly onTick?: () => void
}

const END_OF_TIME = epochMs(8.64e15)

export function createLoop(name: string, tick: Tick, options: LoopOptions): Loop {
  const { clock, log, idleMs, failureMs, beatAt = clock.now() } = options
  let state: 'new' | 'sleeping' | 'ticking' | 'stopped' = 'new'
  let wakeAt: EpochMs = clock.now()
  let callOff = () => {}
  let running: Promise<void> = Promise.resolve()

  function wakeBy(at: EpochMs): void {
    if (at >= wakeAt) return
    wakeAt = at
    if (state !== 'sleeping') return
    callOff()
    sleepOrRun()
  }

  function sleepOrRun(): void {
    // A clock that was set back must not make the net below the due times longer.
    wakeAt = earliest(wakeAt, after(clock.now(), Math.max(idleMs, failureMs)))
    if (wakeAt > clock.now()) {
      state = 'sleeping'
      callOff = clock.wakeAt(wakeAt, sleepOrRun)
    } else {
      state = 'ticking'
      // Not at once: what else this turn of the event loop sets free is better asked for together.
      running = new Promise((resolve) => clock.soon(() => resolve(run())))
    }
  }

  async function run(): Promise<void> {
    while (state === 'ticking') {
      wakeAt = END_OF_TIME
      // Woken during the tick is woken after it: the tick may have looked too early.
      wakeBy(await runTick())
      if (state !== 'ticking') return
      if (wakeAt > clock.now()) return sleepOrRun()
    }
  }

  async function runTick(): Promise<EpochMs> {
    try {
      const nextAt = await tick()
      return nextAt === null ? nextBeatAt() : earliest(nextAt, nextBeatAt())
    } catch (error) {
      log.error({ event: 'loop.failed', loop: name, error }, `${name}: a tick failed; the next in ${failureMs} ms`)
      return after(clock.now(), failureMs)
    } finally {
      options.onTick?.()
    }
  }

  function nextBeatAt(): EpochMs {
    const beatCount = Math.floor((clock.now() - beatAt) / idleMs)
    return after(beatAt, (beatCount + 1) * idleMs)
  }

  return {
    start() {
      if (state === 'new') sleepOrRun()
    },
    wake: () => wakeBy(clock.now()),
    wakeBy,
    async stop() {
      callOff()
      state = 'stopped'
      await running
    },
  }
}
