/** One total deadline over each query, however often it asks. */

import { createRoll } from '../../core/roll.ts'

export type DeadlineEnd = 'timed_out' | 'given_up'

export interface Deadline {
  /** Null while it runs. */
  how(): DeadlineEnd | null
  /** Calls back once when the time is over or the caller has given up. The last one given is the one that is called. */
  onEnd(act: () => void): void
  release(): void
}

interface Running {
  readonly caller: AbortSignal
  giveUp(): void
}

export interface Deadlines {
  /** Given up when `caller` is aborted. */
  start(caller: AbortSignal): Deadline
  giveUpAll(): void
}

/**
 * A timer of its own for each query, because undici's start anew with every chunk: a body dripped one byte at a time
 * never ends by them. An `AbortController` for each was tried: with its promise and its listeners it took 15 µs a query.
 */
export function createDeadlines(timeoutMs: number): Deadlines {
  const running = createRoll<Running>()
  const watchedSignals = new WeakSet<AbortSignal>()

  /** One listener however many queries share the signal: Node warns of a leak at the eleventh. */
  function watch(caller: AbortSignal): void {
    if (watchedSignals.has(caller)) return
    watchedSignals.add(caller)
    caller.addEventListener('abort', () => giveUpThose((own) => own === caller), { once: true })
  }

  function giveUpThose(isMeant: (caller: AbortSignal) => boolean): void {
    for (const { caller, giveUp } of running.members()) if (isMeant(caller)) giveUp()
  }

  return {
    start(caller) {
      watch(caller)
      let how: DeadlineEnd | null = null
      let act = (): void => {}
      function end(as: DeadlineEnd): void {
        if (how !== null) return
        how = as
        release()
        act()
      }
      const timer = setTimeout(end, timeoutMs, 'timed_out')
      const leave = running.enter({ caller, giveUp: () => end('given_up') })
      function release(): void {
        clearTimeout(timer)
        leave()
      }
      return {
        how: () => how,
        onEnd: (then) => {
          act = then
        },
        release,
      }
    },
    giveUpAll: () => giveUpThose(() => true),
  }
}
