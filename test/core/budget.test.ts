/** How fast a credential may ask: the rate, throttling, pausing, and clocks that jump. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  applyEffect,
  type Budget,
  type BudgetEffect,
  budgetEffectOf,
  burstMax,
  grant,
  newBudget,
  onAccepted,
  onRefused,
  onThrottled,
  spend,
} from '../../src/core/budget.ts'
import { type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { at, FINISHED, failedWith, NOW, REFUSED, RUNNING, THROTTLED, UNAVAILABLE } from './builders.ts'

const settings = { rate: 10 }
const fresh = newBudget(NOW)
const refusal = { taskKind: 'a', code: 'NoResource', detail: 'NoResource: no quota' }

/** Asks for many and spends what is granted, as a claim does. */
function claim(budget: Budget, now: EpochMs, rate = settings.rate, wantedCount = 1_000_000) {
  const { grantedCount, nextGrantAt } = grant(budget, { rate }, now, wantedCount)
  return { budget: spend(budget, { rate }, now, grantedCount), grantedCount, nextGrantAt }
}

/** How long after `now` the first query leaves, for one who comes back when the budget says to; endless past the limit. */
function waitForGrantMs(budget: Budget, now: EpochMs, limitMs: number): number {
  let instant = now
  while (instant - now <= limitMs) {
    const { grantedCount, nextGrantAt } = grant(budget, settings, instant, 1)
    if (grantedCount > 0) return instant - now
    // Something may be registered in between: the scheduler comes back at least every second.
    instant = epochMs(Math.min(Math.max(nextGrantAt, instant + 1), instant + SECOND))
  }
  return Number.POSITIVE_INFINITY
}

function afterJson(budget: Budget): Budget {
  return JSON.parse(JSON.stringify(budget))
}

