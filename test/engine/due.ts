/** Tasks and deliveries as a claim hands them out. */

import type { DueDelivery } from '../../src/core/delivery.ts'
import type { DueTask } from '../../src/core/task.ts'
import { after, DAY } from '../../src/core/time.ts'
import { START } from '../support/store.ts'

export function aDueTask(overrides: Partial<DueTask> = {}): DueTask {
  return {
    id: 'task_1',
    taskId: 'a',
    kind: 'virtual-model-generation',
    registeredAt: START,
    submittedAt: null,
    deadlineAt: after(START, DAY),
    dueAt: START,
    pollCount: 0,
    runningAt: null,
    suspicion: null,
    unavailableCount: 0,
    lastObservation: null,
    metadata: '{}',
    ...overrides,
  }
}

export function aDueDelivery(overrides: Partial<DueDelivery> = {}): DueDelivery {
  const due: Partial<DueDelivery> = {
    id: 'dlv_1',
    eventId: 'evt_1',
    endpointId: 'ep_1',
    url: 'https://receiver.example/secret-path?token=1',
    body: '{}',
    signers: ['daemon'],
    headers: {},
    attemptNumber: 1,
    scheduledAttemptCount: 0,
    isManual: false,
    isProbe: false,
    statusBefore: 'pending',
    ...overrides,
  }
  return due as DueDelivery
}
