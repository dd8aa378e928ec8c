/** Work that is out in the world: counted while it holds a slot, awaited or aborted when the daemon stops. */

import { setMaxListeners } from 'node:events'
import { createRoll } from '../core/roll.ts'
import { after } from '../core/time.ts'
import type { Clock } from '../ports.ts'

export interface InFlight {
  /** Starts `work` and keeps it until it has ended. `work` must not reject. */
  track(work: (signal: AbortSignal) => Promise<void>): void
  /**
   * Waits for what is under way. What has not ended after `graceMs` is aborted, so that it can be given back. Resolves
   * when all of it has ended.
   */
  drain(graceMs: number): Promise<void>
}

export function createInFlight(clock: Pick<Clock, 'now' | 'wakeAt'>): InFlight {
  const running = createRoll<Promise<void>>()
  const abort = new AbortController()
  // Each piece of work listens to it; Node takes more than ten listeners for a leak.
  setMaxListeners(0, abort.signal)

  return {
    track(work) {
      const done = work(abort.signal).finally(() => leave())
      const leave = running.enter(done)
    },
    async drain(graceMs) {
      const endAt = after(clock.now(), graceMs)
      let callOff = () => {}
      // The clock wakes once a minute in any case.
      const look = () => {
        if (clock.now() >= endAt) abort.abort()
        else callOff = clock.wakeAt(endAt, look)
      }
      look()
      while (running.count() > 0) await Promise.all(running.members())
      callOff()
    },
  }
}
