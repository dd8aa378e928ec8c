/** The part of the store that works on many deliveries: jobs that queue them again, and backlogs that are dropped. */

import type { Endpoint } from '../core/endpoint.ts'
import type { EndpointId, JobId } from '../core/ids.ts'
import type { Job, JobFilter, JobStatus } from '../core/job.ts'
import type { EpochMs } from '../core/time.ts'

export type JobResult =
  | { readonly kind: 'created'; readonly job: Job }
  /** An endpoint has one job at a time. */
  | { readonly kind: 'job_running'; readonly job: Job }
  | { readonly kind: 'endpoint_not_enabled'; readonly endpoint: Endpoint }
  | { readonly kind: 'unknown_endpoint' }

export type CancelJobResult =
  | { readonly kind: 'canceled'; readonly job: Job }
  | { readonly kind: 'already_ended'; readonly job: Job }
  | { readonly kind: 'not_found' }

export type DeletionResult =
  | { readonly kind: 'deleted'; readonly droppedCount: number }
  | { readonly kind: 'has_backlog'; readonly pendingCount: number }
  | { readonly kind: 'not_found' }

export interface JobQuery {
  readonly status?: JobStatus
  readonly limit: number
  readonly cursor?: string
}

export interface JobStore {
  /**
   * How many of the next `limit` deliveries after a place in the order of the commits a job would queue, and where to go on;
   * null at the end. Counted in pieces, because everybody else waits for each.
   */
  countRedeliverable(params: {
    filter: JobFilter
    after: number
    limit: number
  }): Promise<{ readonly count: number; readonly nextPosition: number | null }>

  /** Keeps a job over the deliveries that there are now. Its pieces are done by `advanceJob`. */
  createJob(params: { now: EpochMs; filter: JobFilter; totalCount: number }): Promise<JobResult>

  /**
   * Looks at the next deliveries of a running job, at most `limit`, and queues those that fit: pending, due now, and with
   * a fresh schedule. Deliveries and the job's place move together, so that none is queued twice or left out, whenever the
   * daemon dies. Oldest first, also among those that are due at one instant. While its endpoint is not enabled a job waits.
   */
  advanceJob(params: {
    now: EpochMs
    id: JobId
    limit: number
  }): Promise<{ readonly job: Job; readonly queuedCount: number; readonly isWaiting: boolean } | null>

  /** What it has queued stays queued. */
  cancelJob(params: { now: EpochMs; id: JobId }): Promise<CancelJobResult>
  getJob(id: JobId): Promise<Job | null>
  /** Newest first. */
  listJobs(query: JobQuery): Promise<{ readonly items: readonly Job[]; readonly nextCursor: string | null }>
  listRunningJobs(): Promise<readonly JobId[]>

  /**
   * From now on nobody is told of the endpoint, nothing is sent to it, tasks that settle make no delivery for it, and its
   * URL is free for another. What was sent to it stays to be seen. Refused while deliveries are pending, unless they are
   * dropped: a first part in this step, the others by `dropBacklogs`.
   */
  deleteEndpoint(params: { now: EpochMs; id: EndpointId; doesDropBacklog: boolean }): Promise<DeletionResult>

  /**
   * Forgets, of the next `limit` endpoints after one, those that nothing refers to any more and that were deleted, or were
   * only ever a callback URL and have not changed since `usedBefore`; and of all of them the secrets that ceased to sign
   * before then. `next`: after which to go on; null at the end.
   */
  forgetEndpoints(params: {
    usedBefore: EpochMs
    after: EndpointId | null
    limit: number
  }): Promise<{ forgottenCount: number; next: EndpointId | null }>

  /**
   * Cancels what is still pending for deleted endpoints, at most `limit`. An attempt that is under way is left to end.
   * `isMore`: some was left.
   */
  dropBacklogs(params: {
    now: EpochMs
    limit: number
  }): Promise<{ readonly droppedCount: number; readonly isMore: boolean }>
}
