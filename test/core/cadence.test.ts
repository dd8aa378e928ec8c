/** When a running task is asked about again: learned from what a poller sees, whatever happens to the tasks. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Cadence, type CadenceSettings, createCadence } from '../../src/core/cadence.ts'
import { DAY, type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import {
  bestFixedMs,
  costOf,
  createChance,
  type Durations,
  exponential,
  fixedAges,
  kindsOfDuration,
  logNormal,
  mixed,
  oracleAges,
} from '../support/durations.ts'

const KIND = 'virtual-model-generation'
const WIDE: CadenceSettings = { intervalMinMs: 50, intervalMaxMs: 10 * MINUTE, pollCostMs: SECOND / 2 }
const ANSWER_MS = 100

/** One poller with one task after the other: what it sees is all that is learned from. */
function aPoller(settings: CadenceSettings = WIDE, seed = 1) {
  const chance = createChance(seed)
  const cadence = createCadence(settings)
  let now = 1_767_225_600_000

  const planned = (runningAgeMs: number, random = 0.5, priceFactor = 1, kind = KIND) =>
    cadence.plan({ kind, runningAgeMs, ageMs: runningAgeMs, now: epochMs(now), priceFactor, random })

  return {
    cadence,
    planned,
    /** Asks about one task until it has ended or is `givenUpMs` old; first asked at `registeredMs` at the earliest. */
    watch(durationMs: number, { registeredMs = 0, givenUpMs = Number.POSITIVE_INFINITY, kind = KIND } = {}): number {
      let fromMs = 0
      for (let asks = 1; ; asks += 1) {
        const toMs = Math.max(registeredMs, fromMs + planned(fromMs, chance(), 1, kind).delayMs)
        now += 200
        const hasEnded = durationMs <= toMs + ANSWER_MS / 2
        cadence.learn(kind, { fromMs, toMs: hasEnded ? toMs + ANSWER_MS : toMs, hasEnded })
        if (hasEnded || toMs > givenUpMs) return asks
        fromMs = toMs
      }
    },
    draw: (durations: Durations) => durations.draw(chance),
    /** The ages at which a new task would be asked about now. */
    ages(untilMs: number): readonly number[] {
      const ages: number[] = []
      for (let ageMs = 0; ageMs < untilMs; ages.push(ageMs)) ageMs += planned(ageMs).delayMs
      return ages
    },
  }
}

type Poller = ReturnType<typeof aPoller>

function watchMany(poller: Poller, durations: Durations, count: number): void {
  for (let index = 0; index < count; index += 1) poller.watch(poller.draw(durations))
}

/** J of what is planned now over the J of the plan that knows the distribution. */
function costOverOracle(poller: Poller, durations: Durations, costMs: number = WIDE.pollCostMs): number {
  const known = costOf(oracleAges(durations, costMs), durations, costMs)
  return costOf(poller.ages(HOUR), durations, costMs) / known
}

describe('after 500 completions', () => {
  const cases = Object.entries(kindsOfDuration(20 * SECOND))
    .filter(([name]) => !name.startsWith('jump'))
    .flatMap(([name, { durations }]) => [100, 500, 2_000].map((costMs) => [name, costMs, durations] as const))

  test.each(cases)(
    '%s, a query worth %i ms: J is within 1.05 of the oracle and 1.02 of the best fixed interval',
    (_name, costMs, durations) => {
      const poller = aPoller({ ...WIDE, pollCostMs: costMs })
      watchMany(poller, durations, 500)
      expect(costOverOracle(poller, durations, costMs)).toBeLessThan(1.05)
      const fixed = fixedAges(bestFixedMs(durations, costMs, 20 * SECOND), 40 * 20 * SECOND)
      expect(costOf(poller.ages(HOUR), durations, costMs)).toBeLessThan(1.02 * costOf(fixed, durations, costMs))
    },
  )
})

