/** A trial: a made-up event for one endpoint, to see whether its receiver works. It is kept nowhere. */

import { type EventType, eventBody } from './event.ts'
import type { TaskId } from './ids.ts'
import type { Outcome, ToldStatus } from './task.ts'
import { after, type EpochMs, HOUR, MINUTE, toIso } from './time.ts'

export const TRIAL_TYPES = [
  'endpoint.test',
  'task.succeeded',
  'task.failed',
  'task.expired',
] as const satisfies readonly EventType[]

export type TrialType = (typeof TRIAL_TYPES)[number]

/** Nobody's task. */
const TASK_ID: TaskId = 'task_test'
const UPSTREAM_TASK_ID = 'trial-0001'

/** Formed like the real one, with `"test":true` in its data so that a receiver can tell. */
export function trialBody(type: TrialType, now: EpochMs): string {
  if (type === 'endpoint.test') {
    const message = 'Ringback can reach this endpoint.'
    return JSON.stringify({ type, timestamp: toIso(now), data: { test: true, message } })
  }
  const subject = {
    id: TASK_ID,
    taskId: UPSTREAM_TASK_ID,
    kind: 'virtual-model-generation',
    metadata: '{}',
    registeredAt: after(now, -MINUTE),
    pollCount: 4,
  }
  const body = JSON.parse(eventBody(subject, outcomeOf(type, now), now)) as { data: object }
  return JSON.stringify({ ...body, data: { test: true, ...body.data } })
}

function outcomeOf(type: Exclude<TrialType, 'endpoint.test'>, now: EpochMs): Outcome {
  const none = { partial: false, images: [], error: null, response: null, responseTruncated: false }
  const status = type.slice('task.'.length) as ToldStatus
  switch (status) {
    case 'succeeded': {
      const url = 'https://pictures.example/trial.png?Expires=1'
      return { ...none, status, images: [{ url, width: 1024, height: 1024, expiresAt: after(now, HOUR) }] }
    }
    case 'failed': {
      const message = 'The picture was not made.'
      return { ...none, status, error: { code: 'model_failed', upstreamCode: '703', message, requestId: null } }
    }
    case 'expired': {
      const message = 'It did not end before its deadline.'
      return { ...none, status, error: { code: 'unknown', upstreamCode: null, message, requestId: null } }
    }
  }
}
