/**
 * One estimate of how likely a running task ends at each age, from what a poller sees of it: "still running" when it was
 * asked, and "ended since". Nobody sees the end itself.
 *
 * Ages fall into cells that are 8 % wide, from a quarter of a second to fifteen hours. Within a cell the hazard is constant,
 * so the estimate is completions ÷ exposure (a piecewise exponential model; Friedman 1982). An end that was seen between two
 * asks is spread over the cells between them as the estimate of the moment has it (expectation-maximisation, one step for
 * each answer; Cappé & Moulines 2009), and "still running" counts as exposure, whether the task ends later or never.
 *
 * Counts are forgotten at an even pace, so that durations may drift. `fitHazard` turns them into a smooth curve: the
 * penalised likelihood with the second differences of the log hazard as penalty (Eilers & Marx 1996), drawn a little
 * towards a prior, which is worth a few completions and fades as they come.
 */

/** The upper edge of the first cell; no upstream ends a task so soon that it would matter where below it. */
const FIRST_CELL_MS = 250
const CELL_RATIO = 1.08
const LOG_CELL_RATIO = Math.log(CELL_RATIO)
export const CELL_COUNT = 160

/** The prior: half have ended by 20 s, nine tenths within two minutes, and there is no age at which it is sure. */
const PRIOR_MEDIAN_MS = 20_000
const PRIOR_SHAPE = 1.2

/** What the prior is worth at first, in completions for each cell, and after how many completions it is half of that. */
const PRIOR_WEIGHT = 0.01
const PRIOR_FADES_AFTER = 20
/** Of an end that was seen late this much is spread by the prior, or what ends sooner than ever would never be looked for. */
const SPREAD_PRIOR_SHARE = 0.02

const LOG_HAZARD_MIN = -25
const LOG_HAZARD_MAX = 3
const FIT_STEPS_MAX = 12
const FIT_STEP_LENGTH_MAX = 2
const FIT_PRECISION = 1e-3
/** Weights grow instead of counts shrinking; long before they overflow all are brought down together. */
const WEIGHT_MAX = 1e6

/** The age as a place among the cells, in [0, CELL_COUNT]: cell 12 begins at 12 and is one long. */
export function placeOf(ageMs: number): number {
  if (!(ageMs > 0)) return 0
  if (ageMs < FIRST_CELL_MS) return ageMs / FIRST_CELL_MS
  return Math.min(CELL_COUNT, 1 + Math.log(ageMs / FIRST_CELL_MS) / LOG_CELL_RATIO)
}

/** The other way round, in milliseconds. */
export function ageAt(place: number): number {
  return place <= 1 ? place * FIRST_CELL_MS : FIRST_CELL_MS * Math.exp((place - 1) * LOG_CELL_RATIO)
}

/** In cells: the integral of the hazard over each. */
const PRIOR = Float64Array.from({ length: CELL_COUNT }, (_, cell) => priorRest(cell + 1) - priorRest(cell))

/** The log-logistic distribution's integrated hazard. */
function priorRest(place: number): number {
  return Math.log1p((ageAt(place) / PRIOR_MEDIAN_MS) ** PRIOR_SHAPE)
}

/** Changed in place: it is on the path of every answer. */
export interface Hazard {
  /** After so many completions what was counted is worth a third (1/e). */
  readonly memory: number
  /** How much a bend of the curve costs, in completions: more shows less of what is there, and less of what is chance. */
  readonly smoothness: number
  /** Per cell, times `weight`. */
  readonly completions: Float64Array
  readonly exposure: Float64Array
  weight: number
  completionCount: number
  /** The fitted curve per cell, and its sums: `rest[i]` is the integrated hazard up to cell i. */
  readonly logHazard: Float64Array
  readonly hazard: Float64Array
  readonly rest: Float64Array
}

