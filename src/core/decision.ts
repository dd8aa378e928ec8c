/** What follows for a task from an observation: ask again, and when, or settle. */

import type { Cadence, CadenceSettings } from './cadence.ts'
import { describe, type Observation } from './observation.ts'
import type { Sighting } from './survival.ts'
import { ageMs, type DueTask, type Outcome, type Suspicion } from './task.ts'
import { after, type EpochMs, earliest, MINUTE, SECOND, toIso } from './time.ts'

/** Two answers about a suspected failure count as two only this far apart, so that one hiccup never kills a task. */
export const CONFIRMATION_SPACING_MS = 10 * SECOND

/** A task that was refused again and again is still asked about this often, for the day on which it is not. */
const REFUSED_WAIT_MS_MAX = 10 * MINUTE

export type Decision =
  | {
      readonly kind: 'poll_again'
      readonly nextPollAt: EpochMs
      /** Why then, in words a person reads in the timeline. */
      readonly reason: string
      readonly runningAt: EpochMs | null
      readonly suspicion: Suspicion | null
      readonly unavailableCount: number
    }
  | { readonly kind: 'settle'; readonly outcome: Outcome }

export interface DecideInput {
  readonly task: DueTask
  readonly observation: Observation
  /** When the query left. */
  readonly askedAt: EpochMs
  readonly now: EpochMs
  readonly settings: CadenceSettings
  readonly cadence: Pick<Cadence, 'plan'>
  /** How many times its cost a query of this credential is worth now (price.ts). */
  readonly priceFactor: number
  /** In [0, 1): spreads the retries of an outage. */
  readonly random: number
}

/** What to do with a task after an observation. Final answers settle it; all others end at the deadline at the latest. */
export function decide(input: DecideInput): Decision {
  const { task, observation, now } = input
  if (observation.kind === 'finished') return { kind: 'settle', outcome: observation.outcome }
  const suspicion = nextSuspicion(task.suspicion, observation, now)
  if (observation.kind === 'failed' && suspicion !== null && suspicion.answerCount >= observation.answersNeeded) {
    return { kind: 'settle', outcome: observation.outcome }
  }
  if (now >= task.deadlineAt) {
    return { kind: 'settle', outcome: expiredOutcome({ ...task, suspicion }, describe(observation)) }
  }
  const unavailableCount = unavailableCountAfter(task, observation)
  const { at, reason } = nextAsk(input, suspicion, unavailableCount)
  const runningAt = observation.kind === 'running' ? input.askedAt : task.runningAt
  const nextPollAt = earliest(at, task.deadlineAt)
  return { kind: 'poll_again', nextPollAt, reason, runningAt, suspicion, unavailableCount }
}

/**
 * What an answer says about how long tasks of its kind take; null when it says nothing.
 *
 * A task whose submission is known began with it: found ended at the first ask, it ended somewhere before. Of one that was
 * registered without it nobody knows how old it is: its age counts from its registration, as its plan does, and it counts
 * from the first time on that it was found running. If it had ended by then, that may have been long before it was ours.
 */
export function sightingOf(
  task: Pick<DueTask, 'submittedAt' | 'registeredAt' | 'runningAt'>,
  observation: Observation,
  isSettled: boolean,
  { askedAt, answeredAt }: { readonly askedAt: EpochMs; readonly answeredAt: EpochMs },
): Sighting | null {
  const isAboutTask = observation.kind === 'running' || observation.kind === 'finished' || observation.kind === 'failed'
  const hasEnded = isSettled && observation.kind !== 'running'
  if (!isAboutTask || (observation.kind !== 'running' && !hasEnded)) return null
  const since = task.runningAt ?? task.submittedAt
  if (since === null) return null
  const fromMs = ageMs(task, since)
  const toMs = ageMs(task, hasEnded ? answeredAt : askedAt)
  return toMs < fromMs ? null : { fromMs, toMs, hasEnded }
}

function unavailableCountAfter(task: DueTask, observation: Observation): number {
  switch (observation.kind) {
    case 'unavailable':
    case 'refused':
      return task.unavailableCount + 1
    case 'throttled':
      // Says nothing about whether the upstream can answer for this task.
      return task.unavailableCount
    default:
      return 0
  }
}

function nextAsk(
  { task, observation, askedAt, now, settings, cadence, priceFactor, random }: DecideInput,
  suspicion: Suspicion | null,
  unavailableCount: number,
): { at: EpochMs; reason: string } {
  if (observation.kind === 'failed' && suspicion !== null) {
    return {
      at: after(suspicion.lastAnswerAt, CONFIRMATION_SPACING_MS),
      reason: `answer ${suspicion.answerCount} of ${observation.answersNeeded} alike (${observation.code})`,
    }
  }
  switch (observation.kind) {
    case 'throttled':
      // Behind all that are due, so that one that is always throttled is not all that is ever asked about.
      return { at: now, reason: 'throttled: asked again as soon as the credential may ask' }
    case 'refused':
      // Behind all that are due, further each time: the refusal may be for this task's product alone, and the one probe
      // of each minute must not always be about the same task.
      return {
        at: after(now, Math.min(MINUTE * 2 ** Math.min(unavailableCount - 1, 10), REFUSED_WAIT_MS_MAX)),
        reason: 'the upstream refuses the credential: others are asked about first',
      }
    default: {
      const ages = { runningAgeMs: ageMs(task, askedAt), ageMs: ageMs(task, now) }
      const plan = cadence.plan({ kind: task.kind, ...ages, now, priceFactor, random })
      if (unavailableCount === 0) return { at: after(now, plan.delayMs), reason: plan.reason }
      const delayMs = Math.max(plan.delayMs, backoffMs(unavailableCount, settings, random))
      return { at: after(now, delayMs), reason: `no usable answer ${unavailableCount} times in a row` }
    }
  }
}

/** Doubles with each silent answer, half of it at random, so that an outage does not end in one burst. */
function backoffMs(unavailableCount: number, settings: CadenceSettings, random: number): number {
  const ceilingMs = Math.min(settings.intervalMinMs * 2 ** Math.min(unavailableCount, 20), settings.intervalMaxMs)
  return Math.round(ceilingMs * (0.5 + 0.5 * random))
}

/** Silence, throttling and refusal are no answers about the task: they neither confirm a suspicion nor clear it. */
function nextSuspicion(current: Suspicion | null, observation: Observation, now: EpochMs): Suspicion | null {
  if (observation.kind === 'running' || observation.kind === 'finished') return null
  if (observation.kind !== 'failed') return current
  if (current === null || current.code !== observation.code) {
    return { code: observation.code, answerCount: 1, lastAnswerAt: now }
  }
  // The clock was set back: waiting until it is where it was could take until the deadline.
  if (now < current.lastAnswerAt) return { ...current, lastAnswerAt: now }
  if (now - current.lastAnswerAt < CONFIRMATION_SPACING_MS) return current
  return { code: current.code, answerCount: current.answerCount + 1, lastAnswerAt: now }
}

/** The end of a task that nothing final was ever said about. */
export function expiredOutcome(task: DueTask, lastObservation: string | null): Outcome {
  const last = lastObservation ?? task.lastObservation ?? 'the upstream was never heard'
  return {
    status: 'expired',
    partial: false,
    images: [],
    error: {
      code: 'unknown',
      upstreamCode: task.suspicion?.code ?? null,
      message: `no final answer by the deadline ${toIso(task.deadlineAt)}; last observation: ${last}`,
      requestId: null,
    },
    response: null,
    responseTruncated: false,
  }
}
