/**
 * How fast one credential may ask, as a value: kept in the store, so that twenty restarts in a minute still keep the rate.
 *
 * The rate is a GCRA (gcra.ts). Being throttled halves it and stops asking for a while; answers raise it again in equal
 * steps (additive increase, multiplicative decrease; Chiu & Jain 1989). Being refused pauses the credential but for one
 * probe a minute.
 *
 * While nobody answers the rate is halved each second, down to one query in five seconds: an upstream that comes back is
 * met by a few and not by all that waited, and slots are not all held by queries that end by their deadline. The first answer
 * begins a slow start (Jacobson 1988): the rate doubles each second until it is what it was.
 */

import type { Served } from './fair-share.ts'
import { type GcraPace, type Grant, grantAt, spentArrival } from './gcra.ts'
import type { Observation } from './observation.ts'
import { after, type EpochMs, earliest, epochMs, latest, MINUTE, SECOND } from './time.ts'

export interface Pause {
  readonly code: string
  readonly detail: string
  readonly since: EpochMs
  readonly nextProbeAt: EpochMs
}

export type Refusal = Omit<Extract<BudgetEffect, { kind: 'refused' }>, 'kind'>
export type Acceptance = Omit<Extract<BudgetEffect, { kind: 'accepted' }>, 'kind'>

export interface KindAnswer {
  readonly isRefused: boolean
  readonly at: EpochMs
}

export interface Budget {
  /** GCRA's theoretical arrival time in milliseconds since the epoch; fractional, as one query may take 0.2 ms of it. */
  readonly arrivalAt: number
  /** The share of the configured rate in force, in (0, 1]. */
  readonly rateFactor: number
  readonly raisedAt: EpochMs
  readonly throttledUntil: EpochMs
  readonly throttledAt: EpochMs
  readonly pause: Pause | null
  /** The last answer about each kind, by name: quota is bought by product, so one may be refused and another not. */
  readonly kinds: Readonly<Record<string, KindAnswer>>
  /** Since when queries end without an answer; null while answers come. */
  readonly silentSince: EpochMs | null
  /** The rate factor from before an outage while it is lowered or regained; null otherwise. */
  readonly regainTo: number | null
  /** Which queues of due tasks had their turn (fair-share.ts). */
  readonly served: Served
}

export interface BudgetSettings {
  /** Queries a second. */
  readonly rate: number
}

const PROBE_EVERY_MS = MINUTE
/** An answer older than this says nothing about the credential as it is now. */
const KIND_REMEMBERED_MS = 10 * MINUTE
const KIND_NOTED_EVERY_MS = MINUTE
const RATE_FACTOR_MIN = 0.02
const RAISE_EVERY_MS = SECOND
const RAISE_STEP = 0.05
/** Without a word from the upstream about how long: the vendor's siblings ban for one or two seconds. */
const THROTTLE_DEFAULT_MS = 2 * SECOND
const THROTTLE_MAX_MS = 10 * MINUTE
/** One query that ends without an answer is no outage, nor are those that were under way beside it. */
const OUTAGE_AFTER_MS = 5 * SECOND
/** How long an upstream that is back may go unnoticed. */
const OUTAGE_PROBE_MS = 5 * SECOND
/** A tenth of a second's worth may go out together, so that slots are filled in groups and not one by one. */
const BURST_SECONDS = 0.1

export function newBudget(now: EpochMs): Budget {
  return {
    arrivalAt: now,
    rateFactor: 1,
    raisedAt: now,
    throttledUntil: epochMs(0),
    throttledAt: epochMs(0),
    pause: null,
    kinds: {},
    silentSince: null,
    regainTo: null,
    served: [],
  }
}

/** The same budget by a clock that was set by `byMs`. */
export function movedBudget(budget: Budget, byMs: number): Budget {
  const moved = (at: EpochMs) => epochMs(at + byMs)
  const { pause, silentSince } = budget
  return {
    ...budget,
    arrivalAt: budget.arrivalAt + byMs,
    raisedAt: moved(budget.raisedAt),
    throttledUntil: moved(budget.throttledUntil),
    throttledAt: moved(budget.throttledAt),
    silentSince: silentSince === null ? null : moved(silentSince),
    pause: pause && { ...pause, since: moved(pause.since), nextProbeAt: moved(pause.nextProbeAt) },
    kinds: Object.fromEntries(
      Object.entries(budget.kinds).map(([name, answer]) => [name, { ...answer, at: moved(answer.at) }]),
    ),
  }
}

/** Queries that may leave at one instant. */
export function burstMax({ rate }: BudgetSettings): number {
  return Math.max(1, Math.floor(rate * BURST_SECONDS))
}