export function newHazard({ memory, smoothness }: Pick<Hazard, 'memory' | 'smoothness'>): Hazard {
  const hazard: Hazard = {
    memory,
    smoothness,
    completions: new Float64Array(CELL_COUNT),
    exposure: new Float64Array(CELL_COUNT),
    weight: 1,
    completionCount: 0,
    logHazard: Float64Array.from(PRIOR, Math.log),
    hazard: new Float64Array(CELL_COUNT),
    rest: new Float64Array(CELL_COUNT + 1),
  }
  tabulate(hazard)
  return hazard
}

/** The integrated hazard between two places: a task that runs at the first still runs at the second with exp(−it). */
export function hazardBetween(hazard: Hazard, from: number, to: number): number {
  return hazardUpTo(hazard, to) - hazardUpTo(hazard, from)
}

export function hazardUpTo({ rest, hazard }: Hazard, place: number): number {
  const cell = Math.min(CELL_COUNT - 1, Math.floor(place))
  return at(rest, cell) + (place - cell) * at(hazard, cell)
}

/** A task ran at both places. */
export function addSurvival(estimate: Hazard, from: number, to: number): void {
  const { exposure, weight } = estimate
  for (let place = from; place < to; ) {
    const cell = Math.floor(place)
    const end = Math.min(to, cell + 1)
    add(exposure, cell, weight * (end - place))
    place = end
  }
}

/** A task ran at the first place and had ended at the second. */
export function addCompletion(estimate: Hazard, from: number, to: number): void {
  const { completions, exposure, weight } = estimate
  const total = spreadBetween(estimate, from, to)
  const endedShare = -Math.expm1(-total)
  let running = 1
  for (let place = from; place < to; ) {
    const cell = Math.floor(place)
    const end = Math.min(to, cell + 1)
    const length = end - place
    const hazard = spreadHazard(estimate, cell)
    const ended = -Math.expm1(-hazard * length)
    add(completions, cell, (weight * running * ended) / endedShare)
    // How much of this part it saw running, on average over all ends within the whole interval.
    add(exposure, cell, (weight * Math.max(0, (running * ended) / hazard - length * (1 - endedShare))) / endedShare)
    running *= 1 - ended
    place = end
  }
  estimate.completionCount += 1
  estimate.weight *= 1 + 1 / estimate.memory
  if (estimate.weight > WEIGHT_MAX) bringDown(estimate)
}

function spreadHazard({ hazard }: Hazard, cell: number): number {
  return at(hazard, cell) + SPREAD_PRIOR_SHARE * at(PRIOR, cell)
}

function spreadBetween(estimate: Hazard, from: number, to: number): number {
  let total = 0
  for (let place = from; place < to; ) {
    const cell = Math.floor(place)
    const end = Math.min(to, cell + 1)
    total += (end - place) * spreadHazard(estimate, cell)
    place = end
  }
  return total
}

function bringDown(estimate: Hazard): void {
  const { completions, exposure, weight } = estimate
  for (let cell = 0; cell < CELL_COUNT; cell += 1) {
    completions[cell] = at(completions, cell) / weight
    exposure[cell] = at(exposure, cell) / weight
  }
  estimate.weight = 1
}

/** Forgets what it counted and goes on from the counts of another. */
export function takeOver(estimate: Hazard, other: Hazard): void {
  estimate.completions.set(other.completions)
  estimate.exposure.set(other.exposure)
  estimate.logHazard.set(other.logHazard)
  estimate.weight = other.weight
  estimate.completionCount = Math.min(other.completionCount, other.memory)
}

/**
 * Fits the curve to the counts, from where it was: Newton's method on the penalised likelihood, whose matrix has five
 * diagonals. About 0.1 ms.
 */
