/** What goes wrong in one history: each seed draws a part of all faults, and how often each of them strikes. */

import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import type { EngineOptions } from '../../src/engine/engine.ts'
import { OPTIONS } from '../support/world.ts'
import { type Chance, createChance } from './random.ts'

export interface Window {
  readonly from: number
  readonly until: number
}

export type StoreTrouble = 'full' | 'really_full' | 'busy'
export type Weather = 'outage' | 'throttled' | 'refused' | 'garbage'
export type Character =
  | 'healthy'
  | 'flapping'
  | 'silent'
  | 'slow'
  | 'failing'
  | 'throttling'
  | 'gone'
  | 'redirecting'
  | 'unreachable'
  | 'rebinding'
  | 'reviving'

export interface Plan {
  readonly seed: number
  /** Many days with little to do: what endpoints that fail for days are there for. */
  readonly isLong: boolean
  /** The store is as far from the engine as one in a thread of its own. */
  readonly isBehindThread: boolean
  readonly options: EngineOptions
  readonly safetyMs: number
  readonly taskCount: number
  readonly receivers: readonly Character[]
  /** Of whoever is told of the daemon itself; null: nobody is. */
  readonly operator: Character | null
  /** How often the process dies at one of its crash points, and how. */
  readonly crashes: {
    readonly perPoint: number
    readonly max: number
    readonly powerLossShare: number
    /** Strikes only at points whose name begins so, and there so much more often. */
    readonly target: string
  }
  /** The share of port calls that fail instead of being made. */
  readonly callFailures: number
  /** How often a commit fails, and how. */
  readonly commitErrors: { readonly perCommit: number; readonly kinds: readonly CommitError[] }
  readonly storeTroubles: readonly (Window & { readonly kind: StoreTrouble })[]
  readonly clockJumps: readonly { readonly at: number; readonly byMs: number }[]
  /** SIGSTOP at any time, and just when something is out in the world. */
  readonly stops: readonly Window[]
  readonly stopsUnderWay: { readonly perCall: number; readonly max: number }
  readonly restarts: readonly { readonly at: number; readonly graceMs: number }[]
  readonly weather: readonly (Window & { readonly kind: Weather })[]
  /** The share of queries and of POSTs that fare badly without any reason. */
  readonly queryNoise: number
  readonly postNoise: number
  /** How often an operator meddles: cancels, redelivers, pauses, rotates. */
  readonly meddling: number
}

const CHARACTERS: Readonly<Record<Character, number>> = {
  healthy: 6,
  flapping: 3,
  silent: 1,
  slow: 2,
  failing: 1,
  throttling: 2,
  gone: 1,
  redirecting: 0.5,
  unreachable: 1,
  rebinding: 1,
  reviving: 1,
}

const NOBODY = Object.fromEntries(Object.keys(CHARACTERS).map((name) => [name, 0])) as Record<Character, number>

/** Whoever answers now and then is never disabled for failing: over many days most are dead, and some come back. */
const LASTING_CHARACTERS: Readonly<Partial<Record<Character, number>>> = {
  healthy: 2,
  flapping: 1,
  gone: 1,
  failing: 3,
  silent: 1,
  unreachable: 2,
  reviving: 5,
}

const SHORT_SCHEDULES: readonly (readonly number[])[] = [
  [0, 5 * SECOND, MINUTE, 5 * MINUTE],
  [0, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR],
  [SECOND, SECOND],
]

/** Between what happened in the world and its record, above all: most points of a history are claims that find nothing. */
const CRASH_TARGETS: Readonly<Record<string, number>> = {
  'post.': 2,
  'post.after': 3,
  'upstream.': 2.5,
  'store.record': 2,
  'store.recordPolls.before': 2,
  'store.claim': 1,
  'store.register': 1,
  'store.commit': 1,
  'store.commit.before': 3,
  'store.advanceJob': 3,
  'store.createJob': 2,
  'store.deleteEndpoint': 0.5,
}
/** There are few of most of these points, and many claims and commits. */
const targetFactor = (target: string) => (/claim|commit/.test(target) ? 10 : 50)
const PER_POINT_MAX = 0.5
/** They are met only where somebody meddles. */
const MEDDLED_WITH = /Job|Endpoint/
/** Half a commit is what a power failure leaves, and no other death. */
const TEARING_SHARE = 0.7