/** How many of `wantedCount` queries may leave now. Changes nothing: `spend` does. */
export function grant(budget: Budget, settings: BudgetSettings, now: EpochMs, wantedCount: number): Grant {
  if (budget.pause !== null) {
    const { nextProbeAt } = budget.pause
    const furthest = after(now, PROBE_EVERY_MS)
    const isDue = now >= nextProbeAt || nextProbeAt > furthest
    const grantedCount = isDue ? Math.min(1, wantedCount) : 0
    return { grantedCount, nextGrantAt: earliest(nextProbeAt, furthest) }
  }
  if (now < budget.throttledUntil && !isAhead(budget.throttledAt, now))
    return { grantedCount: 0, nextGrantAt: budget.throttledUntil }
  const pace = paceOf(budget, settings)
  return grantAt(arrivalAt(budget, pace, now), pace, now, wantedCount)
}

/** The budget after `queryCount` queries left at `now`. */
export function spend(budget: Budget, settings: BudgetSettings, now: EpochMs, queryCount: number): Budget {
  if (queryCount === 0) return budget
  const pause = budget.pause === null ? null : { ...budget.pause, nextProbeAt: after(now, PROBE_EVERY_MS) }
  const pace = paceOf(budget, settings)
  return { ...budget, arrivalAt: spentArrival(arrivalAt(budget, pace, now), pace, now, queryCount), pause }
}

/** What one query taught about its credential. */
export type BudgetEffect =
  | { readonly kind: 'accepted'; readonly askedAt: EpochMs; readonly taskKind: string }
  | { readonly kind: 'throttled'; readonly askedAt: EpochMs; readonly retryAfterMs: number | null }
  | { readonly kind: 'refused'; readonly code: string; readonly detail: string; readonly taskKind: string }
  | { readonly kind: 'silent' }
  /** More queries left than were claimed for: one was asked again at once. */
  | { readonly kind: 'spent'; readonly queryCount: number }

/** A credential is neither accepted nor refused by an answer that did not come; that none comes is an outage. */
export function budgetEffectOf(observation: Observation, taskKind: string, askedAt: EpochMs): BudgetEffect | null {
  switch (observation.kind) {
    case 'throttled':
      return { kind: 'throttled', askedAt, retryAfterMs: observation.retryAfterMs }
    case 'refused':
      return { kind: 'refused', code: observation.code, detail: observation.detail, taskKind }
    case 'unavailable':
      // Nobody was asked about a kind that is not configured.
      return observation.reason === 'unknown_kind' ? null : { kind: 'silent' }
    case 'running':
    case 'finished':
    case 'failed':
      return { kind: 'accepted', askedAt, taskKind }
  }
}

export function applyEffect(budget: Budget, settings: BudgetSettings, now: EpochMs, effect: BudgetEffect): Budget {
  switch (effect.kind) {
    case 'throttled':
      return onThrottled(budget, now, effect.askedAt, effect.retryAfterMs)
    case 'refused':
      return onRefused(budget, now, effect)
    case 'accepted':
      return onAccepted(budget, now, effect)
    case 'silent':
      return onSilence(budget, settings, now)
    case 'spent':
      return spend(budget, settings, now, effect.queryCount)
  }
}

/** Slows down and waits. Throttled answers to queries from before the last slowing down do not slow down again. */
export function onThrottled(budget: Budget, now: EpochMs, askedAt: EpochMs, retryAfterMs: number | null): Budget {
  const waitMs = Math.min(Math.max(retryAfterMs ?? THROTTLE_DEFAULT_MS, 0), THROTTLE_MAX_MS)
  const isForgotten = isAhead(budget.throttledAt, now)
  const throttledUntil = latest(isForgotten ? now : budget.throttledUntil, after(now, waitMs))
  if (askedAt <= budget.throttledAt && !isForgotten) return { ...budget, throttledUntil }
  const rateFactor = Math.max(RATE_FACTOR_MIN, budget.rateFactor / 2)
  // Somebody is there. From here on the rate is raised as after any throttling: what it was before may be too much now.
  const answered = { ...budget, silentSince: null, regainTo: null }
  return { ...withRateFactor(answered, now, rateFactor), raisedAt: now, throttledAt: now, throttledUntil }
}

/** A query ended without an answer. */
function onSilence(budget: Budget, settings: BudgetSettings, now: EpochMs): Budget {
  const { silentSince, regainTo } = budget
  if (silentSince === null || isAhead(silentSince, now)) return { ...budget, silentSince: now }
  if (now - silentSince < OUTAGE_AFTER_MS || Math.abs(now - budget.raisedAt) < RAISE_EVERY_MS) return budget
  const probing = Math.min(1, Math.max(RATE_FACTOR_MIN, SECOND / OUTAGE_PROBE_MS / settings.rate))
  const rateFactor = Math.max(budget.rateFactor / 2, Math.min(probing, budget.rateFactor))
  if (rateFactor === budget.rateFactor) return budget
  return { ...withRateFactor(budget, now, rateFactor), raisedAt: now, regainTo: regainTo ?? budget.rateFactor }
}

/**
 * The operator has to act. The credential pauses, unless another kind was accepted lately: then it is this kind alone
 * that is not bought or not there, and its tasks wait by themselves. Keeps the first instant; a later refusal only
 * replaces the words.
 */
