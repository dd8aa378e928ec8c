/**
 * When to ask, given how long tasks take: the optimal inspection plan.
 *
 * A query is worth `costMs` of waiting, and a plan costs J = cost · queries + lag. With the survival function S the best
 * next ask after one at age a that found the task running is the b that gives (Barlow, Hunter & Proschan 1963)
 *
 *   V(a) = min over b > a of  cost + ∫ₐᵇ (b−t) f(t) dt / S(a) + S(b)/S(a) · V(b)
 *
 * solved backwards on a grid of ages. The grid is as dense as the asks will be: four points in the wait that a constant
 * hazard would want (Keller 1974 for the dense limit). Between grid points the minimum is that of a parabola. Where all but
 * the last few have ended, and for those that never end, that wait itself is the plan.
 */

import { ageAt, CELL_COUNT } from './hazard.ts'

export interface PlanSettings {
  /** What a query is worth in waiting. */
  readonly costMs: number
  readonly intervalMinMs: number
  readonly intervalMaxMs: number
}

/** Ask at `ages[i]` and find it running: ask next at `next[i]`. The last age is where the tail begins. */
export interface Plan {
  readonly settings: PlanSettings
  readonly ages: Float64Array
  readonly next: Float64Array
  /** The wait that would be best if the hazard stayed as it is in each cell. */
  readonly steadyWaits: Float64Array
}

const POINTS_PER_ASK = 4
const POINTS_MAX = 320
/** Of those that ever end, so many end in the tail. */
const TAIL_SHARE = 0.005
/** A millisecond: the mean of what is left. */
const HAZARD_MAX = 1
const ROOT_STEPS = 6

const CELL_AGES = Float64Array.from({ length: CELL_COUNT + 1 }, (_, place) => ageAt(place))

export function solvePlan(survivalAt: (ageMs: number) => number, settings: PlanSettings): Plan {
  const survival = CELL_AGES.map(survivalAt)
  const waits = new Float64Array(CELL_COUNT)
  for (let cell = 0; cell < CELL_COUNT; cell += 1) waits[cell] = waitInCell(survival, cell, settings)
  const ages = gridOf(waits, tailCellOf(survival))
  return { settings, ages, next: nextAsks(ages, ages.map(survivalAt), settings), steadyWaits: waits }
}

/** The wait between asks that would be best if the hazard stayed for ever as it is in this cell. */
function waitInCell(survival: Float64Array, cell: number, settings: PlanSettings): number {
  const { costMs, intervalMinMs, intervalMaxMs } = settings
  const [before, after] = [at(survival, cell), at(survival, cell + 1)]
  const lengthMs = at(CELL_AGES, cell + 1) - at(CELL_AGES, cell)
  // Where hardly anybody is left, chance in the last digits may look like any hazard at all.
  const hazard = before > 0 && after > 0 ? Math.min(Math.log(before / after) / lengthMs, HAZARD_MAX) : 0
  return Math.min(Math.max(steadyWaitMs(hazard, costMs), intervalMinMs), intervalMaxMs)
}

/**
 * Minimises (cost + wait) / (1 − e^(−hazard·wait)): with y = hazard·wait, e^y − 1 − y = hazard·cost, by Newton's method.
 */
export function steadyWaitMs(hazard: number, costMs: number): number {
  const wanted = hazard * costMs
  if (wanted < 1e-12) return hazard > 0 ? Math.sqrt((2 * costMs) / hazard) : Number.POSITIVE_INFINITY
  // Both lie above the solution, from where the steps come down to it.
  let y = Math.min(Math.sqrt(2 * wanted), 1 + Math.log1p(wanted))
  for (let step = 0; step < ROOT_STEPS; step += 1) y -= (Math.expm1(y) - y - wanted) / Math.expm1(y)
  return y / hazard
}

/** The first cell in which all but the last few of those that ever end have ended. */
function tailCellOf(survival: Float64Array): number {
  const never = at(survival, CELL_COUNT)
  const rest = never + TAIL_SHARE * (1 - never)
  return Math.max(
    2,
    survival.findIndex((share) => share <= rest),
  )
}

function gridOf(waits: Float64Array, tailCell: number): Float64Array {
  const wanted = Array.from({ length: tailCell }, (_, cell) => {
    const lengthMs = at(CELL_AGES, cell + 1) - at(CELL_AGES, cell)
    return (POINTS_PER_ASK * lengthMs) / at(waits, cell)
  })
  const total = wanted.reduce((sum, count) => sum + count, 0)
  const share = Math.min(1, (POINTS_MAX - tailCell) / total)
  const points = [0]
  for (const [cell, count] of wanted.entries()) {
    const pointCount = Math.max(1, Math.round(count * share))
    const from = at(CELL_AGES, cell)
    const step = (at(CELL_AGES, cell + 1) - from) / pointCount
    for (let point = 1; point <= pointCount; point += 1) points.push(from + point * step)
  }
  return Float64Array.from(points)
}

