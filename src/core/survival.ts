/**
 * How long tasks of one kind take, as it is learned from what a poller sees.
 *
 * Three estimates (hazard.ts) of a short, a middle and a long memory look at the same answers. Each answer is a small bet
 * that each of them had taken; who predicted it better weighs more from then on, and none ever weighs so little that it
 * could not come back within some tens of answers (fixed share; Herbster & Warmuth 1998). While durations stay as they are
 * the long memory is the most exact; when they jump it is wrong at once, and the short one has the word until the others
 * have forgotten what was.
 */

import {
  addCompletion,
  addSurvival,
  ageAt,
  CELL_COUNT,
  fitHazard,
  type Hazard,
  hazardBetween,
  hazardUpTo,
  newHazard,
  placeOf,
  takeOver,
} from './hazard.ts'

const LOOKS = [
  { memory: 60, smoothness: 30 },
  { memory: 250, smoothness: 30 },
  { memory: 1000, smoothness: 5 },
  { memory: 1000, smoothness: 300 },
] as const
/** What each answer moves from everybody to everybody. */
const SHARED = 0.004
/** Of the weight: less has an estimate only that was much worse than others for many answers. */
const LOST = 0.005
/** Of one task: less has been looked at as good as never. */
const SEEN = 0.5
/** The worst that one answer says about an estimate: a single odd one is no proof. */
const LIKELIHOOD_MIN = 1e-3
/** In places: an end within no time at all still lies somewhere. */
const INTERVAL_MIN = 1e-3

/** Changed in place by `see` and `refit`. */
export interface Survival {
  readonly estimates: readonly Hazard[]
  /** Add up to 1. */
  readonly weights: Float64Array
  /** Since this kind is known. */
  completionCount: number
}

/** What one answer says: the task ran at `fromMs`, and at `toMs` it still ran or had ended. Ages. */
export interface Sighting {
  readonly fromMs: number
  readonly toMs: number
  readonly hasEnded: boolean
}

export function newSurvival(): Survival {
  return {
    estimates: LOOKS.map(newHazard),
    weights: new Float64Array(LOOKS.length).fill(1 / LOOKS.length),
    completionCount: 0,
  }
}

export function see(survival: Survival, { fromMs, toMs, hasEnded }: Sighting): void {
  const from = Math.min(placeOf(fromMs), CELL_COUNT - INTERVAL_MIN)
  const to = Math.min(CELL_COUNT, Math.max(placeOf(toMs), hasEnded ? from + INTERVAL_MIN : from))
  reweigh(survival, from, to, hasEnded)
  const count = hasEnded ? addCompletion : addSurvival
  for (const estimate of survival.estimates) count(estimate, from, to)
  if (hasEnded) survival.completionCount += 1
}

function reweigh({ estimates, weights }: Survival, from: number, to: number, hasEnded: boolean): void {
  let total = 0
  for (const [index, estimate] of estimates.entries()) {
    const between = hazardBetween(estimate, from, to)
    const likelihood = hasEnded ? -Math.expm1(-between) : Math.exp(-between)
    const weight = (weights[index] as number) * Math.max(likelihood, LIKELIHOOD_MIN)
    weights[index] = weight
    total += weight
  }
  const share = SHARED / estimates.length
  for (const index of estimates.keys()) weights[index] = ((1 - SHARED) * (weights[index] as number)) / total + share
}

/** Makes what was seen since the last time count. About half a millisecond. */
export function refit(survival: Survival): void {
  beginAnew(survival)
  for (const estimate of survival.estimates) fitHazard(estimate)
}

/**
 * A long memory that nobody believes any more remembers what has passed: it goes on from what the best of the shorter ones
 * remembers, or it would take its whole length to forget.
 */
