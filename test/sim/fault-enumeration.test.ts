/**
 * One fixed scenario, run again and again with the fault one step further on: at the first port call, at the second, at
 * the third, until it runs through without meeting it. No point is left to chance.
 *
 * Four faults: the process dies at the n-th crash point, the power fails there, the n-th port call fails once, and all
 * port calls fail from the n-th on, until the faults end. All invariants hold in each of these histories.
 */

import { expect, test } from 'vitest'
import { SECOND } from '../../src/core/time.ts'
import { CALM, type Chaos } from './faults.ts'
import { aPlan } from './scenarios.ts'
import { simulatePlan } from './simulate.ts'

const SCENARIO = aPlan({
  safetyMs: 20 * SECOND,
  taskCount: 2,
  receivers: ['flapping', 'gone'],
  operator: 'healthy',
  restarts: [{ at: 12 * SECOND, graceMs: SECOND }],
  meddling: 0.15,
})

/** A scenario of this size has some hundred; more means that it does not end. */
const POINTS_MAX = 2_000

type Enumerated = (n: number) => { readonly chaos: Chaos; readonly hasStruck: () => boolean }

function strikesOnce(fate: 'die' | 'power_loss'): Enumerated {
  return (n) => {
    let count = 0
    const fateAt = () => {
      count += 1
      return count === n ? fate : 'live'
    }
    return { chaos: { ...CALM, fateAt }, hasStruck: () => count >= n }
  }
}

function fails(isHit: (count: number, n: number) => boolean): Enumerated {
  return (n) => {
    let count = 0
    const doesFail = () => {
      count += 1
      return isHit(count, n)
    }
    return { chaos: { ...CALM, doesFail }, hasStruck: () => count >= n }
  }
}

test.each([
  ['the process dies at the n-th point', strikesOnce('die'), 100],
  ['the power fails at the n-th point', strikesOnce('power_loss'), 100],
  ['the n-th port call fails once', fails((count, n) => count === n), 20],
  ['every port call fails from the n-th on', fails((count, n) => count >= n), 20],
])('nothing is lost and nothing is told twice when %s', { timeout: 300_000 }, async (_, enumerate, pointsMin) => {
  const wrong: string[] = []
  let n = 1
  for (; n < POINTS_MAX; n += 1) {
    const { chaos, hasStruck } = enumerate(n)
    const { violations } = await simulatePlan(SCENARIO, chaos)
    wrong.push(...violations.slice(0, 1).map((violation) => `n = ${n}: ${violation}`))
    if (!hasStruck()) break
  }
  expect(wrong).toEqual([])
  // It ended by itself, and there was something to enumerate.
  expect(n).toBeLessThan(POINTS_MAX)
  expect(n).toBeGreaterThan(pointsMin)
})