describe('works when', () => {
  const short = logNormal(10 * SECOND, 0.3)
  const long = logNormal(50 * SECOND, 0.3)

  test.each([100, 500, 2_000])(
    'durations double: within 1.10 of the oracle 300 completions later (%i ms)',
    (costMs) => {
      const poller = aPoller({ ...WIDE, pollCostMs: costMs })
      watchMany(poller, short, 500)
      const doubled = logNormal(20 * SECOND, 0.3)
      watchMany(poller, doubled, 300)
      expect(costOverOracle(poller, doubled, costMs)).toBeLessThan(1.1)
    },
  )

  test.each([
    ['longer', short, long],
    ['shorter', long, short],
  ])('durations jump to five times as %s', (_how, before, after) => {
    const poller = aPoller()
    watchMany(poller, before, 500)
    const wrong = costOverOracle(poller, after)
    watchMany(poller, after, 300)
    expect(wrong).toBeGreaterThan(1.5)
    expect(costOverOracle(poller, after)).toBeLessThan(1.1)
  })

  test('half the tasks never finish: they are asked about ever more rarely, the others little later than if they were alone', () => {
    const poller = aPoller({ ...WIDE, intervalMaxMs: MINUTE })
    for (let index = 0; index < 600; index += 1) {
      poller.watch(index % 2 === 0 ? poller.draw(short) : Number.POSITIVE_INFINITY, { givenUpMs: HOUR })
    }
    const ages = poller.ages(HOUR)
    const ofThoseThatEnd = ages.filter((ageMs) => ageMs < 30 * SECOND)
    expect(ofThoseThatEnd.length).toBeLessThan(12)
    const ended = costOf([...ofThoseThatEnd, 45 * SECOND, 60 * SECOND], short, WIDE.pollCostMs)
    expect(ended / costOf(oracleAges(short, WIDE.pollCostMs), short, WIDE.pollCostMs)).toBeLessThan(1.5)
    expect(poller.planned(30 * MINUTE).delayMs).toBe(MINUTE)
    expect(poller.cadence.takeChanged()[0]).toMatchObject({
      p90Ms: null,
      unfinishedShare: expect.closeTo(0.5, 1),
    })
  })

  test('the first hundred completions mislead', () => {
    const poller = aPoller()
    for (let index = 0; index < 100; index += 1) poller.watch(300)
    watchMany(poller, long, 500)
    expect(costOverOracle(poller, long)).toBeLessThan(1.12)
  })

  test('kinds mix: each is planned by itself', () => {
    const poller = aPoller()
    for (let index = 0; index < 500; index += 1) {
      poller.watch(poller.draw(short))
      poller.watch(poller.draw(long), { kind: 'other' })
    }
    expect(costOverOracle(poller, short)).toBeLessThan(1.05)
    const median = Object.fromEntries(poller.cadence.takeChanged().map(({ kind, medianMs }) => [kind, medianMs]))
    expect(median[KIND]).toBeGreaterThan(9 * SECOND)
    expect(median[KIND]).toBeLessThan(11 * SECOND)
    expect(median['other']).toBeGreaterThan(45 * SECOND)
    expect(median['other']).toBeLessThan(55 * SECOND)
  })

  test('tasks are registered late: ended or not at their first ask, they are counted for what they say', () => {
    const poller = aPoller()
    for (let index = 0; index < 600; index += 1) {
      poller.watch(poller.draw(short), {
        registeredMs: index % 3 === 0 ? 0 : 20 * SECOND * poller.draw(exponential(1)),
      })
    }
    expect(costOverOracle(poller, short)).toBeLessThan(1.08)
  })

  test('nothing but old tasks is registered: they say only that they have ended, and nothing breaks', () => {
    const poller = aPoller()
    for (let index = 0; index < 2_000; index += 1) poller.watch(poller.draw(short), { registeredMs: DAY })
    watchMany(poller, short, 500)
    expect(costOverOracle(poller, short)).toBeLessThan(1.1)
  })
})

test('at first, without a single completion, asks are neither many nor late', () => {
  for (const durations of [logNormal(5 * SECOND, 0.3), logNormal(20 * SECOND, 0.5), logNormal(60 * SECOND, 0.3)])
    expect(costOverOracle(aPoller(), durations)).toBeLessThan(2.5)
})

test('a query that is worth more is made more rarely, and later', () => {
  const poller = aPoller()
  watchMany(poller, mixed(0.5, logNormal(8 * SECOND, 0.3), logNormal(30 * SECOND, 0.3)), 300)
  const waits = [1, 2, 4, 16, 64].map((factor) => poller.planned(4 * SECOND, 0.5, factor).delayMs)
  expect(waits).toEqual(waits.toSorted((a, b) => a - b))
  expect(waits.at(-1)).toBeGreaterThan(3 * waits[0]!)
})