function beginAnew({ estimates, weights }: Survival): void {
  const bestWeight = Math.max(...weights)
  const best = estimates[weights.indexOf(bestWeight)] as Hazard
  const isLost = ({ memory }: Hazard, index: number) => memory > best.memory && (weights[index] as number) < LOST
  const heirs = estimates.filter(isLost)
  if (heirs.length === 0) return
  const share = bestWeight / (heirs.length + 1)
  for (const [index, estimate] of estimates.entries()) {
    if (estimate !== best && !heirs.includes(estimate)) continue
    if (estimate !== best) takeOver(estimate, best)
    weights[index] = share
  }
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  for (const index of estimates.keys()) weights[index] = (weights[index] as number) / total
}

/** The share of tasks that still run at an age. Beyond the last cell it stays as it is there. */
export function survivalAt({ estimates, weights }: Survival, ageMs: number): number {
  const place = placeOf(ageMs)
  let share = 0
  for (let index = 0; index < estimates.length; index += 1) {
    share += (weights[index] as number) * Math.exp(-hazardUpTo(estimates[index] as Hazard, place))
  }
  return share
}

/** The place up to which tasks were seen running; beyond it the curve is a guess. */
function knownPlace({ estimates }: Survival): number {
  const places = estimates.map(({ exposure, weight }) => exposure.findLastIndex((cell) => cell / weight > SEEN) + 1)
  return Math.max(...places)
}

/** The share of tasks that still run at the greatest age that was looked at. */
export function unfinishedShare(survival: Survival): number {
  return survivalAt(survival, ageAt(knownPlace(survival)))
}

/** By which age so many tasks have ended; null when so many were never seen to. To a part of a cell. */
export function ageByWhich(survival: Survival, share: number): number | null {
  const last = knownPlace(survival)
  let before = 1
  for (let place = 1; place <= last; place += 1) {
    const rest = survivalAt(survival, ageAt(place))
    if (rest <= 1 - share) return ageAt(place - 1 + (before - (1 - share)) / (before - rest))
    before = rest
  }
  return null
}

const FORMAT = 1

/** What is kept of it: numbers of four digits, without the empty cells at the end. A few kilobytes. */
export function survivalToText({ estimates, weights, completionCount }: Survival): string {
  return JSON.stringify({
    format: FORMAT,
    completionCount,
    weights: [...weights].map(shortened),
    estimates: estimates.map(({ completions, exposure, weight, completionCount: count }) => ({
      completionCount: count,
      completions: listOf(completions, weight),
      exposure: listOf(exposure, weight),
    })),
  })
}

function listOf(cells: Float64Array, weight: number): readonly number[] {
  const filledCount = cells.findLastIndex((cell) => cell > 0) + 1
  return Array.from(cells.subarray(0, filledCount), (cell) => shortened(cell / weight))
}

function shortened(value: number): number {
  return Number(value.toPrecision(4))
}

/** Null when the text is not what `survivalToText` of this version writes. */
export function survivalFromText(text: string): Survival | null {
  const saved = parsed(text)
  if (saved === null || saved['format'] !== FORMAT) return null
  const { completionCount, weights, estimates } = saved
  const survival = newSurvival()
  if (!isCount(completionCount) || !isList(weights, LOOKS.length) || !Array.isArray(estimates)) return null
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (weights.length !== LOOKS.length || estimates.length !== LOOKS.length || !(total > 0)) return null
  survival.completionCount = completionCount
  survival.weights.set(weights.map((weight) => weight / total))
  const isWhole = survival.estimates.every((estimate, index) => fill(estimate, estimates[index]))
  if (!isWhole) return null
  refit(survival)
  return survival
}

function fill(estimate: Hazard, saved: unknown): boolean {
  if (typeof saved !== 'object' || saved === null) return false
  const { completionCount, completions, exposure } = saved as Record<string, unknown>
  if (!isCount(completionCount) || !isList(completions, CELL_COUNT) || !isList(exposure, CELL_COUNT)) return false
  estimate.completionCount = completionCount
  estimate.completions.set(completions)
  estimate.exposure.set(exposure)
  return true
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** A count above this would be no count of ours. */
const COUNT_MAX = 1e12

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= COUNT_MAX
}

function isList(value: unknown, lengthMax: number): value is number[] {
  return Array.isArray(value) && value.length <= lengthMax && value.every(isCount)
}