/** Above this, polling as often as short histories do would only cost time. */
const SHORT_MS = 15 * MINUTE

const LONG_SHARE = 0.055

export function drawPlan(seed: number): Plan {
  const chance = createChance(seed).fork('plan')
  const has = (share: number) => chance.happens(share)
  const isLong = has(LONG_SHARE)
  const safetyMs = isLong ? chance.integer(6.5 * DAY, 9 * DAY) : chance.spread(MINUTE, 2 * HOUR)
  const characters = isLong ? { ...NOBODY, ...LASTING_CHARACTERS } : CHARACTERS
  // A disk is found to have room again by looking, which virtual days would be full of.
  const storeTroubles = isLong ? [] : drawStoreTroubles(chance, safetyMs)
  const commitErrors = isLong ? { perCommit: 0, kinds: [] } : drawCommitErrors(chance)
  const moment = () => chance.integer(0, safetyMs)
  const list = <T>(share: number, max: number, draw: () => T): readonly T[] =>
    has(share) ? Array.from({ length: chance.integer(1, max) }, draw) : []
  const target = has(0.35) ? '' : chance.weighted(CRASH_TARGETS)
  const powerLossShare = has(0.6) ? chance.next() : 0
  const meddling = has(0.6) ? chance.next() : 0
  const window = (minMs: number, maxMs: number): Window => {
    const from = moment()
    return { from, until: from + chance.spread(minMs, maxMs) }
  }
  return {
    seed,
    isLong,
    isBehindThread: createChance(seed).fork('thread').happens(0.5),
    options: drawOptions(chance, safetyMs, storeTroubles.length > 0 || commitErrors.perCommit > 0),
    safetyMs,
    taskCount: isLong ? chance.integer(15, 35) : chance.spread(2, 40),
    receivers: Array.from({ length: chance.integer(1, isLong ? 3 : 6) }, () => chance.weighted(characters)),
    operator: has(0.5) ? chance.weighted(characters) : null,
    crashes: {
      perPoint: has(0.7) ? chance.spread(1, 300) / 10_000 : 0,
      max: chance.integer(1, 12),
      powerLossShare: target === 'store.commit.before' ? Math.max(powerLossShare, TEARING_SHARE) : powerLossShare,
      target,
    },
    callFailures: has(0.3) ? chance.spread(5, 300) / 10_000 : 0,
    commitErrors,
    storeTroubles,
    clockJumps: list(0.3, 3, () => ({
      at: moment(),
      byMs: (has(0.5) ? 1 : -1) * (has(0.05) ? 2 * DAY : chance.spread(100, 2 * HOUR)),
    })),
    stops: list(0.25, 2, () => window(SECOND, 20 * MINUTE)),
    stopsUnderWay: { perCall: has(0.4) ? chance.spread(20, 500) / 10_000 : 0, max: chance.integer(1, 5) },
    restarts: list(0.3, 4, () => ({ at: moment(), graceMs: chance.pick([0, SECOND, 25 * SECOND]) })),
    weather: list(0.5, 3, () => ({
      ...window(SECOND, 30 * MINUTE),
      kind: chance.weighted({ outage: 3, throttled: 2, refused: 4, garbage: 1 }),
    })),
    queryNoise: has(0.5) ? chance.next() * 0.3 : 0,
    postNoise: has(0.5) ? chance.next() * 0.3 : 0,
    meddling: isLong ? meddling / 4 : MEDDLED_WITH.test(target) ? Math.max(meddling, 0.6) : meddling,
  }
}

function drawStoreTroubles(chance: Chance, safetyMs: number): Plan['storeTroubles'] {
  if (!chance.happens(0.4)) return []
  return Array.from({ length: chance.integer(1, 3) }, () => {
    const from = chance.integer(0, safetyMs)
    const kind = chance.weighted({ full: 2, really_full: 1, busy: 2 })
    // A lock may outlive the leases of what waits to be written.
    return { kind, from, until: from + chance.spread(20, kind === 'busy' ? 3 * MINUTE : MINUTE) }
  })
}

const COMMIT_ERRORS: readonly CommitError[] = ['full', 'broken', 'broken_late']

