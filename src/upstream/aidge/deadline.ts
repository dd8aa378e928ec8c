/** One total deadline over a whole query, however often it asks. */

import { setMaxListeners } from 'node:events'

export type DeadlineEnd = 'timed_out' | 'given_up'

export interface Deadline {
  /** Aborts whatever is under way, as far as that can be aborted. */
  readonly signal: AbortSignal
  /** Resolves when the time is over or the caller has given up; never, when released before. */
  readonly ended: Promise<DeadlineEnd>
  /** Null while it runs. */
  how(): DeadlineEnd | null
  release(): void
}

/**
 * A timer of its own, because undici's start anew with every chunk: a body dripped one byte at a time never ends by
 * them. The promise is there beside the signal so that a request which ignores its abortion still lets go of its slot.
 */
export function startDeadline(timeoutMs: number, callers: readonly AbortSignal[]): Deadline {
  const controller = new AbortController()
  let how: DeadlineEnd | null = null
  let resolve: (end: DeadlineEnd) => void = () => {}
  const ended = new Promise<DeadlineEnd>((settle) => {
    resolve = settle
  })
  function end(as: DeadlineEnd): void {
    if (how !== null) return
    how = as
    resolve(as)
    controller.abort()
  }
  const giveUp = (): void => end('given_up')
  const timer = setTimeout(() => end('timed_out'), timeoutMs)
  for (const caller of callers) {
    // One signal for all queries of a daemon is how it is meant; Node would warn of a leak at the eleventh.
    setMaxListeners(0, caller)
    caller.addEventListener('abort', giveUp, { once: true })
    if (caller.aborted) giveUp()
  }
  return {
    signal: controller.signal,
    ended,
    how: () => how,
    release() {
      clearTimeout(timer)
      for (const caller of callers) caller.removeEventListener('abort', giveUp)
    },
  }
}
