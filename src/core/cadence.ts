/**
 * When to ask about a running task again: learned, for each kind by itself, from all that was asked before.
 *
 * What is known of a kind (survival.ts) and what a query is worth (the setting, times the price of price.ts) make a plan
 * (plan.ts). Plans are made anew, when somebody next asks, once enough was seen since the last time; in between, an ask is
 * a look-up. What is learned is counted in place, as each answer adds to it.
 */

import { askAges, nextAskAge, type Plan, solvePlan } from './plan.ts'
import {
  ageByWhich,
  newSurvival,
  refit,
  type Sighting,
  type Survival,
  see,
  survivalAt,
  survivalFromText,
  survivalToText,
  unfinishedShare,
} from './survival.ts'
import { type EpochMs, SECOND } from './time.ts'

export interface CadenceSettings {
  readonly intervalMinMs: number
  readonly intervalMaxMs: number
  /** How much waiting one query is worth. */
  readonly pollCostMs: number
}

export interface CadenceInput {
  readonly kind: string
  /** How long the upstream had had the task when it was last found running; 0: it was never asked about. */
  readonly runningAgeMs: number
  /** How long it has had it now. */
  readonly ageMs: number
  readonly now: EpochMs
  /** How many times its cost a query is worth while the rate limit binds; at least 1. */
  readonly priceFactor: number
  /** In [0, 1): asks are spread a little around the best instant. */
  readonly random: number
}

export interface CadencePlan {
  /** From now on. */
  readonly delayMs: number
  /** Why, in words a person reads in the timeline. */
  readonly reason: string
}

/** What is known of a kind, to be kept; all but `state` is for people. */
export interface CadenceRecord {
  readonly kind: string
  readonly state: string
  readonly completionCount: number
  readonly medianMs: number | null
  readonly p90Ms: number | null
  readonly unfinishedShare: number
  readonly pollCostMs: number
  readonly plan: string
}

export interface Cadence {
  /** Goes on where `takeChanged` left off; what cannot be read, or was kept by another version, starts anew. Which? */
  restore(saved: readonly Pick<CadenceRecord, 'kind' | 'state'>[]): readonly string[]
  plan(input: CadenceInput): CadencePlan
  learn(kind: string, sighting: Sighting): void
  /** What there is to keep of the kinds about which something was learned since they were last taken. */
  takeChanged(): readonly CadenceRecord[]
}

interface Learned {
  readonly survival: Survival
  /** By the price's step. */
  readonly plans: Map<number, Plan>
  refittedAt: EpochMs | null
  completionsSince: number
  survivalsSince: number
  isChanged: boolean
  /** The last that was asked for. */
  priceStep: number
}

/** Ends that were seen count for as much as so many asks that found the task running. */
const SURVIVALS_PER_COMPLETION = 4
const REFIT_COMPLETIONS_MIN = 4
const REFIT_COMPLETIONS_MAX = 48
/** Plans are made anew once this much more is known. */
const REFIT_SHARE = 0.1
/** And, once a kind is known, no more often than this, however many end. */
const REFIT_EVERY_MS = SECOND
const KNOWN_COMPLETIONS = 200
/** Of the wait, either way: always to ask at the same ages would leave what happens between them unknown. */
const SPREAD = 0.1
const ASKS_TOLD = 8