/** A disk that breaks ends the process; one without room does not, so it can strike more often. */
function drawCommitErrors(chance: Chance): Plan['commitErrors'] {
  if (!chance.happens(0.25)) return { perCommit: 0, kinds: COMMIT_ERRORS }
  const perCommit = chance.spread(20, 300) / 10_000
  return chance.happens(0.5) ? { perCommit, kinds: COMMIT_ERRORS } : { perCommit: 5 * perCommit, kinds: ['full'] }
}

function drawOptions(chance: Chance, safetyMs: number, isTroubled: boolean): EngineOptions {
  const isShort = safetyMs < SHORT_MS
  const isLong = safetyMs > DAY
  const endpointConcurrency = chance.integer(1, 4)
  return {
    ...OPTIONS,
    pollConcurrency: chance.integer(1, 8),
    budget: { rate: chance.spread(5, 500) / 10 },
    cadence: drawCadence(isShort, isLong),
    deliveryConcurrency: endpointConcurrency * chance.integer(1, 4),
    endpointConcurrency,
    retryScheduleMs: isShort ? chance.pick(SHORT_SCHEDULES) : OPTIONS.retryScheduleMs,
    retentionMs: !isLong && chance.happens(0.15) ? 5 * MINUTE : OPTIONS.retentionMs,
    // Virtual days would be full of ticks that find nothing.
    idleMs: isShort ? chance.pick([5 * SECOND, 15 * SECOND, MINUTE]) : HOUR,
    // A full disk is found to have room again by the probe.
    probeEveryMs: isTroubled ? 10 * SECOND : HOUR,
  }
}

function drawCadence(isShort: boolean, isLong: boolean): EngineOptions['cadence'] {
  const pollCostMs = SECOND / 2
  if (isLong) return { intervalMinMs: 10 * MINUTE, intervalMaxMs: 30 * MINUTE, pollCostMs }
  return { intervalMinMs: SECOND, intervalMaxMs: isShort ? 10 * SECOND : MINUTE, pollCostMs }
}

export type CrashPoint = `${string}.${'before' | 'after'}`
export type Fate = 'live' | 'die' | 'power_loss'
/** No room for the commit; the disk fails before it; or only after it, when all of it is there. */
export type CommitError = 'full' | 'broken' | 'broken_late'

/** Decides at each point of a history whether something strikes. */
export interface Chaos {
  /** Before and after each port call, and before and after each commit. */
  fateAt(point: CrashPoint): Fate
  /** Whether this port call fails instead of being made. */
  doesFail(port: string): boolean
  /** What the disk does to a commit, or would have done after it. */
  commitError(): CommitError | null
  /** Something has left for the world and comes back after `latencyMs`: whether the process is stopped meanwhile. */
  stopUnderWay(latencyMs: number): { readonly afterMs: number; readonly forMs: number } | null
}

export const CALM: Chaos = {
  fateAt: () => 'live',
  doesFail: () => false,
  commitError: () => null,
  stopUnderWay: () => null,
}

/** Strikes at random, as often as the plan says. */
export function createChaos(plan: Plan): Chaos {
  const chance = createChance(plan.seed).fork('chaos')
  const { perPoint, max, powerLossShare, target } = plan.crashes
  const atPoint = target === '' ? perPoint : Math.min(PER_POINT_MAX, perPoint * targetFactor(target))
  const { stopsUnderWay } = plan
  let crashCount = 0
  let stopCount = 0
  return {
    fateAt(point) {
      if (atPoint === 0 || crashCount >= max || !point.startsWith(target) || !chance.happens(atPoint)) return 'live'
      crashCount += 1
      return chance.happens(powerLossShare) ? 'power_loss' : 'die'
    },
    doesFail: () => plan.callFailures > 0 && chance.happens(plan.callFailures),
    commitError() {
      const { perCommit, kinds } = plan.commitErrors
      if (perCommit === 0 || crashCount >= max || !chance.happens(perCommit)) return null
      const error = chance.pick(kinds)
      if (error !== 'full') crashCount += 1
      return error
    },
    stopUnderWay(latencyMs) {
      const { perCall, max } = stopsUnderWay
      if (perCall === 0 || stopCount >= max || !chance.happens(perCall)) return null
      stopCount += 1
      return { afterMs: chance.integer(0, latencyMs), forMs: chance.spread(5 * SECOND, 10 * MINUTE) }
    },
  }
}