describe('the rate', () => {
  interface Step {
    readonly advanceMs: number
    readonly wantedCount: number
    readonly isRestart: boolean
    readonly effect: BudgetEffect['kind'] | null
    readonly retryAfterMs: number | null
  }

  const aRate = fc.oneof(fc.constantFrom(1, 3, 10, 30, 1_000), fc.double({ min: 0.2, max: 1_000, noNaN: true }))
  const stepsWith = (effect: fc.Arbitrary<Step['effect']>) =>
    fc.array(
      fc.record({
        advanceMs: fc.oneof(fc.constantFrom(0, 1), fc.nat(30), fc.nat(3_000)),
        wantedCount: fc.nat(150),
        isRestart: fc.boolean(),
        effect,
        retryAfterMs: fc.option(fc.nat(3_000)),
      }),
      { maxLength: 120 },
    )

  /** Every query that left, by its instant. */
  function departures(rate: number, steps: readonly Step[]): readonly number[] {
    const left: number[] = []
    let now = NOW
    let budget = newBudget(now)
    for (const { advanceMs, wantedCount, isRestart, effect, retryAfterMs } of steps) {
      now = epochMs(now + advanceMs)
      if (isRestart) budget = afterJson(budget)
      const claimed = claim(budget, now, rate, wantedCount)
      budget = claimed.budget
      for (let index = 0; index < claimed.grantedCount; index += 1) left.push(now)
      if (effect === 'throttled') budget = onThrottled(budget, now, now, retryAfterMs)
      if (effect === 'accepted') budget = onAccepted(budget, now, { askedAt: now, taskKind: 'a' })
    }
    return left
  }

  function expectRateKept(rate: number, left: readonly number[]): void {
    const burst = burstMax({ rate })
    for (const [first, start] of left.entries()) {
      for (let last = first; last < left.length; last += 1) {
        const count = last - first + 1
        const windowMs = left[last]! - start
        // Half a query is the room for floating point: instants of today have steps of 0.0002 ms.
        const countMax = (rate * windowMs) / SECOND + burst + 0.5
        if (count > countMax) expect.fail(`${count} queries in ${windowMs} ms, at most ${countMax}`)
      }
    }
  }

  test('is kept in every window: at most rate × window + burst, also across restarts', () => {
    fc.assert(
      fc.property(aRate, stepsWith(fc.constant(null)), (rate, steps) => {
        expectRateKept(rate, departures(rate, steps))
      }),
      { numRuns: 200 },
    )
  })

  test('is kept in every window while it is lowered and raised', () => {
    const effect = fc.constantFrom(null, null, 'throttled' as const, 'accepted' as const)
    fc.assert(
      fc.property(aRate, stepsWith(effect), (rate, steps) => {
        expectRateKept(rate, departures(rate, steps))
      }),
      { numRuns: 500 },
    )
  })

  test('is the same with a restart before every claim as with none', () => {
    fc.assert(
      fc.property(aRate, stepsWith(fc.constant(null)), (rate, steps) => {
        const withRestarts = steps.map((step) => ({ ...step, isRestart: true }))
        const without = steps.map((step) => ({ ...step, isRestart: false }))
        expect(departures(rate, withRestarts)).toEqual(departures(rate, without))
      }),
    )
  })

  test('is reached: whoever always wants more gets at least 99 % of it', () => {
    for (const rate of [0.5, 1, 3, 10, 30, 250, 1_000]) {
      let now = NOW
      let budget = newBudget(now)
      let count = 0
      const windowMs = Math.max(20 * SECOND, (200 / rate) * SECOND)
      while (now - NOW < windowMs) {
        const claimed = claim(budget, now, rate)
        budget = claimed.budget
        count += claimed.grantedCount
        now = claimed.grantedCount === 0 ? claimed.nextGrantAt : epochMs(now + 1)
      }
      expect(count, `of ${rate}/s`).toBeGreaterThanOrEqual(Math.floor((rate * windowMs * 0.99) / SECOND))
    }
  })

  test('is not saved up: after an idle hour no more than a burst leaves', () => {
    const { budget } = claim(newBudget(NOW), NOW, 100)
    expect(claim(budget, at(HOUR), 100).grantedCount).toBe(burstMax({ rate: 100 }))
  })

  test.each([
    [0.5, 1],
    [1, 1],
    [10, 1],
    [19, 1],
    [20, 2],
    [250, 25],
  ])('of %f a second lets a tenth of a second of it leave together, at least one: %i', (rate, burst) => {
    expect(burstMax({ rate })).toBe(burst)
    expect(claim(newBudget(NOW), NOW, rate).grantedCount).toBe(burst)
  })

  test('tells when the next query may leave: not a millisecond before, and then one does', () => {
    fc.assert(
      fc.property(aRate, fc.nat(100), (rate, wantedCount) => {
        const { budget } = claim(newBudget(NOW), NOW, rate, wantedCount)
        const { grantedCount, nextGrantAt } = grant(budget, { rate }, NOW, 1)
        fc.pre(grantedCount === 0)
        expect(grant(budget, { rate }, epochMs(nextGrantAt - 1), 1).grantedCount).toBe(0)
        expect(grant(budget, { rate }, nextGrantAt, 1).grantedCount).toBe(1)
      }),
      // What is forgiven in rounding reaches the millisecond before here.
      { examples: [[62.49610607249254, 6]] },
    )
  })

  test('is not spent by a claim that takes nothing', () => {
    expect(grant(fresh, settings, NOW, 0).grantedCount).toBe(0)
    expect(spend(fresh, settings, NOW, 0)).toBe(fresh)
  })
})