export function onRefused(budget: Budget, now: EpochMs, refusal: Refusal): Budget {
  const { code, detail, taskKind } = refusal
  const kinds = { ...budget.kinds, [taskKind]: { isRefused: true, at: now } }
  const isAnotherAccepted = Object.entries(budget.kinds).some(
    ([name, { isRefused, at }]) => name !== taskKind && !isRefused && now - at < KIND_REMEMBERED_MS,
  )
  if (budget.pause === null && isAnotherAccepted) return { ...budget, kinds }
  const since = budget.pause?.since ?? now
  const nextProbeAt = budget.pause?.nextProbeAt ?? after(now, PROBE_EVERY_MS)
  return { ...budget, kinds, pause: { code, detail, since, nextProbeAt } }
}

/** The upstream accepted the credential: no pause or silence any more, and one step up for each full second since the last. */
export function onAccepted(budget: Budget, now: EpochMs, { askedAt, taskKind }: Acceptance): Budget {
  // An answer to a query that left before the refusal says nothing about now.
  const since = budget.pause?.since ?? now
  const pause = askedAt <= since && !isAhead(since, now) ? budget.pause : null
  // What else was refused together with the credential may still be, and is told of anew if it is.
  const isPauseOver = budget.pause !== null && pause === null
  const kinds = withAccepted(isPauseOver ? acceptedOnly(budget.kinds) : budget.kinds, taskKind, now)
  const heard = { kinds, pause, silentSince: null }
  if (isAhead(budget.raisedAt, now)) {
    return { ...budget, ...heard, raisedAt: now, throttledAt: now, throttledUntil: now }
  }
  const steps = stepsUp(budget, now)
  if (steps <= 0) {
    const isNews = pause !== budget.pause || kinds !== budget.kinds || budget.silentSince !== null
    return isNews ? { ...budget, ...heard } : budget
  }
  return { ...withRateFactor(budget, now, raised(budget, steps)), ...heard, raisedAt: now, ...regained(budget, steps) }
}

function stepsUp({ rateFactor, regainTo, silentSince, raisedAt, throttledUntil }: Budget, now: EpochMs): number {
  if (rateFactor >= 1) return 0
  // Waiting out a ban is no answer: without its end here, the first one after ten minutes would bring the whole rate back.
  const steps = Math.floor((now - latest(raisedAt, throttledUntil)) / RAISE_EVERY_MS)
  // Nor is an outage: the answer that ends it is the first.
  return regainTo !== null && silentSince !== null ? Math.min(1, steps) : steps
}

function raised({ rateFactor, regainTo }: Budget, steps: number): number {
  return regainTo === null ? Math.min(1, rateFactor + steps * RAISE_STEP) : Math.min(regainTo, rateFactor * 2 ** steps)
}

function regained(budget: Budget, steps: number): Pick<Budget, 'regainTo'> {
  const { regainTo } = budget
  return { regainTo: regainTo === null || raised(budget, steps) >= regainTo ? null : regainTo }
}

function acceptedOnly(kinds: Budget['kinds']): Budget['kinds'] {
  return Object.fromEntries(Object.entries(kinds).filter(([, { isRefused }]) => !isRefused))
}

/** Most answers are like the one before: those are noted once a minute, as each note is a write. */
function withAccepted(kinds: Budget['kinds'], taskKind: string, now: EpochMs): Budget['kinds'] {
  const known = Object.hasOwn(kinds, taskKind) ? kinds[taskKind] : undefined
  const isNoted = known !== undefined && !known.isRefused && Math.abs(now - known.at) < KIND_NOTED_EVERY_MS
  return isNoted ? kinds : { ...kinds, [taskKind]: { isRefused: false, at: now } }
}

function paceOf(budget: Budget, settings: BudgetSettings): GcraPace {
  const spacingMs = SECOND / (settings.rate * budget.rateFactor)
  return { spacingMs, toleranceMs: (burstMax(settings) - 1) * spacingMs }
}

/** Queries that are spent stay spent: at another rate they take longer, or less long, to be paid for. */
function withRateFactor(budget: Budget, now: EpochMs, rateFactor: number): Budget {
  const owedMs = budget.arrivalAt - now
  if (owedMs <= 0) return { ...budget, rateFactor }
  return { ...budget, rateFactor, arrivalAt: now + (owedMs * budget.rateFactor) / rateFactor }
}

/**
 * Whether an instant that was `now` when it was written lies in the future: the wall clock was set back, and what was
 * timed by it is forgotten. Steps that overtake one another by a moment are no such thing.
 */
function isAhead(writtenAt: EpochMs, now: EpochMs): boolean {
  return writtenAt > now + SECOND
}

/**
 * A wall clock that jumped back would leave the arrival time far in the future and stop all asking; nothing but such a
 * jump can put it further ahead than a burst. Then the allowance starts anew, with one query. To pull it nearer instead
 * would move it along with every look and grant nothing until the clock is back.
 */
function arrivalAt(budget: Budget, { spacingMs, toleranceMs }: GcraPace, now: EpochMs): number {
  const furthest = now + Math.max((toleranceMs + spacingMs) * 2, SECOND)
  return budget.arrivalAt > furthest ? now + toleranceMs : budget.arrivalAt
}
