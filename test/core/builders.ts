/** Plain values for the tests of the rules: a test names only what it is about. */

import type { AnswerBody, Observation, UpstreamAnswer } from '../../src/core/observation.ts'
import type { DueTask, Outcome } from '../../src/core/task.ts'
import { type EpochMs, epochMs } from '../../src/core/time.ts'

export const NOW = epochMs(Date.UTC(2026, 0, 15, 12))

/** An instant that many milliseconds away from `NOW`. */
export function at(offsetMs: number): EpochMs {
  return epochMs(NOW + offsetMs)
}

export function aTask(parts: Partial<DueTask> = {}): DueTask {
  return {
    id: 'task_1',
    taskId: '4dcfa662-d5b3-48d5-842e-a87f70ac1522',
    kind: 'virtual-model-generation',
    registeredAt: NOW,
    submittedAt: null,
    deadlineAt: at(24 * 3_600_000),
    dueAt: NOW,
    pollCount: 0,
    runningAt: null,
    suspicion: null,
    unavailableCount: 0,
    lastObservation: null,
    metadata: '{}',
    ...parts,
  }
}

export function anAnswerBody(parts: Partial<AnswerBody> = {}): AnswerBody {
  return {
    gatewayCode: null,
    gatewayType: null,
    gatewayMessage: null,
    success: null,
    resCode: null,
    resMessage: null,
    taskStatus: null,
    taskMessage: null,
    echoedTaskId: null,
    failedItemCount: 0,
    images: [],
    requestId: null,
    response: null,
    responseTruncated: false,
    ...parts,
  }
}

interface AnswerParts extends Partial<AnswerBody> {
  readonly httpStatus?: number
  readonly retryAfterMs?: number | null
}

/** An answer over HTTP whose body is JSON; 200 unless told. */
export function anAnswer({ httpStatus = 200, retryAfterMs = null, ...body }: AnswerParts = {}): UpstreamAnswer {
  return { kind: 'answer', httpStatus, retryAfterMs, body: anAnswerBody(body) }
}

/** An answer over HTTP whose body is no JSON object. */
export function unreadable(httpStatus: number, retryAfterMs: number | null = null): UpstreamAnswer {
  return { kind: 'answer', httpStatus, retryAfterMs, body: null }
}

export function anOutcome(parts: Partial<Outcome> = {}): Outcome {
  return {
    status: 'succeeded',
    partial: false,
    images: [],
    error: null,
    response: null,
    responseTruncated: false,
    ...parts,
  }
}

export const RUNNING: Observation = { kind: 'running', status: 'running', isKnownWord: true }
export const FINISHED: Observation = { kind: 'finished', outcome: anOutcome() }
export const UNAVAILABLE: Observation = { kind: 'unavailable', reason: 'timeout', detail: 'no answer in 30s' }
export const THROTTLED: Observation = { kind: 'throttled', retryAfterMs: null, detail: 'HTTP 429' }
export const REFUSED: Observation = { kind: 'refused', code: 'NoResource', detail: 'NoResource: -', isClockSkew: false }

export function failedWith(code: string, answersNeeded: number): Observation {
  const error = { code: 'upstream_failed', upstreamCode: code, message: `answered ${code}`, requestId: null } as const
  return { kind: 'failed', answersNeeded, code, outcome: anOutcome({ status: 'failed', error }) }
}

/** Numbers in [0, 1) that look random and are the same on every run (a linear congruential generator, modulus 2^32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  // Neighbouring seeds give neighbouring first numbers.
  for (let index = 0; index < 8; index += 1) next()
  return next
}
