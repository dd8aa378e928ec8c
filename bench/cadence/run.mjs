/**
 * Cadence (B3): what asking costs, J = cost · queries + lag, over what it costs whoever knows the distribution.
 *
 * The core of the built daemon learns from what a poller sees, in simulated time: six kinds of duration, three worths of a
 * query, with as many queries as are wanted and with half of what the best plan wants. Beside it fixed intervals, a back-off,
 * the best fixed interval known in hindsight, and the plan that knows the distribution. All meet the same tasks. The median
 * duration of each kind is drawn from the seed.
 *
 *     npm run build && node bench/cadence/run.mjs [--seed 1] [--repeats 3] [--tasks 1000] [--json] [--plot docs/cadence.svg]
 */

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { goal, report } from '../report.mjs'
import { backOff, fixedPlan, play, ringback } from './play.mjs'
import { plotOf } from './plot.mjs'
import { bestFixedMs, costOf, createChance, fixedAges, kindsOfDuration, oracleAges } from './worlds.mjs'

const COSTS_MS = [100, 500, 2_000]
/** Completions before what is measured begins: these and, where durations jump, those after the jump. */
const LEARNED_COUNT = 500
const AFTER_JUMP_COUNT = 300
const MEDIAN_MS = { min: 10_000, max: 60_000 }
/** Of what the oracle wants; but less than one query a task would let nobody find all of them. */
const QUOTA_SHARE = 0.5
const QUOTA_QUERIES_MIN = 1.2
/** Whoever knows the quota plans for a little less, or a queue would build up. */
const QUOTA_USED = 0.95
/** So many tasks are under way at once. */
const AT_ONCE = 10

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    repeats: { type: 'string', default: '3' },
    tasks: { type: 'string', default: '1000' },
    json: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
})
const seed = Number(values.seed)
const repeats = Number(values.repeats)
const taskCount = Number(values.tasks)

/** Each has its own way of measuring the same tasks. */
function strategiesOf({ costMs, medianMs, oracle, bestMs, chance }) {
  const untilMs = 40 * medianMs
  return {
    ringback: () => ringback(costMs, chance),
    'fixed 1 s': () => fixedPlan(fixedAges(1_000, untilMs)),
    'fixed 2 s': () => fixedPlan(fixedAges(2_000, untilMs)),
    'fixed 5 s': () => fixedPlan(fixedAges(5_000, untilMs)),
    'back-off ×1.5 1→10 s': () => backOff(1_000, 1.5, 10_000),
    'best fixed': () => fixedPlan(fixedAges(bestMs, untilMs)),
    oracle: () => fixedPlan(oracle),
  }
}

function measure({ name, medianMs, before, durations, costMs, plans, isBound, repeat }) {
  const isJump = before !== durations
  const warmCount = LEARNED_COUNT + (isJump ? AFTER_JUMP_COUNT : 0)
  const draw = createChance(seed * 1_000_003 + repeat)
  const durationsMs = Array.from({ length: warmCount + taskCount }, (_, index) =>
    (index < LEARNED_COUNT ? before : durations).draw(draw),
  )
  const everyMs = medianMs / AT_ONCE
  const rate = isBound ? (1_000 * plans.allowed) / everyMs : null
  const oracle = isBound ? plans.oracleWithin : plans.oracle
  const { bestMs } = plans
  const strategies = strategiesOf({ costMs, medianMs, oracle, bestMs, chance: createChance(seed + repeat) })
  return Object.entries(strategies).map(([strategy, create]) => {
    const playing = create()
    let learnedCost = null
    const onCompletion = (count, now) => {
      if (strategy === 'ringback' && !isBound && count === warmCount)
        learnedCost = costOf(playing.ages(40 * medianMs, now), durations, costMs)
    }
    const chance = createChance(seed * 31 + repeat)
    const played = play({ strategy: playing, durationsMs, everyMs, rate, chance, onCompletion }).slice(warmCount)
    const lags = played.map(({ lagMs }) => lagMs).toSorted((a, b) => a - b)
    const queries = mean(played.map((task) => task.queries))
    return {
      kind: name,
      medianMs,
      costMs,
      isBound,
      strategy,
      queries,
      lagMeanMs: mean(lags),
      lagP50Ms: quantile(lags, 0.5),
      lagP95Ms: quantile(lags, 0.95),
      costMeanMs: costMs * queries + mean(lags),
      /** Of the plan as it is after the completions above, computed and not played. */
      learnedOverOracle: learnedCost === null ? null : learnedCost / plans.oracleCost,
      learnedOverBestFixed: learnedCost === null ? null : learnedCost / plans.bestFixedCost,
    }
  })
}