describe('throttling', () => {
  test('halves the rate once per episode: answers to queries from before do not halve it again', () => {
    const first = onThrottled(fresh, at(100), NOW, null)
    expect(first.rateFactor).toBe(0.5)
    const late = [at(20), at(99), at(100)].reduce(
      (budget, askedAt) => onThrottled(budget, at(150), askedAt, null),
      first,
    )
    expect(late.rateFactor).toBe(0.5)
    expect(onThrottled(late, at(5_000), at(4_900), null).rateFactor).toBe(0.25)
  })

  test('does not let a second burst leave, however short the ban', () => {
    const first = claim(fresh, NOW, 100)
    expect(first.grantedCount).toBe(10)
    expect(claim(onThrottled(first.budget, NOW, NOW, 0), NOW, 100).grantedCount).toBe(0)
  })

  test('never lowers the rate to nothing', () => {
    let budget = fresh
    for (let minute = 1; minute <= 100; minute += 1) {
      budget = onThrottled(budget, at(minute * MINUTE), at(minute * MINUTE - 1), null)
    }
    expect(budget.rateFactor).toBe(0.02)
    expect(waitForGrantMs(budget, at(100 * MINUTE), MINUTE)).toBe(2 * SECOND)
  })

  test('spaces queries by the lowered rate', () => {
    const claimed = claim(onThrottled(fresh, NOW, NOW, null), at(2_000))
    expect(claimed.grantedCount).toBe(1)
    expect(claim(claimed.budget, at(2_199)).grantedCount).toBe(0)
    expect(claim(claimed.budget, at(2_200)).grantedCount).toBe(1)
  })

  test.each([
    ['two seconds when nobody says how long', null, 2 * SECOND],
    ['as long as the upstream asks for', 7 * SECOND, 7 * SECOND],
    ['ten minutes at most', 10 * HOUR, 10 * MINUTE],
  ])('stops all asking for %s', (_wait, retryAfterMs, waitMs) => {
    const budget = onThrottled(fresh, NOW, NOW, retryAfterMs)
    expect(grant(budget, settings, NOW, 5)).toEqual({ grantedCount: 0, nextGrantAt: at(waitMs) })
    expect(grant(budget, settings, at(waitMs - 1), 5).grantedCount).toBe(0)
    expect(grant(budget, settings, at(waitMs), 5).grantedCount).toBe(1)
  })

  test('waits for the last of several bans, whichever was told first', () => {
    const budget = onThrottled(onThrottled(fresh, at(100), NOW, 30 * SECOND), at(200), at(50), SECOND)
    expect(grant(budget, settings, at(300), 1).nextGrantAt).toBe(at(30_100))
    const longer = onThrottled(onThrottled(fresh, at(100), NOW, SECOND), at(200), at(50), 30 * SECOND)
    expect(grant(longer, settings, at(300), 1).nextGrantAt).toBe(at(30_200))
  })

  test('takes a negative wait as none', () => {
    expect(onThrottled(fresh, NOW, NOW, -5_000).throttledUntil).toBeGreaterThanOrEqual(NOW)
  })
})

describe('raising', () => {
  const throttled = onThrottled(fresh, NOW, NOW, SECOND)

  test('is one equal step for each second of accepted answers, up to the configured rate', () => {
    let budget = throttled
    const factors: number[] = []
    for (let second = 2; second <= 14; second += 1) {
      for (const part of [0, 250, 500, 750])
        budget = onAccepted(budget, at(second * SECOND + part), { askedAt: at(second * SECOND), taskKind: 'a' })
      factors.push(budget.rateFactor)
    }
    const raises = factors.slice(1).map((factor, index) => factor - factors[index]!)
    for (const raise of raises.slice(0, 7)) expect(raise).toBeCloseTo(0.05)
    expect(factors.at(-1)).toBe(1)
  })

  test('does not happen without an answer', () => {
    expect(grant(throttled, settings, at(HOUR), 1).grantedCount).toBe(1)
    expect(spend(throttled, settings, at(HOUR), 1).rateFactor).toBe(0.5)
  })

  test('counts from the end of a ban: waiting it out is no answer', () => {
    const banned = onThrottled(fresh, NOW, NOW, 5 * MINUTE)
    expect(onAccepted(banned, at(5 * MINUTE + 100), { askedAt: at(5 * MINUTE), taskKind: 'a' }).rateFactor).toBe(0.5)
    expect(
      onAccepted(banned, at(5 * MINUTE + 1_100), { askedAt: at(5 * MINUTE), taskKind: 'a' }).rateFactor,
    ).toBeCloseTo(0.55)
  })

  test('changes nothing while the whole rate is in force', () => {
    const known = onAccepted(fresh, at(1), { askedAt: at(0), taskKind: 'a' })
    expect(known).toEqual({ ...fresh, kinds: { a: { isRefused: false, at: at(1) } } })
    // The same value, so that nothing is written; noted again once a minute.
    expect(onAccepted(known, at(MINUTE), { askedAt: at(2), taskKind: 'a' })).toBe(known)
    expect(onAccepted(known, at(MINUTE + 1), { askedAt: at(2), taskKind: 'a' })).not.toBe(known)
  })
})

