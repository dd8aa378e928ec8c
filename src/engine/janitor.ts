/** The janitor: ends tasks that nobody can ask about any more, forgets what is old, keeps the log of the store short. */

import { expiredOutcome } from '../core/decision.ts'
import type { EndpointId } from '../core/ids.ts'
import { after, type EpochMs, epochMs, SECOND } from '../core/time.ts'
import type { Clock, Log, NewId } from '../ports.ts'
import type { PollRecord, Store } from '../store/store.ts'

export interface JanitorDeps {
  readonly store: Pick<
    Store,
    | 'claimOverdueTasks'
    | 'recordPolls'
    | 'deleteSettledTasks'
    | 'deleteOperatorEvents'
    | 'forgetEndpoints'
    | 'checkpoint'
  >
  readonly clock: Clock
  readonly newId: NewId
  readonly log: Log
  readonly onSettled: () => void
}

export interface JanitorOptions {
  readonly retentionMs: number
  readonly leaseMs: number
}

export interface Janitor {
  /** Expires what nobody may ask about at its deadline, because its credential is paused. */
  expireOverdue(): Promise<EpochMs | null>
  /** Deletes what is past its retention, in small steps between which others get their turn, and the daemon may stop. */
  forgetOld(signal: AbortSignal): Promise<void>
  checkpoint(): Promise<void>
}

/** Whoever is told to pause may be answered again any moment: a task is ended unasked only this long after its deadline. */
const LAST_ASK_GRACE_MS = 5 * SECOND
const EXPIRE_BATCH = 200
/** Each is a transaction that everybody waits for: a task with all that hangs on it takes a tenth of a millisecond. */
const FORGET_BATCH = 50

export function createJanitor({ store, clock, newId, log, onSettled }: JanitorDeps, options: JanitorOptions): Janitor {
  async function inPieces(signal: AbortSignal, forget: (before: EpochMs) => Promise<number>): Promise<number> {
    let deletedCount = 0
    while (!signal.aborted) {
      const count = await forget(epochMs(clock.now() - options.retentionMs))
      deletedCount += count
      if (count < FORGET_BATCH) break
    }
    return deletedCount
  }

  async function forgetEndpoints(signal: AbortSignal): Promise<void> {
    let after: EndpointId | null = null
    do {
      const usedBefore = epochMs(clock.now() - options.retentionMs)
      const { next } = await store.forgetEndpoints({ usedBefore, after, limit: FORGET_BATCH })
      after = next
    } while (after !== null && !signal.aborted)
  }

  return {
    async expireOverdue() {
      const now = clock.now()
      const lease = { token: newId('lse'), expiresAt: after(now, options.leaseMs) }
      const deadlineBefore = epochMs(now - LAST_ASK_GRACE_MS)
      const { tasks, nextDeadlineAt } = await store.claimOverdueTasks({
        now,
        lease,
        deadlineBefore,
        limit: EXPIRE_BATCH,
      })
      const nextAt = nextDeadlineAt === null ? null : after(nextDeadlineAt, LAST_ASK_GRACE_MS + 1)
      if (tasks.length === 0) return nextAt
      const records = tasks.map((task): PollRecord => {
        return {
          task,
          leaseToken: lease.token,
          poll: null,
          decision: { kind: 'settle', outcome: expiredOutcome(task, null) },
        }
      })
      const { settled } = await store.recordPolls({ now: clock.now(), records, effects: [] })
      for (const { id, status } of settled) log.info({ event: 'task.settled', id, status }, `task ${id} ${status}`)
      if (settled.length > 0) onSettled()
      return tasks.length === EXPIRE_BATCH ? now : nextAt
    },

    async forgetOld(signal) {
      const taskCount = await inPieces(signal, (settledBefore) =>
        store.deleteSettledTasks({ settledBefore, limit: FORGET_BATCH }),
      )
      const eventCount = await inPieces(signal, (toldBefore) =>
        store.deleteOperatorEvents({ toldBefore, limit: FORGET_BATCH }),
      )
      await forgetEndpoints(signal)
      if (taskCount + eventCount === 0) return
      const what = `${taskCount} tasks and ${eventCount} operator events`
      log.info({ event: 'tasks.forgotten', deletedCount: taskCount, eventCount }, `${what} past retention deleted`)
    },

    checkpoint: () => store.checkpoint(),
  }
}
