/** The plan of asks, given how long tasks take: against the plan of the fine grid, and at the edges of what can be. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { askAges, nextAskAge, type PlanSettings, solvePlan, steadyWaitMs } from '../../src/core/plan.ts'
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { costOf, exponential, kindsOfDuration, oracleAges } from '../support/durations.ts'

const SETTINGS: PlanSettings = { costMs: 500, intervalMinMs: 10, intervalMaxMs: HOUR }

describe('the wait under a hazard that stays', () => {
  test.each([
    [1 / 20_000, 500],
    [1 / 20_000, 20_000],
    [1 / 500, 60_000],
    [1 / 5_000, 5_000],
  ])('of %f a millisecond, a query worth %i ms, is the one that costs least', (hazard, costMs) => {
    const cost = (waitMs: number) => (costMs + waitMs) / -Math.expm1(-hazard * waitMs)
    const wait = steadyWaitMs(hazard, costMs)
    for (const other of [0.9, 0.99, 1.01, 1.1]) expect(cost(wait)).toBeLessThan(cost(other * wait))
  })

  test('is Keller’s root in the dense limit, and endless when nothing ever ends', () => {
    expect(steadyWaitMs(1e-6, 1)).toBeCloseTo(Math.sqrt(2e6), -1)
    expect(steadyWaitMs(1e-15, 1)).toBeCloseTo(Math.sqrt(2e15), -4)
    expect(steadyWaitMs(0, 500)).toBe(Number.POSITIVE_INFINITY)
  })
})

test.each([100, 500, 2_000])('with the distribution known it costs as much as the fine grid (%i ms)', (costMs) => {
  for (const { durations } of Object.values(kindsOfDuration(20 * SECOND))) {
    const plan = solvePlan(durations.survival, { ...SETTINGS, costMs })
    const ours = costOf(askAges(plan, 400), durations, costMs)
    expect(ours / costOf(oracleAges(durations, costMs), durations, costMs)).toBeLessThan(1.02)
  }
})

test('where all end at one age, the ask is there and nowhere else', () => {
  const plan = solvePlan((ageMs) => (ageMs < 10 * SECOND ? 1 : 0), SETTINGS)
  const [first] = askAges(plan, 1)
  // To the width of a cell.
  expect(first).toBeGreaterThanOrEqual(10 * SECOND)
  expect(first).toBeLessThan(11 * SECOND)
})

test('where nobody ever ends, each wait is the longest', () => {
  const plan = solvePlan(() => 1, { ...SETTINGS, intervalMaxMs: MINUTE })
  for (const ageMs of [30 * SECOND, MINUTE, HOUR, 100 * HOUR]) expect(nextAskAge(plan, ageMs)).toBe(ageMs + MINUTE)
})

test('a query that is worth next to nothing is made as soon as it may be', () => {
  const plan = solvePlan(exponential(20 * SECOND).survival, { costMs: 1e-6, intervalMinMs: 700, intervalMaxMs: HOUR })
  for (const ageMs of [0, 1_000, 33_333]) {
    const wait = nextAskAge(plan, ageMs) - ageMs
    expect(wait).toBeGreaterThan(699.9)
    // To the next point of the grid.
    expect(wait).toBeLessThan(900)
  }
})

test('each ask comes after the one before, for any survival, any cost and any bounds', () => {
  const falls = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 })
  const amounts = fc.integer({ min: 1, max: HOUR })
  fc.assert(
    fc.property(falls, amounts, amounts, amounts, fc.nat(100 * HOUR), (shares, costMs, a, b, ageMs) => {
      const survival = (at: number) => shares.slice(0, Math.floor(Math.log2(1 + at / 250))).reduce((x, y) => x * y, 1)
      const settings = { costMs, intervalMinMs: Math.min(a, b), intervalMaxMs: Math.max(a, b) }
      const wait = nextAskAge(solvePlan(survival, settings), ageMs) - ageMs
      expect(wait).toBeGreaterThan(settings.intervalMinMs - 0.01)
      expect(wait).toBeLessThan(settings.intervalMaxMs + 0.01)
    }),
    { numRuns: 100 },
  )
})