describe('an outage', () => {
  const accepted = { kind: 'accepted', askedAt: NOW, taskKind: 'a' } as const

  /** Asks whenever it may; all that is asked ends at once, with an answer or without one. */
  function play(from: Budget, fromMs: number, untilMs: number, isUp: boolean, rate = settings.rate) {
    const askedMs: number[] = []
    let budget = from
    for (let ms = fromMs; ms < untilMs; ms += 10) {
      const claimed = claim(budget, at(ms), rate)
      budget = claimed.budget
      for (let nth = 0; nth < claimed.grantedCount; nth += 1) {
        askedMs.push(ms)
        const effect = isUp ? { ...accepted, askedAt: at(ms) } : ({ kind: 'silent' } as const)
        budget = applyEffect(budget, { rate }, at(ms), effect)
      }
    }
    return { budget, askedMs }
  }

  test('is not seen in one silence among answers', () => {
    let budget = fresh
    for (let ms = 0; ms < MINUTE; ms += 500) {
      budget = applyEffect(budget, settings, at(ms), { kind: 'silent' })
      budget = applyEffect(budget, settings, at(ms + 1), { ...accepted, askedAt: at(ms) })
    }
    expect(budget).toMatchObject({ rateFactor: 1, silentSince: null, regainTo: null })
  })

  test('lowers the rate to one query in five seconds', () => {
    const { budget, askedMs } = play(fresh, 0, 2 * HOUR, false)
    expect(budget).toMatchObject({ rateFactor: 0.02, regainTo: 1, silentSince: NOW })
    expect(askedMs.filter((ms) => ms < 5_000)).toHaveLength(50)
    expect(askedMs.filter((ms) => ms >= HOUR)).toHaveLength(720)
  })

  test.each([0.1, 0.5, 10, 250, 1_000])('is over for %d queries a second within 15 s of its end', (rate) => {
    const before = play(fresh, 0, 10 * MINUTE, false, rate)
    const after = play(before.budget, 10 * MINUTE, 11 * MINUTE, true, rate)
    expect(after.budget).toMatchObject({ rateFactor: 1, regainTo: null, silentSince: null })
    const late = after.askedMs.filter((ms) => ms >= 10 * MINUTE + 15_000)
    expect(late.length).toBeGreaterThanOrEqual(Math.floor(rate * 45 * 0.9))
  })

  test('ends in a doubling for each second and not in one leap', () => {
    let { budget } = play(fresh, 0, 2 * HOUR, false)
    const factors: number[] = []
    for (let second = 0; second < 7; second += 1) {
      for (const part of [0, 300, 600]) {
        const now = at(2 * HOUR + second * SECOND + part)
        // One that hung since the outage ends without an answer in between.
        budget = applyEffect(budget, settings, now, { kind: 'silent' })
        budget = applyEffect(budget, settings, now, { ...accepted, askedAt: now })
      }
      factors.push(budget.rateFactor)
    }
    expect(factors).toEqual([0.04, 0.08, 0.16, 0.32, 0.64, 1, 1])
  })

  test('gives back no more than the throttling before it had left', () => {
    const half = onThrottled(fresh, NOW, NOW, 0)
    const { budget } = play(half, 0, MINUTE, false)
    expect(budget).toMatchObject({ rateFactor: 0.02, regainTo: 0.5 })
    const recovering = play(budget, MINUTE, MINUTE + 15_000, true).budget
    expect(recovering.regainTo).toBeNull()
    expect(recovering.rateFactor).toBeLessThan(1)
  })

  test('that ends in throttling is followed by equal steps', () => {
    const { budget } = play(fresh, 0, MINUTE, false)
    const throttled = applyEffect(budget, settings, at(MINUTE), {
      kind: 'throttled',
      askedAt: at(MINUTE),
      retryAfterMs: 0,
    })
    expect(throttled).toMatchObject({ rateFactor: 0.02, regainTo: null, silentSince: null })
  })

  test('survives a restart and a clock that was set back', () => {
    const { budget } = play(fresh, 0, MINUTE, false)
    expect(afterJson(budget)).toEqual(budget)
    const back = play(budget, -HOUR, -HOUR + 30_000, true)
    expect(back.budget).toMatchObject({ silentSince: null })
    expect(back.askedMs.length).toBeGreaterThan(100)
  })
})