export function fitHazard(estimate: Hazard): void {
  const { completions, exposure, weight, logHazard, smoothness } = estimate
  const priorWeight = PRIOR_WEIGHT / (1 + estimate.completionCount / PRIOR_FADES_AFTER)
  for (let step = 0; step < FIT_STEPS_MAX; step += 1) {
    const { main, first, second, gradient } = BANDS
    for (let cell = 0; cell < CELL_COUNT; cell += 1) {
      const expected = (at(exposure, cell) / weight) * Math.exp(at(logHazard, cell))
      const pull = priorWeight * (at(logHazard, cell) - Math.log(at(PRIOR, cell)))
      gradient[cell] = at(completions, cell) / weight - expected - pull
      main[cell] = expected + priorWeight
      first[cell] = 0
      second[cell] = 0
    }
    addPenalty(logHazard, smoothness)
    solveBands()
    const length = gradient.reduce((longest, move) => Math.max(longest, Math.abs(move)), 0)
    const share = Math.min(1, FIT_STEP_LENGTH_MAX / Math.max(length, FIT_STEP_LENGTH_MAX))
    for (let cell = 0; cell < CELL_COUNT; cell += 1) {
      const moved = at(logHazard, cell) + share * at(gradient, cell)
      logHazard[cell] = Math.min(Math.max(moved, LOG_HAZARD_MIN), LOG_HAZARD_MAX)
    }
    if (length < FIT_PRECISION) break
  }
  tabulate(estimate)
}

/** Room to work in, so that a fit allocates nothing. Row i holds the entries (i, i), (i, i−1) and (i, i−2). */
const BANDS = {
  main: new Float64Array(CELL_COUNT),
  first: new Float64Array(CELL_COUNT),
  second: new Float64Array(CELL_COUNT),
  gradient: new Float64Array(CELL_COUNT),
}

/** The second differences of the curve, squared. */
function addPenalty(curve: Float64Array, smoothness: number): void {
  const { main, first, second, gradient } = BANDS
  for (let cell = 0; cell + 2 < CELL_COUNT; cell += 1) {
    const bend = smoothness * (at(curve, cell) - 2 * at(curve, cell + 1) + at(curve, cell + 2))
    add(gradient, cell, -bend)
    add(gradient, cell + 1, 2 * bend)
    add(gradient, cell + 2, -bend)
    add(main, cell, smoothness)
    add(main, cell + 1, 4 * smoothness)
    add(main, cell + 2, smoothness)
    add(first, cell + 1, -2 * smoothness)
    add(first, cell + 2, -2 * smoothness)
    add(second, cell + 2, smoothness)
  }
}

/** Solves in place by Cholesky's factors; the solution is left in `gradient`. */
function solveBands(): void {
  const { main, first, second, gradient } = BANDS
  for (let row = 0; row < CELL_COUNT; row += 1) {
    const far = row < 2 ? 0 : at(second, row) / at(main, row - 2)
    const near = row < 1 ? 0 : (at(first, row) - (row < 2 ? 0 : far * at(first, row - 1))) / at(main, row - 1)
    second[row] = far
    first[row] = near
    main[row] = Math.sqrt(at(main, row) - near * near - far * far)
  }
  for (let row = 0; row < CELL_COUNT; row += 1) {
    const known =
      (row < 1 ? 0 : at(first, row) * at(gradient, row - 1)) + (row < 2 ? 0 : at(second, row) * at(gradient, row - 2))
    gradient[row] = (at(gradient, row) - known) / at(main, row)
  }
  for (let row = CELL_COUNT - 1; row >= 0; row -= 1) {
    const near = row + 1 < CELL_COUNT ? at(first, row + 1) * at(gradient, row + 1) : 0
    const far = row + 2 < CELL_COUNT ? at(second, row + 2) * at(gradient, row + 2) : 0
    gradient[row] = (at(gradient, row) - near - far) / at(main, row)
  }
}

function tabulate({ logHazard, hazard, rest }: Hazard): void {
  for (let cell = 0; cell < CELL_COUNT; cell += 1) {
    hazard[cell] = Math.exp(at(logHazard, cell))
    rest[cell + 1] = at(rest, cell) + at(hazard, cell)
  }
}

function at(cells: Float64Array, index: number): number {
  return cells[index] as number
}

function add(cells: Float64Array, index: number, amount: number): void {
  cells[index] = at(cells, index) + amount
}
