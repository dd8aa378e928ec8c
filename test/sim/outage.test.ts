/** L4: after an outage with a backlog the upstream is asked at the full rate again at once, and never above it. */

import { expect, test } from 'vitest'
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { OPTIONS } from '../support/world.ts'
import { CALM } from './faults.ts'
import { aPlan } from './scenarios.ts'
import { simulatePlan } from './simulate.ts'

const RATE = 2
const OVER_AT = 2 * HOUR

test('after an outage the backlog is asked about at nine tenths of the rate or more, and no second has more than it', {
  timeout: 240_000,
}, async () => {
  const plan = aPlan({
    safetyMs: OVER_AT + 10 * MINUTE,
    taskCount: 300,
    receivers: ['healthy', 'healthy'],
    weather: [{ kind: 'outage', from: 0, until: OVER_AT }],
    options: {
      ...OPTIONS,
      budget: { rate: RATE },
      cadence: { intervalMinMs: SECOND, intervalMaxMs: MINUTE, pollCostMs: SECOND / 2 },
    },
  })
  const { violations, ledger } = await simulatePlan(plan, CALM)
  // S9 among them: the rate was kept over every window.
  expect(violations).toEqual([])
  const asked = ledger.queries.filter(({ credential }) => credential === 'aidge').map(({ at }) => at)
  const countIn = (from: number, until: number) => asked.filter((at) => at >= from && at < until).length
  // One in five seconds while nobody answers.
  expect(countIn(OVER_AT - 10 * MINUTE, OVER_AT)).toBeLessThanOrEqual(121)
  // 90 s after the end of the outage at the latest.
  expect(countIn(OVER_AT + 15 * SECOND, OVER_AT + 75 * SECOND)).toBeGreaterThanOrEqual(0.9 * RATE * 60)
  for (let from = OVER_AT; from < OVER_AT + 5 * MINUTE; from += SECOND) {
    expect(countIn(from, from + SECOND)).toBeLessThanOrEqual(RATE + 1)
  }
})
