/**
 * Isolation (B6): what nine healthy receivers notice of troubled neighbours with 50 000 deliveries waiting.
 *
 * The built daemon, a fake upstream and the receivers are processes on loopback. Rounds with each trouble alternate with
 * rounds without any, so that a machine that gets slower or faster meets all alike. Measured is the age of each result
 * at its receiver: from the instant that its task settled to the first byte of the webhook.
 *
 *     npm run build && node bench/isolation/run.mjs [--rounds 5] [--seconds 3] [--json]
 */

import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { goal, median, quantile, report, table } from '../report.mjs'
import { attemptsAtBacklog, makeBacklog } from './backlog.mjs'
import { startDaemon, startReceivers, startUpstream } from './processes.mjs'

const BACKLOG_COUNT = 50_000
const TASKS_A_SECOND = 180
const BURST_MS = 50
/** The first second is the daemon's warming up, with trouble or without. */
const WARM_UP_MS = 1_000
const LAST_ARRIVALS_MS = 1_000
const GOAL = 1.1

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const measuredMs = Number(values.seconds) * 1_000

const directory = mkdtempSync(join(tmpdir(), 'ringback-isolation-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))

function troublesOf({ dead, hanging, failing }) {
  return {
    none: [],
    'is dead, refuses': [`${dead}/hooks`],
    'hangs, never answers': [`${hanging}/hooks`],
    'answers 500': [`${failing}/hooks`],
    'is 200 URLs of a dead host': Array.from({ length: 200 }, (_, index) => `${dead}/hooks/${index}`),
  }
}

/** At an even pace, to each in turn. */
async function load(daemon, urls, forMs, prefix) {
  const startedAt = performance.now()
  let count = 0
  for (let elapsedMs = 0; elapsedMs < forMs; elapsedMs = performance.now() - startedAt) {
    const wanted = Math.ceil((elapsedMs * TASKS_A_SECOND) / 1_000) - count
    const tasks = Array.from({ length: wanted }, (_, index) => ({
      taskId: `${prefix}-${count + index}`,
      callbackUrl: `${urls[(count + index) % urls.length]}/hooks`,
    }))
    if (tasks.length > 0) await daemon.register(tasks)
    count += tasks.length
    await sleep(BURST_MS)
  }
  return count
}

async function playRound(template, { upstream, receivers }, name) {
  const path = join(directory, 'round.db')
  copyFileSync(template, path)
  const daemon = await startDaemon(path, upstream)
  await load(daemon, receivers.urls.healthy, WARM_UP_MS, `${name}-warm`)
  await receivers.takeAgesMs()
  const sentCount = await load(daemon, receivers.urls.healthy, measuredMs, name)
  await sleep(LAST_ARRIVALS_MS)
  const agesMs = await receivers.takeAgesMs()
  await daemon.end()
  const attemptCount = attemptsAtBacklog(path)
  for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true })
  return {
    p50: quantile(agesMs, 0.5),
    p99: quantile(agesMs, 0.99),
    arrivedCount: agesMs.length,
    sentCount,
    attemptCount,
  }
}

function summaryOf(name, played, baseline) {
  const p99s = played.map(({ p99 }) => p99)
  return {
    neighbour: name,
    p50Ms: median(played.map(({ p50 }) => p50)),
    p99Ms: median(p99s),
    p99MsMin: Math.min(...p99s),
    p99MsMax: Math.max(...p99s),
    /** Of each round to the round without trouble beside it; the median of them. */
    ratio: median(played.map(({ p99 }, index) => p99 / baseline[index].p99)),
    /** Late ones of the round before may come in too. */
    arrivedShare: median(played.map(({ arrivedCount, sentCount }) => arrivedCount / sentCount)),
    attemptsAtTroubled: median(played.map(({ attemptCount }) => attemptCount)),
  }
}

const ms = (value) => value.toFixed(1)
const COLUMNS = {
  'neighbour with 50 000 waiting': (row) => row.neighbour,
  'p50 ms': (row) => ms(row.p50Ms),
  'p99 ms (min–max)': (row) => `${ms(row.p99Ms)} (${ms(row.p99MsMin)}–${ms(row.p99MsMax)})`,
  'p99 ÷ without': (row) => row.ratio.toFixed(2),
  'attempts at it a round': (row) => String(row.attemptsAtTroubled),
}

function goalOf({ neighbour, ratio }) {
  return goal({
    id: 'B6',
    what: `p99 of nine healthy receivers beside one that ${neighbour}, to their p99 alone`,
    measured: ratio,
    limit: GOAL,
    bound: 'max',
  })
}

const stage = { upstream: await startUpstream(), receivers: await startReceivers() }
const troubles = Object.entries(troublesOf(stage.receivers.urls))
const played = new Map(troubles.map(([name]) => [name, []]))
try {
  for (const [index, [, callbackUrls]] of troubles.entries()) {
    const path = join(directory, `template-${index}.db`)
    await makeBacklog({ path, upstream: stage.upstream, callbackUrls, count: BACKLOG_COUNT })
  }
  for (let round = 0; round < rounds; round += 1) {
    // Each trouble comes first, last and in the middle.
    for (let step = 0; step < troubles.length; step += 1) {
      const index = (step + round) % troubles.length
      const [name] = troubles[index]
      const result = await playRound(join(directory, `template-${index}.db`), stage, `r${round}-${index}`)
      played.get(name).push(result)
      process.stderr.write(`round ${round + 1}, ${name}: p99 ${result.p99.toFixed(1)} ms of ${result.arrivedCount}\n`)
    }
  }
} finally {
  await stage.receivers.end()
  await stage.upstream.end()
}
const rows = troubles.map(([name]) => summaryOf(name, played.get(name), played.get('none')))
report({
  name: 'isolation',
  goals: rows.filter(({ neighbour }) => neighbour !== 'none').map(goalOf),
  rows,
  text: table(COLUMNS, rows),
  json: values.json,
  rounds,
  measuredMs,
})
