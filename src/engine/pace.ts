/** Housekeeping by the clock on the wall. The only place that knows node-cron; nothing that is due goes through here. */

import cron from 'node-cron'
import type { Log } from '../ports.ts'

export interface Pace {
  stop(): Promise<void>
}

/** Five fields, in UTC: in other zones node-cron leaves out the hour that a change of time repeats. */
export interface Chore {
  readonly name: string
  readonly expression: string
  /** Aborted when the daemon stops: a chore that takes long ends at its next step. */
  readonly run: (signal: AbortSignal) => Promise<void>
}

export function startPace(chores: readonly Chore[], log: Log): Pace {
  cron.setLogger({
    info: (message) => log.debug({ event: 'pace.note' }, String(message)),
    warn: (message) => log.warn({ event: 'pace.note' }, String(message)),
    error: (message) => log.error({ event: 'pace.note' }, String(message)),
    debug: (message) => log.debug({ event: 'pace.note' }, String(message)),
  })
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()
  const tasks = chores.map(({ name, expression, run }) =>
    cron.schedule(
      expression,
      () => {
        const done = run(stopping.signal)
          .catch((error: unknown) => log.error({ event: 'chore.failed', chore: name, error }, `${name} failed`))
          .finally(() => running.delete(done))
        running.add(done)
        return done
      },
      { name, noOverlap: true, timezone: 'Etc/UTC' },
    ),
  )
  return {
    async stop() {
      stopping.abort()
      for (const task of tasks) await task.destroy()
      await Promise.all(running)
    },
  }
}