describe('the reason says', () => {
  const poller = aPoller({ intervalMinMs: SECOND, intervalMaxMs: 20 * SECOND, pollCostMs: SECOND / 2 })
  watchMany(poller, logNormal(10 * SECOND, 0.3), 100)

  test('how old the task will be, how likely it is done by then, and why not later', () => {
    const { delayMs, reason } = poller.planned(0)
    expect(reason).toMatch(/^age \d+\.\d s, \d+ % likely done by then, waiting longer would cost more than a query$/)
    expect(reason).toContain(`age ${(delayMs / SECOND).toFixed(1)} s, `)
  })
  test('what a query is worth while the rate limit binds', () => {
    expect(poller.planned(0, 0.5, 8).reason).toMatch(/ \(worth 4\.0 s while the rate limit binds\)$/)
  })
  test('that it is as soon, or as late, as may be', () => {
    expect(poller.planned(12 * HOUR).reason).toMatch(/^age 43220 s, \d+ % likely done by then, the longest wait$/)
    const eager = aPoller({ intervalMinMs: SECOND, intervalMaxMs: MINUTE, pollCostMs: 1 })
    expect(eager.planned(10 * SECOND).reason).toMatch(/^age 11\.0 s, \d+ % likely done by then, the shortest wait$/)
  })
})

const aSighting = fc
  .tuple(
    fc.double({ min: 0, max: 40 * DAY, noNaN: true }),
    fc.double({ min: 0, max: 2 * DAY, noNaN: true }),
    fc.boolean(),
  )
  .map(([fromMs, lengthMs, hasEnded]) => ({ fromMs, toMs: fromMs + lengthMs, hasEnded }))
const someSettings = fc
  .tuple(fc.integer({ min: 10, max: DAY }), fc.integer({ min: 10, max: DAY }), fc.integer({ min: 1, max: HOUR }))
  .map(([a, b, pollCostMs]) => ({ intervalMinMs: Math.min(a, b), intervalMaxMs: Math.max(a, b), pollCostMs }))
const someAges = fc.array(fc.integer({ min: 0, max: 40 * DAY }), { minLength: 2, maxLength: 8 })

function whatItPlans(cadence: Cadence, runningAgeMs: number, now: EpochMs) {
  return cadence.plan({ kind: KIND, runningAgeMs, ageMs: runningAgeMs, now, priceFactor: 1, random: 0.5 })
}

const START = epochMs(1_767_225_600_000)