describe('one kind refused beside others', () => {
  const b = { ...refusal, taskKind: 'b' }

  test('pauses nothing while another kind was accepted lately', () => {
    const working = onAccepted(fresh, NOW, { askedAt: NOW, taskKind: 'a' })
    expect(onRefused(working, at(MINUTE), b).pause).toBeNull()
    expect(onRefused(working, at(HOUR), b).pause).not.toBeNull()
  })

  test('pauses the credential when every kind heard of lately was refused', () => {
    const working = onAccepted(fresh, NOW, { askedAt: NOW, taskKind: 'a' })
    const one = onRefused(working, at(1), b)
    expect(onRefused(one, at(2), { ...refusal, taskKind: 'a' }).pause).toMatchObject({ since: at(2) })
  })

  test('a kind may have any name', () => {
    const odd = onAccepted(fresh, NOW, { askedAt: NOW, taskKind: 'constructor' })
    expect(odd.kinds).toEqual({ constructor: { isRefused: false, at: NOW } })
  })
})

describe('a pause', () => {
  const paused = onRefused(fresh, NOW, refusal)

  test('grants one probe a minute and nothing else', () => {
    let budget = paused
    const probedAt: number[] = []
    for (let ms = 0; ms <= 5 * MINUTE; ms += 500) {
      const claimed = claim(budget, at(ms))
      expect(claimed.grantedCount).toBeLessThanOrEqual(1)
      if (claimed.grantedCount === 1) probedAt.push(ms)
      budget = claimed.budget
    }
    expect(probedAt).toEqual([1, 2, 3, 4, 5].map((minute) => minute * MINUTE))
  })

  test('tells when the next probe is due, and probes about nothing when nothing is due', () => {
    expect(grant(paused, settings, at(5), 9)).toEqual({ grantedCount: 0, nextGrantAt: at(MINUTE) })
    expect(grant(paused, settings, at(MINUTE), 0).grantedCount).toBe(0)
  })

  test('ends with the first answer to a query that left after it began', () => {
    const resumed = onAccepted(paused, at(MINUTE + 50), { askedAt: at(MINUTE), taskKind: 'a' })
    expect(resumed.pause).toBeNull()
    expect(grant(resumed, settings, at(MINUTE + 50), 5)).toMatchObject({ grantedCount: 1 })
  })

  test('does not end with a late answer to a query from before', () => {
    const later = onRefused(fresh, at(100), refusal)
    expect(onAccepted(later, at(150), { askedAt: at(50), taskKind: 'a' }).pause).toBe(later.pause)
    expect(onAccepted(later, at(150), { askedAt: at(100), taskKind: 'a' }).pause).toBe(later.pause)
  })

  test('keeps its first instant and its probe when the credential is refused again, and takes the new words', () => {
    const again = onRefused(paused, at(30 * SECOND), { taskKind: 'a', code: 'InvalidAppKey', detail: 'another' })
    expect(again.pause).toEqual({ code: 'InvalidAppKey', detail: 'another', since: NOW, nextProbeAt: at(MINUTE) })
  })

  test('ends with an accepted probe also while the rate is lowered, and raises it', () => {
    const both = onRefused(onThrottled(fresh, NOW, NOW, 0), at(1), refusal)
    const resumed = onAccepted(both, at(MINUTE), { askedAt: at(MINUTE - 50), taskKind: 'a' })
    expect(resumed.pause).toBeNull()
    expect(resumed.rateFactor).toBeGreaterThan(0.5)
  })

  test('survives a restart', () => {
    expect(claim(afterJson(paused), at(MINUTE - 1)).grantedCount).toBe(0)
    expect(claim(afterJson(paused), at(MINUTE)).grantedCount).toBe(1)
  })
})

