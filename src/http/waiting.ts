/** Answers that wait for something to happen: bounded in number, and looked after ever more rarely the more there are. */

import { setMaxListeners } from 'node:events'
import { after, type EpochMs, earliest } from '../core/time.ts'
import type { Clock } from '../ports.ts'
import { createRoom } from './room.ts'

export interface WaitingRoom {
  /**
   * Looks again and again until `isOver` or the time is up, the caller has left or the daemon stops; answers with what was
   * seen last. Throws `throttled` when too many wait already.
   */
  until<T>(look: () => Promise<T>, isOver: (seen: T) => boolean, wait: Wait): Promise<T>
}

export interface Wait {
  readonly ms: number
  /** Aborted when the caller has left. */
  readonly left: AbortSignal
}

export interface WaitingRoomDeps {
  readonly clock: Pick<Clock, 'now' | 'wakeAt'>
  /** Aborted when the daemon is about to stop: whoever still waits is answered. */
  readonly stopping?: AbortSignal | undefined
}

const WAITING_MAX = 1000

export function createWaitingRoom({ clock, stopping }: WaitingRoomDeps): WaitingRoom {
  const room = createRoom({ placesMax: WAITING_MAX, bytesMax: 0 })
  // Each of those who wait listens; Node takes more than ten listeners for a leak, and says so on stderr.
  if (stopping !== undefined) setMaxListeners(0, stopping)

  /**
   * A look takes about 0.2 ms of the event loop: the more wait, the rarer each look, so that all of them together never
   * take more than a tenth of it.
   */
  const intervalMs = () => Math.max(250, 2 * room.visitCount())

  return {
    async until(look, isOver, { ms, left }) {
      if (ms === 0) return look()
      const visit = room.enter()
      try {
        const from = clock.now()
        const until = after(from, ms)
        for (;;) {
          const seen = await look()
          const now = clock.now()
          // A clock that was set back ends the wait as well, or it would last until the clock is where it was.
          const isTimeUp = now >= until || now < from
          if (isOver(seen) || isTimeUp || left.aborted || stopping?.aborted === true) return seen
          await pause(clock, earliest(until, after(now, intervalMs())), [left, stopping])
        }
      } finally {
        visit.leave()
      }
    },
  }
}

function pause(
  clock: Pick<Clock, 'wakeAt'>,
  until: EpochMs,
  signals: readonly (AbortSignal | undefined)[],
): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      callOff()
      for (const signal of signals) signal?.removeEventListener('abort', end)
      resolve()
    }
    const callOff = clock.wakeAt(until, end)
    for (const signal of signals) signal?.addEventListener('abort', end)
  })
}