describe('whatever was seen', () => {
  test('a wait is a whole number within its bounds, and the share in its reason is one', () => {
    fc.assert(
      fc.property(someSettings, fc.array(aSighting, { maxLength: 60 }), someAges, (settings, sightings, ages) => {
        const cadence = createCadence(settings)
        for (const sighting of sightings) cadence.learn(KIND, sighting)
        for (const ageMs of ages) {
          const { delayMs, reason } = whatItPlans(cadence, ageMs, START)
          expect(Number.isSafeInteger(delayMs)).toBe(true)
          expect(delayMs).toBeGreaterThanOrEqual(settings.intervalMinMs)
          expect(delayMs).toBeLessThanOrEqual(settings.intervalMaxMs)
          const share = Number(/, (\d+) % likely/.exec(reason)?.[1])
          expect(share).toBeGreaterThanOrEqual(0)
          expect(share).toBeLessThanOrEqual(100)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('who was asked about later is asked about later again', () => {
    fc.assert(
      fc.property(fc.array(aSighting, { maxLength: 60 }), someAges, (sightings, ages) => {
        const cadence = createCadence({ intervalMinMs: SECOND, intervalMaxMs: 5 * MINUTE, pollCostMs: 500 })
        for (const sighting of sightings) cadence.learn(KIND, sighting)
        const next = ages.toSorted((a, b) => a - b).map((ageMs) => ageMs + whatItPlans(cadence, ageMs, START).delayMs)
        // To the width of a step of the grid: between two of them the plan is a line.
        for (const [index, at] of next.entries()) if (index > 0) expect(at).toBeGreaterThan(next[index - 1]! * 0.9)
      }),
      { numRuns: 60 },
    )
  })

  test('what is kept stays small, and goes on as it was', () => {
    fc.assert(
      fc.property(fc.array(aSighting, { minLength: 1, maxLength: 300 }), someAges, (sightings, ages) => {
        const cadence = createCadence(WIDE)
        for (const sighting of sightings) cadence.learn(KIND, sighting)
        for (const ageMs of ages) whatItPlans(cadence, ageMs, START)
        const [record] = cadence.takeChanged()
        expect(record!.state.length).toBeLessThan(16_000)
        expect(record!.unfinishedShare).toBeGreaterThanOrEqual(0)
        expect(record!.unfinishedShare).toBeLessThanOrEqual(1)
        expect(cadence.takeChanged()).toEqual([])
        const restored = createCadence(WIDE)
        expect(restored.restore([record!])).toEqual([])
        restored.learn(KIND, sightings[0]!)
        expect(restored.takeChanged()[0]!.completionCount).toBe(
          record!.completionCount + (sightings[0]!.hasEnded ? 1 : 0),
        )
      }),
      { numRuns: 30 },
    )
  })
})

describe('after a restart', () => {
  const durations = logNormal(10 * SECOND, 0.3)
  const poller = aPoller()
  watchMany(poller, durations, 300)
  const [record] = poller.cadence.takeChanged()

  test('it plans as before', () => {
    const restored = aPoller()
    expect(restored.cadence.restore([record!])).toEqual([])
    const [before, after] = [poller, restored].map((one) => costOf(one.ages(HOUR), durations, WIDE.pollCostMs))
    expect(after).toBeCloseTo(before!, -2)
    expect(record).toMatchObject({ kind: KIND, completionCount: 300, pollCostMs: 500 })
    expect(record!.plan).toMatch(/^(\d+\.\d s, ){7}\d+\.\d s …$/)
  })

  test.each([
    ['no JSON', '{"format":1,'],
    ['null', 'null'],
    ['another format', record!.state.replace('"format":1', '"format":0')],
    ['a count that is none', record!.state.replace('"completionCount":300', '"completionCount":-1')],
    ['a weight that is none', record!.state.replace(/"weights":\[[^\]]*\]/, '"weights":[1,null,1,1]')],
    ['weights of nothing', record!.state.replace(/"weights":\[[^\]]*\]/, '"weights":[0,0,0,0]')],
    ['too few weights', record!.state.replace(/"weights":\[[^\]]*\]/, '"weights":[1]')],
    ['no estimates', record!.state.replace(/"estimates":.*$/, '"estimates":[]}')],
    ['estimates of something else', record!.state.replace(/"estimates":.*$/, '"estimates":[1,2,3,4]}')],
    ['too many cells', record!.state.replace('"exposure":[', `"exposure":[${'1,'.repeat(200)}`)],
    ['an infinite cell', record!.state.replace('"exposure":[', '"exposure":[1e999,')],
  ])('what is kept and damaged (%s) is left aside, and the kind starts anew', (_what, state) => {
    const restored = createCadence(WIDE)
    expect(restored.restore([{ kind: 'broken', state }, record!])).toEqual(['broken'])
    const plan = (cadence: Cadence, kind: string) =>
      cadence.plan({ kind, runningAgeMs: 0, ageMs: 0, now: START, priceFactor: 1, random: 0.5 })
    expect(plan(restored, 'broken')).toEqual(plan(createCadence(WIDE), 'broken'))
  })
})

test('a task that outlives all that was ever seen is likely done by then', () => {
  const poller = aPoller()
  // At every age those that are there end at once.
  for (let ageMs = 10; ageMs < 15 * HOUR; ageMs *= 1.02) {
    poller.cadence.learn(KIND, { fromMs: ageMs, toMs: ageMs * 1.0001, hasEnded: true })
  }
  expect(poller.planned(12 * HOUR).reason).toMatch(/^age \d+ s, 100 % likely done by then, /)
})

test('a look-up takes microseconds', () => {
  const poller = aPoller()
  watchMany(poller, logNormal(10 * SECOND, 0.3), 300)
  const startedAt = performance.now()
  for (let index = 0; index < 20_000; index += 1) poller.planned(index)
  // 20 000 tasks a second with a hundred times the room: on a machine of any speed it is a look-up, and not a solution.
  expect(performance.now() - startedAt).toBeLessThan(20_000)
})
