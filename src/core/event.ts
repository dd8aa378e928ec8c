/** The fact we tell: composed once when a task settles, then frozen as bytes. */

import type { EventId, TaskId } from './ids.ts'
import type { OperatorEventType } from './operator-event.ts'
import type { Outcome, ToldStatus } from './task.ts'
import { type EpochMs, toIso } from './time.ts'

export type EventType = `task.${ToldStatus}` | 'endpoint.test' | OperatorEventType

/** Those that an endpoint may choose among: it is told of none but these, and of all while it has not chosen. */
export const CHOOSABLE_EVENT_TYPES = [
  'task.succeeded',
  'task.failed',
  'task.expired',
  'endpoint.disabled',
  'endpoint.enabled',
  'delivery.exhausted',
  'upstream.refused',
  'upstream.recovered',
  'disk.low',
] as const satisfies readonly EventType[]

export interface Event {
  readonly id: EventId
  /** Null for what we tell the operator of ourselves. */
  readonly taskId: TaskId | null
  readonly type: EventType
  readonly createdAt: EpochMs
  readonly body: string
}

export interface EventSubject {
  readonly id: TaskId
  readonly taskId: string
  readonly kind: string
  /** JSON text of an object, as it was registered. */
  readonly metadata: string
  readonly registeredAt: EpochMs
  /** The poll that brought the outcome included. */
  readonly pollCount: number
}

export function eventTypeOf(status: ToldStatus): EventType {
  return `task.${status}`
}

/**
 * The body as Standard Webhooks 1.0.0 wants it: `{type, timestamp, data}`.
 *
 * `metadata` and `response` are spliced in as the JSON text they came as. Parsing and writing them again would round
 * numbers beyond 2^53 and rewrite the spelling of signed URLs.
 */
export function eventBody(subject: EventSubject, outcome: Outcome, settledAt: EpochMs): string {
  const { status, partial, images, error, response, responseTruncated } = outcome
  const { id, taskId, kind, metadata, registeredAt, pollCount } = subject
  const fields: readonly (readonly [string, string])[] = [
    ['id', JSON.stringify(id)],
    ['taskId', JSON.stringify(taskId)],
    ['kind', JSON.stringify(kind)],
    ['status', JSON.stringify(status)],
    ['partial', JSON.stringify(partial)],
    ['images', JSON.stringify(images.map(imageOnTheWire))],
    ['error', JSON.stringify(error)],
    ['metadata', metadata],
    ['registeredAt', JSON.stringify(toIso(registeredAt))],
    ['settledAt', JSON.stringify(toIso(settledAt))],
    ['pollCount', JSON.stringify(pollCount)],
    ['response', response ?? 'null'],
  ]
  const truncated = responseTruncated ? ',"responseTruncated":true' : ''
  const data = fields.map(([name, json]) => `"${name}":${json}`).join(',')
  return `{"type":"${eventTypeOf(status)}","timestamp":"${toIso(settledAt)}","data":{${data}${truncated}}}`
}

function imageOnTheWire(image: Outcome['images'][number]): object {
  const { url, width, height, expiresAt } = image
  return { url, width, height, expiresAt: expiresAt === null ? null : toIso(expiresAt) }
}
