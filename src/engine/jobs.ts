/**
 * Jobs: what a person wants attempted again is counted and queued in pieces, and backlogs of deleted endpoints are dropped
 * in pieces. Each piece is one short transaction, and between two of them everybody else has a turn.
 *
 * What a crash costs, at each point: nothing. The place of a job is on disk together with what it has queued.
 */

import type { Job, JobFilter } from '../core/job.ts'
import { after, type EpochMs, SECOND } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'
import type { JobResult, JobStore } from '../store/jobs.ts'

export interface Jobs {
  /** How many deliveries a job would queue now. */
  count(filter: JobFilter): Promise<number>
  /** Keeps a job and begins with it. */
  begin(filter: JobFilter): Promise<JobResult>
  /** A backlog is to be dropped. */
  wake(): void
  tick(): Promise<EpochMs | null>
}

export interface JobsDeps {
  readonly store: Pick<JobStore, 'countRedeliverable' | 'createJob' | 'listRunningJobs' | 'advanceJob' | 'dropBacklogs'>
  readonly clock: Pick<Clock, 'now' | 'soon'>
  readonly log: Log
  /** There is a piece to do. */
  readonly wake: () => void
  /** Deliveries have become due. */
  readonly onQueued: () => void
}

/** Queuing one costs about 6 µs of the one writer: a piece holds up the others for some 6 ms. */
const PIECE = 1_000
/** Counting one costs less than 1 µs. */
const COUNT_PIECE = 5_000
/** What is left of a backlog is under way: its attempt ends, or its lease. A job waits for somebody to resume its endpoint. */
const AGAIN_MS = SECOND

export function createJobs({ store, clock, log, wake, onQueued }: JobsDeps): Jobs {
  const othersTurn = () => new Promise<void>((resolve) => clock.soon(resolve))

  async function count(filter: JobFilter): Promise<number> {
    let total = 0
    let place: number | null = 0
    while (place !== null) {
      const piece: Awaited<ReturnType<JobStore['countRedeliverable']>> = await store.countRedeliverable({
        filter,
        after: place,
        limit: COUNT_PIECE,
      })
      total += piece.count
      place = piece.nextPosition
      await othersTurn()
    }
    return total
  }

  /** One piece of each. `isAdvanced`: there may be more at once; `isWaiting`: later. */
  async function advanceAll(): Promise<{ isAdvanced: boolean; isWaiting: boolean }> {
    let isAdvanced = false
    let isWaiting = false
    for (const id of await store.listRunningJobs()) {
      const advanced = await store.advanceJob({ now: clock.now(), id, limit: PIECE })
      if (advanced === null) continue
      if (advanced.queuedCount > 0) onQueued()
      if (advanced.job.status === 'done') tellDone(advanced.job)
      else if (advanced.isWaiting) isWaiting = true
      else isAdvanced = true
    }
    return { isAdvanced, isWaiting }
  }

  function tellDone({ id, filter, totalCount, queuedCount }: Job): void {
    const fields = { event: 'job.done', jobId: id, endpointId: filter.endpointId, totalCount, queuedCount }
    log.info(fields, `job ${id}: ${queuedCount} deliveries were queued again`)
  }

  return {
    count,
    async begin(filter) {
      const result = await store.createJob({ now: clock.now(), filter, totalCount: await count(filter) })
      wake()
      return result
    },
    wake,
    async tick() {
      const { isAdvanced, isWaiting } = await advanceAll()
      const { droppedCount, isMore } = await store.dropBacklogs({ now: clock.now(), limit: PIECE })
      if (isAdvanced || droppedCount > 0) return clock.now()
      return isWaiting || isMore ? after(clock.now(), AGAIN_MS) : null
    },
  }
}
