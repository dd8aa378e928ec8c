/** When to ask about a running task again. */

import { formatDuration, SECOND } from './time.ts'

export interface CadenceSettings {
  readonly intervalMinMs: number
  readonly intervalMaxMs: number
}

export interface CadenceInput {
  /** How long the upstream has had the task. */
  readonly ageMs: number
  readonly settings: CadenceSettings
}

export interface CadencePlan {
  readonly delayMs: number
  /** Why, in words a person reads in the timeline. */
  readonly reason: string
}

/**
 * The share of its age that a task may be late by. A wait in proportion to the age asks a logarithmic number of times
 * and is never later than this share of the task's own duration.
 */
const LATENESS_SHARE = 0.15

export function cadence({ ageMs, settings }: CadenceInput): CadencePlan {
  const { intervalMinMs, intervalMaxMs } = settings
  const delayMs = Math.round(Math.min(Math.max(ageMs * LATENESS_SHARE, intervalMinMs), intervalMaxMs))
  return { delayMs, reason: `running for ${formatDuration(Math.round(ageMs / SECOND) * SECOND)}` }
}
