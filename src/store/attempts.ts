/** What is kept of attempts: as they are recorded, and as people see them. */

import type { AttemptedDelivery, NoResponseReason, Verdict } from '../core/delivery.ts'
import type { AttemptId, DeliveryId, LeaseToken } from '../core/ids.ts'
import type { EpochMs } from '../core/time.ts'
import type { Exchange, Timings } from '../ports.ts'

export interface AttemptRecord {
  readonly delivery: AttemptedDelivery
  readonly leaseToken: LeaseToken
  readonly startedAt: EpochMs
  readonly exchange: Exchange
  readonly verdict: Verdict
  readonly isEndpointGone: boolean
  /** In [0, 1): spreads the probes of endpoints that fail together. */
  readonly random: number
}

export interface Attempt {
  readonly id: AttemptId
  readonly deliveryId: DeliveryId
  readonly attemptNumber: number
  readonly isManual: boolean
  /** It tried whether a disabled endpoint works again. */
  readonly isProbe: boolean
  readonly verdict: Verdict['kind']
  readonly startedAt: EpochMs
  readonly durationMs: number
  readonly statusCode: number | null
  readonly failure: NoResponseReason | null
  readonly detail: string | null
  readonly responseExcerpt: string | null
  readonly responseTruncated: boolean
  /** JSON text of an object. */
  readonly responseHeaders: string
  readonly remoteAddress: string | null
  readonly timings: Timings | null
  readonly nextAttemptAt: EpochMs | null
}
