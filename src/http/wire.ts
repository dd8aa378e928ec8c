/** How records read on the wire: instants as ISO 8601 text, JSON that the store keeps as text as the value it spells. */

import { type EpochMs, toIso } from '../core/time.ts'
import type { Attempt } from '../store/attempts.ts'
import type { Delivery, Task } from '../store/store.ts'
import type { Access } from './auth.ts'
import type { AttemptWire, DeliveryWire, TaskWire } from './schemas.ts'

export function taskOnTheWire(task: Task): TaskWire {
  return {
    id: task.id,
    taskId: task.taskId,
    kind: task.kind,
    status: task.status,
    metadata: task.metadata === '{}' ? {} : JSON.parse(task.metadata),
    registeredAt: toIso(task.registeredAt),
    submittedAt: isoOrNull(task.submittedAt),
    settledAt: isoOrNull(task.settledAt),
    deadlineAt: toIso(task.deadlineAt),
    nextPollAt: isoOrNull(task.nextPollAt),
    pollCount: task.pollCount,
    lastObservation: task.lastObservation,
    eventId: task.eventId,
    outcome: task.outcome === null ? null : (JSON.parse(task.outcome) as TaskWire['outcome']),
    subscriptions: task.subscriptions.map(({ endpointId, callbackUrl, deliveryId, deliveryStatus, endpointStatus }) => {
      return { endpointId, callbackUrl, deliveryId, deliveryStatus, endpointStatus }
    }),
  }
}

export function deliveryOnTheWire(delivery: Delivery): DeliveryWire {
  return {
    id: delivery.id,
    eventId: delivery.eventId,
    eventType: delivery.eventType,
    taskId: delivery.taskId,
    endpointId: delivery.endpointId,
    callbackUrl: delivery.callbackUrl,
    status: delivery.status,
    attemptCount: delivery.attemptCount,
    nextAttemptAt: isoOrNull(delivery.nextAttemptAt),
    createdAt: toIso(delivery.createdAt),
    settledAt: isoOrNull(delivery.settledAt),
    lastStatusCode: delivery.lastStatusCode,
    lastFailure: delivery.lastFailure,
  }
}

/** What a receiver answered may be anything, and of anybody: who may only look is not shown it. */
export function attemptOnTheWire(attempt: Attempt, access: Access): AttemptWire {
  const isShown = access === 'full'
  return {
    id: attempt.id,
    deliveryId: attempt.deliveryId,
    attemptNumber: attempt.attemptNumber,
    isManual: attempt.isManual,
    isProbe: attempt.isProbe,
    verdict: attempt.verdict,
    startedAt: toIso(attempt.startedAt),
    durationMs: attempt.durationMs,
    statusCode: attempt.statusCode,
    failure: attempt.failure,
    detail: attempt.detail,
    responseExcerpt: isShown ? attempt.responseExcerpt : null,
    responseTruncated: isShown && attempt.responseTruncated,
    responseHeaders: isShown ? JSON.parse(attempt.responseHeaders) : {},
    remoteAddress: attempt.remoteAddress,
    timings: attempt.timings,
    nextAttemptAt: isoOrNull(attempt.nextAttemptAt),
  }
}

/** Deliveries together with the attempts that belong to each. */
export function withAttempts(
  deliveries: readonly Delivery[],
  attempts: readonly Attempt[],
  access: Access,
): readonly (DeliveryWire & { readonly attempts: readonly AttemptWire[] })[] {
  const byDelivery = new Map<string, AttemptWire[]>()
  for (const attempt of attempts) {
    const known = byDelivery.get(attempt.deliveryId)
    if (known === undefined) byDelivery.set(attempt.deliveryId, [attemptOnTheWire(attempt, access)])
    else known.push(attemptOnTheWire(attempt, access))
  }
  return deliveries.map((delivery) => ({ ...deliveryOnTheWire(delivery), attempts: byDelivery.get(delivery.id) ?? [] }))
}

function isoOrNull(at: EpochMs | null): string | null {
  return at === null ? null : toIso(at)
}
