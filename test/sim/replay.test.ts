/**
 * The simulation itself: one seed is one history, byte for byte; different seeds are different ones; a small set of them
 * goes well with every run of the tests (the large one is `npm run test:sim`).
 */

import { expect, test } from 'vitest'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { OPTIONS } from '../support/world.ts'
import { CALM, createChaos, drawPlan } from './faults.ts'
import { aPlan } from './scenarios.ts'
import { seedText, simulate, simulatePlan } from './simulate.ts'

/** Seeds with crashes, power failures and clock jumps among them. */
const SEEDS = [3, 11, 17, 42]

test.each(SEEDS)('seed %i means the same history twice', async (seed) => {
  const first = await simulate(seed)
  const second = await simulate(seed)
  expect(second.history).toBe(first.history)
  expect([...second.marks]).toEqual([...first.marks])
  expect(first.history.split('\n').length).toBeGreaterThan(20)
})

test('other seeds mean other histories', async () => {
  const histories = await Promise.all(SEEDS.map(async (seed) => (await simulate(seed)).history))
  expect(new Set(histories).size).toBe(SEEDS.length)
})

test('the first thirty histories are as they must be', { timeout: 240_000 }, async () => {
  const wrong: string[] = []
  for (let seed = 1; seed <= 30; seed += 1) {
    const { violations } = await simulate(seed)
    wrong.push(...violations.slice(0, 1).map((violation) => `SEED=${seedText(seed)} npm run test:sim — ${violation}`))
  }
  expect(wrong).toEqual([])
})

test('over a week a receiver that fails for days is disabled, probed and enabled again, and the operator is told', async () => {
  const plan = aPlan({
    isLong: true,
    safetyMs: 10 * DAY,
    taskCount: 20,
    receivers: ['reviving', 'healthy'],
    operator: 'healthy',
    options: {
      ...OPTIONS,
      cadence: { ...OPTIONS.cadence, intervalMinMs: 10 * MINUTE, intervalMaxMs: HOUR },
    },
  })
  const { violations, marks, ledger } = await simulatePlan(plan, CALM)
  expect(violations).toEqual([])
  for (const mark of ['endpoint_auto_paused', 'endpoint_healed', 'operator_told'] as const) {
    expect(marks.get(mark) ?? 0, mark).toBeGreaterThan(0)
  }
  expect(marks.get('endpoint_probed')).toBeGreaterThan(3)
  const told = ledger.posts.filter(({ url }) => url.startsWith('https://operator-')).map(({ body }) => JSON.parse(body))
  const ofHealth = told.filter(({ type }) => type.startsWith('endpoint.')).map(({ type }) => type)
  expect(ofHealth).toEqual(['endpoint.disabled', 'endpoint.enabled'])
})

test('a lock that outlives the leases sends nothing twice: what was delivered is written before anything is claimed', async () => {
  const plan = aPlan({
    safetyMs: 10 * MINUTE,
    taskCount: 300,
    receivers: ['healthy', 'healthy', 'slow'],
    options: { ...OPTIONS, idleMs: SECOND, deliveryDeadlineMs: 6 * SECOND, deliveryLeaseMs: 8 * SECOND },
    storeTroubles: Array.from({ length: 20 }, (_, index) => {
      const from = index * 30 * SECOND
      return { kind: 'busy', from, until: from + 12 * SECOND }
    }),
  })
  const { violations, marks, ledger } = await simulatePlan(plan, createChaos(plan))
  expect(violations).toEqual([])
  expect(marks.get('busy_retry') ?? 0).toBeGreaterThan(0)
  const accepted = ledger.posts.filter(({ heard }) => heard?.kind === 'response' && heard.status < 300)
  const told = accepted.map(({ headers, url }) => `${headers['webhook-id']} ${url}`)
  expect(new Set(told).size).toBe(told.length)
})

test('each seed draws a part of the faults, and all of them together draw all', () => {
  const plans = Array.from({ length: 300 }, (_, index) => drawPlan(index + 1))
  const draws = {
    crashes: (plan: (typeof plans)[number]) => plan.crashes.perPoint > 0,
    powerLoss: (plan: (typeof plans)[number]) => plan.crashes.powerLossShare > 0,
    commitErrors: (plan: (typeof plans)[number]) => plan.commitErrors.perCommit > 0,
    storeTroubles: (plan: (typeof plans)[number]) => plan.storeTroubles.length > 0,
    clockJumps: (plan: (typeof plans)[number]) => plan.clockJumps.length > 0,
    stops: (plan: (typeof plans)[number]) => plan.stops.length > 0,
    stopsUnderWay: (plan: (typeof plans)[number]) => plan.stopsUnderWay.perCall > 0,
    restarts: (plan: (typeof plans)[number]) => plan.restarts.length > 0,
    weather: (plan: (typeof plans)[number]) => plan.weather.length > 0,
    noise: (plan: (typeof plans)[number]) => plan.queryNoise > 0 || plan.postNoise > 0,
    meddling: (plan: (typeof plans)[number]) => plan.meddling > 0,
    callFailures: (plan: (typeof plans)[number]) => plan.callFailures > 0,
    operator: (plan: (typeof plans)[number]) => plan.operator !== null,
    days: (plan: (typeof plans)[number]) => plan.isLong,
    thread: (plan: (typeof plans)[number]) => plan.isBehindThread,
  }
  for (const [name, draw] of Object.entries(draws)) {
    const share = plans.filter(draw).length / plans.length
    expect(share, name).toBeGreaterThan(0.03)
    expect(share, name).toBeLessThan(0.95)
  }
})
