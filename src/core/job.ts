/** A job: deliveries that a person wants attempted again, found by a filter and queued piece by piece. */

import type { DeliveryStatus } from './delivery.ts'
import type { EndpointId, JobId } from './ids.ts'
import type { EpochMs } from './time.ts'

export const JOB_TRANSITIONS = {
  running: ['done', 'canceled'],
  done: [],
  canceled: [],
} as const satisfies Record<string, readonly string[]>

export type JobStatus = keyof typeof JOB_TRANSITIONS

export const JOB_STATUSES = Object.keys(JOB_TRANSITIONS) as readonly JobStatus[]

/** What can be sent again. What is pending is sent anyway; what was canceled went with its endpoint. */
export const REDELIVERABLE_STATUSES = ['exhausted', 'delivered'] as const satisfies readonly DeliveryStatus[]

export type RedeliverableStatus = (typeof REDELIVERABLE_STATUSES)[number]

/** Which deliveries: all that fit everything that is given, of endpoints that are sent to. */
export interface JobFilter {
  /** Null: of all endpoints. */
  readonly endpointId: EndpointId | null
  readonly status: RedeliverableStatus
  /** Made at `since` or later. */
  readonly since: EpochMs | null
  /** Made before `until`. */
  readonly until: EpochMs | null
  readonly eventType: string | null
}

export interface Job {
  readonly id: JobId
  readonly status: JobStatus
  readonly filter: JobFilter
  /** How many there were when it was asked for. */
  readonly totalCount: number
  readonly queuedCount: number
  readonly createdAt: EpochMs
  readonly updatedAt: EpochMs
  readonly finishedAt: EpochMs | null
}

/** Two jobs on one endpoint would count each other's deliveries; a job of all endpoints is on each of them. */
export function isInTheWay(running: JobFilter, wanted: JobFilter): boolean {
  return running.endpointId === null || wanted.endpointId === null || running.endpointId === wanted.endpointId
}