/** What is known of a kind before anything is played. */
function plansOf({ durations, medianMs }, costMs) {
  const oracle = oracleAges(durations, costMs)
  const allowed = Math.max(QUOTA_QUERIES_MIN, QUOTA_SHARE * queriesOf(oracle, durations))
  const bestMs = bestFixedMs(durations, costMs, medianMs)
  const oracleCost = costOf(oracle, durations, costMs)
  const bestFixedCost = costOf(fixedAges(bestMs, 40 * medianMs), durations, costMs)
  return {
    oracle,
    oracleCost,
    bestFixedCost,
    allowed,
    bestMs,
    oracleWithin: oracleWithin(durations, costMs, QUOTA_USED * allowed),
  }
}

/** The plan of whoever also knows the price at which the queries suffice. */
function oracleWithin(durations, costMs, queriesMax) {
  let priceMs = costMs
  while (priceMs < 1_000 * costMs && queriesOf(oracleAges(durations, priceMs), durations) > queriesMax) priceMs *= 1.15
  return oracleAges(durations, priceMs)
}

/** How many queries a plan takes for one task. */
function queriesOf(ages, { survival }) {
  return ages.reduce((sum, _, index) => sum + (index === 0 ? 1 : survival(ages[index - 1])), 0)
}

function mean(sample) {
  return sample.reduce((sum, value) => sum + value, 0) / sample.length
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

/** The mean of all repeats, and of the learned plan also the worst. */
function summaryOf(rounds) {
  return rounds[0].map((first, index) => {
    const rows = rounds.map((round) => round[index])
    const oracles = rounds.map((round) => round.find(({ strategy }) => strategy === 'oracle'))
    const meanOf = (key) => mean(rows.map((row) => row[key]))
    const learned = rows.map((row) => row.learnedOverOracle)
    return {
      ...first,
      queries: meanOf('queries'),
      lagMeanMs: meanOf('lagMeanMs'),
      lagP50Ms: meanOf('lagP50Ms'),
      lagP95Ms: meanOf('lagP95Ms'),
      costMeanMs: meanOf('costMeanMs'),
      overOracle: mean(rows.map((row, repeat) => row.costMeanMs / oracles[repeat].costMeanMs)),
      learnedOverOracle: first.learnedOverOracle === null ? null : mean(learned),
      learnedOverBestFixed: first.learnedOverBestFixed === null ? null : meanOf('learnedOverBestFixed'),
      learnedOverOracleMax: first.learnedOverOracle === null ? null : Math.max(...learned),
    }
  })
}

function tables(rows, isBound) {
  const names = [...new Set(rows.map(({ strategy }) => strategy))].filter((name) => name !== 'oracle')
  const groups = Map.groupBy?.(rows, (row) => `${row.kind}|${row.costMs}`) ?? groupsOf(rows)
  const learned = isBound ? [] : ['learned plan (worst)']
  const lines = [...groups.values()].map((group) => {
    const of = (name) => group.find(({ strategy }) => strategy === name)
    const ours = of('ringback')
    const exact = isBound ? [] : [`${ours.learnedOverOracle.toFixed(3)} (${ours.learnedOverOracleMax.toFixed(3)})`]
    const cells = names.map((name) => of(name).overOracle.toFixed(2))
    return `| ${[ours.kind, (ours.medianMs / 1_000).toFixed(0), ours.costMs / 1_000, ...exact, ...cells].join(' | ')} |`
  })
  return [
    row(['durations', 'median s', 'query worth s', ...learned, ...names]),
    rule(3 + learned.length + names.length),
    ...lines,
  ].join('\n')
}

function groupsOf(rows) {
  const groups = new Map()
  for (const one of rows) {
    const key = `${one.kind}|${one.costMs}`
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  return groups
}

const row = (cells) => `| ${cells.join(' | ')} |`
const rule = (count) => `|${'---|'.repeat(count)}`

function detail(rows) {
  const seconds = (ms) => (ms / 1_000).toFixed(2)
  return [
    row(['durations', 'queries a second', 'strategy', 'queries a task', 'lag mean s', 'p50', 'p95', 'J ÷ oracle']),
    rule(8),
    ...rows
      .filter(({ costMs }) => costMs === 500)
      .map((one) =>
        row([
          one.kind,
          one.isBound ? 'half of what the oracle wants' : 'as wanted',
          one.strategy,
          one.queries.toFixed(2),
          seconds(one.lagMeanMs),
          seconds(one.lagP50Ms),
          seconds(one.lagP95Ms),
          one.overOracle.toFixed(2),
        ]),
      ),
  ].join('\n')
}

/** The worst of all kinds and costs, each the mean of its repeats. */
function goalsOf(played) {
  const learned = played.filter(({ strategy }) => strategy === 'ringback')
  const isJump = ({ kind }) => kind.startsWith('jump')
  const worst = (some, key) => Math.max(...some.map((one) => one[key]))
  const steady = learned.filter((one) => !isJump(one))
  const before = 'J of the learned plan'
  return [
    goal({
      id: 'B3',
      what: `${before} to the oracle's, after ${LEARNED_COUNT} completions`,
      measured: worst(steady, 'learnedOverOracle'),
      limit: 1.05,
      bound: 'max',
    }),
    goal({
      id: 'B3',
      what: `${before} to the oracle's, ${AFTER_JUMP_COUNT} completions after a jump`,
      measured: worst(learned.filter(isJump), 'learnedOverOracle'),
      limit: 1.1,
      bound: 'max',
    }),
    goal({
      id: 'B3',
      what: `${before} to that of the best fixed interval`,
      measured: worst(learned, 'learnedOverBestFixed'),
      limit: 1.02,
      bound: 'max',
    }),
  ]
}

const worlds = createChance(seed)
const kinds = Object.keys(kindsOfDuration(1)).map((name) => {
  const medianMs = Math.round(MEDIAN_MS.min * (MEDIAN_MS.max / MEDIAN_MS.min) ** worlds())
  return { name, medianMs, ...kindsOfDuration(medianMs)[name] }
})
const rows = []
for (const kind of kinds) {
  for (const costMs of COSTS_MS) {
    const plans = plansOf(kind, costMs)
    for (const isBound of [false, true]) {
      const round = (repeat) => measure({ ...kind, costMs, plans, isBound, repeat })
      rows.push(...summaryOf(Array.from({ length: repeats }, (_, repeat) => round(repeat))))
    }
  }
  process.stderr.write(`${kind.name}: done\n`)
}
if (values.plot !== undefined) writeFileSync(values.plot, plotOf(seed))
const free = rows.filter(({ isBound }) => !isBound)
const bound = rows.filter(({ isBound }) => isBound)
const text = [
  'J over the J of the oracle, as many queries as wanted:',
  tables(free, false),
  'The same with half of the queries that the oracle wants:',
  tables(bound, true),
  'A query worth 0.5 s, in detail:',
  detail(rows),
].join('\n\n')
report({ name: 'cadence', goals: goalsOf(free), rows, text, json: values.json, seed, repeats, taskCount })