export function createCadence(settings: CadenceSettings): Cadence {
  const kinds = new Map<string, Learned>()

  function ofKind(kind: string): Learned {
    const known = kinds.get(kind)
    if (known !== undefined) return known
    const learned = knowing(newSurvival())
    kinds.set(kind, learned)
    return learned
  }

  function planOf(learned: Learned): Plan {
    const step = learned.priceStep
    const known = learned.plans.get(step)
    if (known !== undefined) return known
    const { intervalMinMs, intervalMaxMs, pollCostMs } = settings
    const costMs = pollCostMs * factorOfStep(step)
    const survivalOf = (ageMs: number) => survivalAt(learned.survival, ageMs)
    const plan = solvePlan(survivalOf, { costMs, intervalMinMs, intervalMaxMs })
    learned.plans.set(step, plan)
    return plan
  }

  function toRecord(kind: string, learned: Learned): CadenceRecord {
    const { survival } = learned
    const plan = planOf(learned)
    return {
      kind,
      state: survivalToText(survival),
      completionCount: survival.completionCount,
      medianMs: rounded(ageByWhich(survival, 0.5)),
      p90Ms: rounded(ageByWhich(survival, 0.9)),
      unfinishedShare: unfinishedShare(survival),
      pollCostMs: Math.round(plan.settings.costMs),
      plan: `${askAges(plan, ASKS_TOLD).map(inSeconds).join(', ')} …`,
    }
  }

  return {
    restore(saved) {
      return saved.flatMap(({ kind, state }) => {
        const survival = survivalFromText(state)
        if (survival === null) return [kind]
        kinds.set(kind, knowing(survival))
        return []
      })
    },

    plan({ kind, runningAgeMs, ageMs, now, priceFactor, random }) {
      const learned = ofKind(kind)
      if (isStale(learned, now)) learnedAnew(learned, now)
      learned.priceStep = stepOfFactor(priceFactor)
      const plan = planOf(learned)
      const { intervalMinMs, intervalMaxMs } = settings
      const wanted = (nextAskAge(plan, runningAgeMs) - runningAgeMs) * (1 + SPREAD * (2 * random - 1))
      const wait = runningAgeMs + wanted - ageMs
      const delayMs = Math.round(Math.min(Math.max(wait, intervalMinMs), intervalMaxMs))
      const running = survivalAt(learned.survival, runningAgeMs)
      const share = running === 0 ? 1 : 1 - survivalAt(learned.survival, ageMs + delayMs) / running
      return { delayMs, reason: reasonOf({ askAgeMs: ageMs + delayMs, share, delayMs, settings, plan }) }
    },

    learn(kind, sighting) {
      const learned = ofKind(kind)
      see(learned.survival, sighting)
      if (sighting.hasEnded) learned.completionsSince += 1
      else learned.survivalsSince += 1
      learned.isChanged = true
    },

    takeChanged() {
      const changed = [...kinds].filter(([, { isChanged }]) => isChanged)
      return changed.map(([kind, learned]) => {
        learned.isChanged = false
        return toRecord(kind, learned)
      })
    },
  }
}

function knowing(survival: Survival): Learned {
  return {
    survival,
    plans: new Map(),
    refittedAt: null,
    completionsSince: 0,
    survivalsSince: 0,
    isChanged: false,
    priceStep: 0,
  }
}

function isStale({ survival, refittedAt, completionsSince, survivalsSince }: Learned, now: EpochMs): boolean {
  const { completionCount } = survival
  const seen = completionsSince + survivalsSince / SURVIVALS_PER_COMPLETION
  const needed = Math.min(Math.max(completionCount * REFIT_SHARE, REFIT_COMPLETIONS_MIN), REFIT_COMPLETIONS_MAX)
  if (seen < needed) return false
  const isRested = refittedAt === null || Math.abs(now - refittedAt) >= REFIT_EVERY_MS
  return isRested || completionCount <= KNOWN_COMPLETIONS
}

function learnedAnew(learned: Learned, now: EpochMs): void {
  refit(learned.survival)
  learned.plans.clear()
  learned.refittedAt = now
  learned.completionsSince = 0
  learned.survivalsSince = 0
}

/** Plans are made for prices in steps of √2, each of which changes a wait by a fifth. */
function stepOfFactor(factor: number): number {
  return Math.max(0, Math.round(2 * Math.log2(factor)))
}

function factorOfStep(step: number): number {
  return 2 ** (step / 2)
}

interface Reasons {
  readonly askAgeMs: number
  /** Of the tasks that ran when this one did, so many have ended by the next ask. */
  readonly share: number
  readonly delayMs: number
  readonly settings: CadenceSettings
  readonly plan: Plan
}

function reasonOf({ askAgeMs, share, delayMs, settings, plan }: Reasons): string {
  const { intervalMinMs, intervalMaxMs, pollCostMs } = settings
  const what = `age ${inSeconds(askAgeMs)}, ${Math.round(100 * share)} % likely done by then`
  if (delayMs >= intervalMaxMs) return `${what}, the longest wait`
  if (delayMs <= intervalMinMs) return `${what}, the shortest wait`
  const { costMs } = plan.settings
  const worth = costMs > pollCostMs ? ` (worth ${inSeconds(costMs)} while the rate limit binds)` : ''
  return `${what}, waiting longer would cost more than a query${worth}`
}

function inSeconds(ms: number): string {
  const seconds = ms / SECOND
  return `${seconds < 100 ? seconds.toFixed(1) : Math.round(seconds)} s`
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms)
}