describe('a clock that jumped back', () => {
  const aJump = fc.oneof(fc.nat(5_000), fc.nat(30 * 24 * HOUR))

  test('by any time stalls the asking for no more than a second', () => {
    fc.assert(
      fc.property(aJump, (jumpMs) => {
        const { budget } = claim(fresh, NOW)
        expect(waitForGrantMs(budget, at(-jumpMs), 5 * SECOND)).toBeLessThanOrEqual(SECOND + 100)
      }),
    )
  })

  test('grants a query at once, at any rate', () => {
    const aRate = fc.oneof(fc.constant(33.9), fc.double({ min: 0.2, max: 1_000, noNaN: true }))
    fc.assert(
      fc.property(aRate, fc.integer({ min: HOUR, max: 30 * 24 * HOUR }), (rate, jumpMs) => {
        const { budget } = claim(fresh, NOW, rate)
        expect(claim(budget, at(-jumpMs), rate).grantedCount).toBe(1)
      }),
    )
  })

  test('does not let a second burst leave', () => {
    const { budget } = claim(fresh, NOW, 100)
    expect(claim(budget, at(-HOUR), 100).grantedCount).toBeLessThanOrEqual(1)
  })

  test('keeps the rate from then on', () => {
    let { budget } = claim(fresh, NOW)
    let count = 0
    for (let ms = 0; ms < 10 * SECOND; ms += 10) {
      const claimed = claim(budget, at(ms - HOUR))
      budget = claimed.budget
      count += claimed.grantedCount
    }
    expect(count).toBeGreaterThanOrEqual(89)
    expect(count).toBeLessThanOrEqual(101)
  })

  test('does not bring back a ban that is over', () => {
    const budget = onThrottled(fresh, NOW, NOW, 2 * SECOND)
    expect(waitForGrantMs(budget, at(10 * SECOND - HOUR), 10 * SECOND)).toBeLessThanOrEqual(3 * SECOND)
  })

  test('does not make a new ban go unheard', () => {
    const before = onThrottled(fresh, NOW, NOW, 2 * SECOND)
    const banned = onThrottled(before, at(10 - HOUR), at(-HOUR), 30 * SECOND)
    expect(banned.rateFactor).toBe(0.25)
    expect(grant(banned, settings, at(20 * SECOND - HOUR), 1).grantedCount).toBe(0)
    expect(waitForGrantMs(banned, at(20 * SECOND - HOUR), MINUTE)).toBeLessThanOrEqual(11 * SECOND)
  })

  test('still probes a paused credential once a minute', () => {
    const budget = onRefused(fresh, NOW, refusal)
    expect(waitForGrantMs(budget, at(-HOUR), 2 * MINUTE)).toBeLessThanOrEqual(MINUTE)
    const probed = claim(budget, at(-HOUR + MINUTE))
    expect(claim(probed.budget, at(-HOUR + MINUTE + 1)).grantedCount).toBe(0)
  })

  test('does not keep an accepted probe from ending the pause', () => {
    const budget = onRefused(fresh, NOW, refusal)
    expect(onAccepted(budget, at(MINUTE - HOUR), { askedAt: at(MINUTE - HOUR - 50), taskKind: 'a' }).pause).toBeNull()
  })

  test('does not keep the rate from being raised again', () => {
    let budget = onThrottled(fresh, NOW, NOW, 0)
    for (let second = 0; second <= 60; second += 1) {
      budget = onAccepted(budget, at(second * SECOND - HOUR), { askedAt: at(second * SECOND - HOUR), taskKind: 'a' })
    }
    expect(budget.rateFactor).toBe(1)
  })
})

describe('what an observation teaches about the credential', () => {
  test.each([
    ['running', RUNNING, { kind: 'accepted', askedAt: NOW, taskKind: 'a' }],
    ['finished', FINISHED, { kind: 'accepted', askedAt: NOW, taskKind: 'a' }],
    ['failed', failedWith('1000', 1), { kind: 'accepted', askedAt: NOW, taskKind: 'a' }],
    ['throttled', { ...THROTTLED, retryAfterMs: 7_000 }, { kind: 'throttled', askedAt: NOW, retryAfterMs: 7_000 }],
    ['refused', REFUSED, { kind: 'refused', code: 'NoResource', detail: 'NoResource: -', taskKind: 'a' }],
    ['unavailable', UNAVAILABLE, { kind: 'silent' }],
    ['unavailable', { ...UNAVAILABLE, reason: 'unknown_kind' }, null],
  ] as const)('%s', (_kind, observation, effect) => {
    expect(budgetEffectOf(observation, 'a', NOW)).toEqual(effect)
  })

  test('is applied by its kind', () => {
    expect(applyEffect(fresh, settings, at(1), { kind: 'throttled', askedAt: NOW, retryAfterMs: 5_000 })).toEqual(
      onThrottled(fresh, at(1), NOW, 5_000),
    )
    expect(applyEffect(fresh, settings, at(1), { kind: 'refused', ...refusal })).toEqual(
      onRefused(fresh, at(1), refusal),
    )
    expect(applyEffect(fresh, settings, at(1), { kind: 'spent', queryCount: 2 })).toEqual(
      spend(fresh, settings, at(1), 2),
    )
    const paused = onRefused(fresh, NOW, refusal)
    expect(applyEffect(paused, settings, at(2), { kind: 'accepted', askedAt: at(1), taskKind: 'a' }).pause).toBeNull()
  })
})
