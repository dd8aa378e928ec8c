/** Durations whose distribution is known, the plan that knows it, and what any plan costs: those of the benchmark. */

// @ts-expect-error: plain JavaScript, whose types are below
import * as worlds from '../../bench/cadence/worlds.mjs'

type Chance = () => number

export interface Durations {
  /** The share that is still running at an age in milliseconds. */
  readonly survival: (ageMs: number) => number
  readonly draw: (chance: Chance) => number
}

interface Worlds {
  createChance(seed: number): Chance
  logNormal(medianMs: number, sigma: number): Durations
  exponential(meanMs: number): Durations
  mixed(share: number, first: Durations, second: Durations): Durations
  kindsOfDuration(medianMs: number): Readonly<Record<string, { before: Durations; durations: Durations }>>
  costOf(ages: readonly number[], durations: Durations, costMs: number): number
  oracleAges(durations: Durations, costMs: number): readonly number[]
  bestFixedMs(durations: Durations, costMs: number, medianMs: number): number
  fixedAges(intervalMs: number, untilMs: number): readonly number[]
}

export const {
  createChance,
  logNormal,
  exponential,
  mixed,
  kindsOfDuration,
  costOf,
  oracleAges,
  bestFixedMs,
  fixedAges,
}: Worlds = worlds
