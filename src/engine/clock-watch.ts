/**
 * Notices that the machine's clock was set, and brings the daemon's own time after it without a wait becoming longer or
 * shorter: whatever is stored as an instant to come moves by as much as the clock was set.
 *
 * The order of the two is what makes it exact. The clock moves and the store is told in one turn of the event loop, and
 * the store does its steps in order: those before were reckoned by the old time and are moved with the rest, those after
 * by the new one. What is in memory by the old time is told by `onMoved`.
 *
 * Time for which the machine slept has really passed and is only counted. A virtual machine that was halted cannot tell
 * that from a clock that was set: then waits go on where they were.
 *
 * A crash between the move and its commit: a clock that was set back is found at the next start (its database has seen a
 * later instant), one that was set forward looks like a daemon that was off for as long.
 */

import { after, type EpochMs, formatDuration, SECOND, toIso } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'
import type { Store } from '../store/store.ts'

export interface ClockWatch {
  /** Costs two looks at clocks as long as they agree: may be called before every piece of work. */
  look(): void
}

export interface ClockWatchDeps {
  readonly clock: Pick<Clock, 'now' | 'wall' | 'countSleep' | 'moveBy'>
  readonly store: Pick<Store, 'moveInstants'>
  readonly log: Log
  /** All that is kept in memory by the daemon's time is now another time. */
  readonly onMoved: (byMs: number) => void
}

/** A clock that is disciplined over the network is slewed and not set when it is wrong by less. */
const APART_MS_MAX = 5 * SECOND
/**
 * After a move that the store refused. A refusal takes no turn of the event loop, and each move wakes all loops: tried
 * again at once, the two would keep one another awake and nothing else would ever run.
 */
const RETRY_MS = SECOND

export function createClockWatch({ clock, store, log, onMoved }: ClockWatchDeps): ClockWatch {
  const apartMs = () => clock.wall() - clock.now()
  let retryAt: EpochMs | null = null
  const isRetryingLater = () => retryAt !== null && clock.now() < retryAt

  function move(byMs: number): Promise<void> {
    clock.moveBy(byMs)
    const moving = store.moveInstants({ now: clock.now(), byMs })
    onMoved(byMs)
    return moving
  }

  function follow(byMs: number): void {
    retryAt = null
    const back = byMs < 0
    const how = `set ${back ? 'back' : 'forward'} by ${inSeconds(Math.abs(byMs))}`
    log.warn(
      { event: 'clock.jumped', mark: back ? 'clock_jump_back' : 'clock_jump_forward', byMs, wall: toIso(clock.wall()) },
      `the machine's clock was ${how}: all that waits moves with it`,
    )
    move(byMs).catch((error: unknown) => {
      log.error({ event: 'clock.move_failed', error }, 'what waits could not be moved with the clock: tried again')
      clock.moveBy(-byMs)
      retryAt = after(clock.now(), RETRY_MS)
      onMoved(-byMs)
    })
  }

  return {
    look() {
      if (Math.abs(apartMs()) <= APART_MS_MAX || isRetryingLater()) return
      const sleptMs = clock.countSleep()
      if (sleptMs > 0)
        log.info({ event: 'clock.slept', mark: 'sleep_resume', sleptMs }, `the machine slept for ${inSeconds(sleptMs)}`)
      const byMs = apartMs()
      if (Math.abs(byMs) > APART_MS_MAX) follow(byMs)
    },
  }
}

function inSeconds(ms: number): string {
  return formatDuration(Math.round(ms / SECOND) * SECOND)
}
