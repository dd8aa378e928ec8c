/** A task: one job at the upstream whose end we wait for. Its whole life is the table below. */

import type { EventId, TaskId } from './ids.ts'
import type { EpochMs } from './time.ts'

/** What a registration means that names no kind. */
export const DEFAULT_KIND = 'virtual-model-generation'

/** The whole life of a task. A status with no way out is final. */
export const TASK_TRANSITIONS = {
  pending: ['succeeded', 'failed', 'expired', 'canceled'],
  succeeded: [],
  failed: [],
  expired: [],
  canceled: [],
} as const satisfies Record<string, readonly string[]>

export type TaskStatus = keyof typeof TASK_TRANSITIONS

export const TASK_STATUSES = Object.keys(TASK_TRANSITIONS) as readonly TaskStatus[]

/** The ends that are told to endpoints. A canceled task ends in silence: the one who canceled knows. */
export type ToldStatus = 'succeeded' | 'failed' | 'expired'

export function isFinal(status: TaskStatus): boolean {
  return TASK_TRANSITIONS[status].length === 0
}

/** What Aidge calls the task: printable ASCII without spaces, never changed silently. */
export const UPSTREAM_TASK_ID_PATTERN = /^[\x21-\x7e]{1,256}$/

/** An answer that may be a verdict or a hiccup, and how often in a row it has been seen. */
export interface Suspicion {
  /** The upstream's code. Another code starts the count anew. */
  readonly code: string
  readonly answerCount: number
  /** When the last counted answer came; answers closer together than the spacing are not counted twice. */
  readonly lastAnswerAt: EpochMs
}

/** What the scheduler needs to know of a task in order to ask about it and to judge the answer. */
export interface DueTask {
  readonly id: TaskId
  readonly taskId: string
  readonly kind: string
  readonly registeredAt: EpochMs
  /** When the job was given to the upstream, as far as the one who registered it said so. */
  readonly submittedAt: EpochMs | null
  readonly deadlineAt: EpochMs
  /** The instant this task was due, before the lease. */
  readonly dueAt: EpochMs
  readonly pollCount: number
  /** When the query left that last found it running; null before the first. */
  readonly runningAt: EpochMs | null
  readonly suspicion: Suspicion | null
  /** Answers in a row that said nothing about the task (5xx, timeouts, refusals …); resets with the first real one. */
  readonly unavailableCount: number
  /** The last thing the upstream said, in words, for the error of an expired task. */
  readonly lastObservation: string | null
  readonly metadata: string
}

export type ErrorCodeOfTask =
  | 'content_rejected'
  | 'invalid_input'
  | 'model_failed'
  | 'risk_control_failed'
  | 'not_found'
  | 'upstream_failed'
  | 'unknown'

export interface TaskError {
  readonly code: ErrorCodeOfTask
  /** The upstream's own code as it came, or null where it gave none. */
  readonly upstreamCode: string | null
  readonly message: string
  readonly requestId: string | null
}

export interface ResultImage {
  /** Byte for byte as the upstream wrote it: its query string is a signature. */
  readonly url: string
  readonly width: number | null
  readonly height: number | null
  readonly expiresAt: EpochMs | null
}

/** How a task ended, once and for ever. */
export interface Outcome {
  readonly status: ToldStatus
  /** Finished as a whole, but some of its items failed. */
  readonly partial: boolean
  readonly images: readonly ResultImage[]
  readonly error: TaskError | null
  /** The upstream's `data`, as the JSON text that came; null when there was none or it was too large to pass on. */
  readonly response: string | null
  readonly responseTruncated: boolean
}

/** A settled task together with the event that tells of it. */
export interface SettledTask {
  readonly id: TaskId
  readonly status: TaskStatus
  readonly eventId: EventId
}

export function ageMs(task: Pick<DueTask, 'submittedAt' | 'registeredAt'>, now: EpochMs): number {
  return Math.max(0, now - (task.submittedAt ?? task.registeredAt))
}