/** The dynamic programme, backwards. `value[i]` is S(a)·V(a); what the tail costs is the same for all plans. */
function nextAsks(ages: Float64Array, survival: Float64Array, settings: PlanSettings): Float64Array {
  const { costMs, intervalMinMs, intervalMaxMs } = settings
  const last = ages.length - 1
  const running = runningTime(ages, survival)
  const value = new Float64Array(ages.length)
  const next = new Float64Array(ages.length)
  const costs = new Float64Array(ages.length)
  next[last] = Number.POSITIVE_INFINITY
  for (let index = last - 1; index >= 0; index -= 1) {
    const age = at(ages, index)
    const first = Math.min(last, Math.max(index + 1, indexBelow(ages, age + intervalMinMs) + 1))
    const end = Math.max(first, indexBelow(ages, age + intervalMaxMs))
    let best = first
    for (let candidate = first; candidate <= end; candidate += 1) {
      const lag = (at(ages, candidate) - age) * at(survival, index) - (at(running, candidate) - at(running, index))
      costs[candidate] = lag + at(value, candidate)
      if (at(costs, candidate) < at(costs, best)) best = candidate
    }
    const lowest = best > first && best < end ? lowestOf(ages, costs, best) : atEdge(ages, costs, best)
    // Nearer to the edge than the grid is fine: as soon, or as late, as an ask may be.
    const isEarliest = best === first && first > index + 1
    next[index] = isEarliest ? Math.min(age + intervalMinMs, lowest.age) : lowest.age
    value[index] = lowest.cost + costMs * at(survival, index)
  }
  return next
}

function atEdge(ages: Float64Array, costs: Float64Array, best: number): { age: number; cost: number } {
  return { age: at(ages, best), cost: at(costs, best) }
}

/** ∫ S up to each age: the mean time that tasks have run by then. */
function runningTime(ages: Float64Array, survival: Float64Array): Float64Array {
  const total = new Float64Array(ages.length)
  for (let index = 1; index < ages.length; index += 1) {
    const mean = (at(survival, index) + at(survival, index - 1)) / 2
    total[index] = at(total, index - 1) + (at(ages, index) - at(ages, index - 1)) * mean
  }
  return total
}

/** Of the parabola through the best point and its neighbours, of which the one before costs more: it bends upwards. */
function lowestOf(ages: Float64Array, costs: Float64Array, best: number): { age: number; cost: number } {
  const [before, here, after] = [at(ages, best - 1), at(ages, best), at(ages, best + 1)]
  const slopeBefore = (at(costs, best) - at(costs, best - 1)) / (here - before)
  const slopeAfter = (at(costs, best + 1) - at(costs, best)) / (after - here)
  const bend = (slopeAfter - slopeBefore) / (after - before)
  const age = Math.min(Math.max((before + here) / 2 - slopeBefore / (2 * bend), before), after)
  const cost = at(costs, best) + (age - here) * slopeBefore + bend * (age - here) * (age - before)
  return { age, cost: Math.min(cost, at(costs, best)) }
}

/** The age of the next ask after one at `ageMs` that found the task running. */
export function nextAskAge({ ages, next, steadyWaits, settings }: Plan, ageMs: number): number {
  const last = ages.length - 1
  if (ageMs >= at(ages, last)) return ageMs + at(steadyWaits, cellAt(ageMs))
  const index = indexBelow(ages, ageMs)
  const steady = at(steadyWaits, cellAt(ageMs))
  // Where asks are closer together than the points of the grid, the hazard is as good as constant between them.
  if (at(ages, index + 1) - at(ages, index) > steady / 2) return ageMs + steady
  const [low, high] = [at(next, index), at(next, index + 1)]
  const gap = at(ages, index + 1) - at(ages, index)
  // Where the plan leaps over a time in which nothing ends there is no ask between its two sides.
  const isLeap = !(high - low <= 3 * gap)
  const planned = isLeap ? low : low + ((ageMs - at(ages, index)) / gap) * (high - low)
  return Math.min(Math.max(planned, ageMs + settings.intervalMinMs), ageMs + settings.intervalMaxMs)
}

function cellAt(ageMs: number): number {
  return Math.min(CELL_COUNT - 1, indexBelow(CELL_AGES, ageMs))
}

/** The last index whose value is not above; the values ascend from 0. */
function indexBelow(values: Float64Array, value: number): number {
  let low = 0
  let high = values.length
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (at(values, middle) <= value) low = middle
    else high = middle
  }
  return low
}

/** The ages at which a task would be asked about from the beginning on. */
export function askAges(plan: Plan, countMax: number): readonly number[] {
  const ages: number[] = []
  for (let ageMs = 0; ages.length < countMax; ages.push(ageMs)) ageMs = nextAskAge(plan, ageMs)
  return ages
}

function at(values: Float64Array, index: number): number {
  return values[index] as number
}
