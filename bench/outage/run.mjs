/**
 * Outage (B7): how soon an upstream that comes back is asked at the allowed rate again, and whether ever above it.
 *
 * The built daemon with 50 000 pending tasks, and an upstream that fails, falls silent or goes away, and comes back. Within
 * minutes the daemon is in the state in which two hours leave it: each task is at its slowest, the rate at its lowest.
 *
 *     npm run build && node bench/outage/run.mjs [--outage 150] [--rounds 1] [--rate 250] [--kinds failing,silent,gone] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startNode } from '../child.mjs'
import { startDaemon } from '../daemon.mjs'
import { monotonicMs } from '../end-to-end/world.mjs'
import { goal, report, spread, spreadText, table } from '../report.mjs'

const PENDING_COUNT = 50_000
const BEFORE_MS = 10_000
const AFTER_MS = 100_000
const RECOVERED_SHARE = 0.9
/** As long as the rate is looked at to say that it is back. */
const WINDOW_MS = 5_000
const RECOVERY_SECONDS_MAX = 90
/** A tenth of a second's worth may leave together. */
const BURST_SECONDS = 0.1

const { values } = parseArgs({
  options: {
    outage: { type: 'string', default: '150' },
    rounds: { type: 'string', default: '1' },
    rate: { type: 'string', default: '250' },
    kinds: { type: 'string', default: 'failing,silent,gone' },
    json: { type: 'boolean', default: false },
  },
})
const outageMs = Number(values.outage) * 1_000
const rate = Number(values.rate)
const roundCount = Number(values.rounds)

const directory = mkdtempSync(join(tmpdir(), 'ringback-outage-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))

async function play(kind, round) {
  const upstream = startNode([fileURLToPath(new URL('./upstream.mjs', import.meta.url))])
  const { url } = await upstream.line()
  const become = async (mode) => {
    upstream.say(mode)
    return await upstream.line()
  }
  const daemon = await startDaemon({
    path: join(directory, `${kind}-${round}.db`),
    upstream: { url, accessKeyName: 'bench', accessKeySecret: 'bench-secret' },
    settings: { RINGBACK_POLL_RATE: String(rate), RINGBACK_LOG_LEVEL: 'warn' },
  })
  const tasks = Array.from({ length: PENDING_COUNT }, (_, index) => ({
    taskId: `task-${index}`,
    callbackUrl: 'http://127.0.0.1:1024/hooks',
  }))
  await daemon.register(tasks)
  await become('up')
  await sleep(BEFORE_MS)
  const before = await become(kind)
  await sleep(outageMs)
  const during = await become('up')
  const backAt = monotonicMs()
  await sleep(AFTER_MS)
  const after = await become('up')
  await daemon.end()
  await upstream.end()
  return {
    ratePerSecondBefore: before.length / (BEFORE_MS / 1_000),
    ratePerSecondAtTheEnd: during.filter((at) => at > backAt - 30_000).length / 30,
    recoverySeconds: recoverySeconds(after, backAt),
    queriesInOneSecondMax: mostInOneSecond([...before, ...during, ...after]),
  }
}

/** From the end of the outage until the rate of the next five seconds is what it should be; null if it never was. */
function recoverySeconds(askedAts, backAt) {
  const wanted = (RECOVERED_SHARE * rate * WINDOW_MS) / 1_000
  for (let from = backAt; from < backAt + AFTER_MS - WINDOW_MS; from += 100) {
    if (askedAts.filter((at) => at >= from && at < from + WINDOW_MS).length >= wanted) return (from - backAt) / 1_000
  }
  return null
}

function mostInOneSecond(askedAts) {
  let most = 0
  for (let first = 0, last = 0; last < askedAts.length; last += 1) {
    while (askedAts[last] - askedAts[first] >= 1_000) first += 1
    most = Math.max(most, last - first + 1)
  }
  return most
}

const rows = []
for (const kind of values.kinds.split(',')) {
  const results = []
  for (let round = 0; round < roundCount; round += 1) {
    const result = await play(kind, round)
    process.stderr.write(`${kind}, round ${round + 1}: back in ${result.recoverySeconds} s\n`)
    results.push(result)
  }
  const spreadOf = (field) => spread(results.map((result) => result[field] ?? Number.POSITIVE_INFINITY))
  rows.push({
    kind,
    ratePerSecondBefore: spreadOf('ratePerSecondBefore'),
    ratePerSecondAtTheEnd: spreadOf('ratePerSecondAtTheEnd'),
    recoverySeconds: spreadOf('recoverySeconds'),
    queriesInOneSecondMax: spreadOf('queriesInOneSecondMax'),
  })
}

const tenth = (value) => value.toFixed(1)
const text = table(
  {
    upstream: ({ kind }) => kind,
    'queries a second before': (row) => spreadText(row.ratePerSecondBefore, tenth),
    'in the last 30 s of the outage': (row) => spreadText(row.ratePerSecondAtTheEnd, tenth),
    'back at 90 % after s': (row) => spreadText(row.recoverySeconds, tenth),
    'most in any second': (row) => spreadText(row.queriesInOneSecondMax),
  },
  rows,
)
report({
  name: 'outage',
  goals: [
    goal({
      id: 'B7',
      what: 'seconds from the end of an outage to 90 % of the allowed rate',
      measured: finite(Math.max(...rows.map((row) => row.recoverySeconds.max))),
      limit: RECOVERY_SECONDS_MAX,
      bound: 'max',
    }),
    goal({
      id: 'B7',
      what: 'most queries in any second',
      measured: Math.max(...rows.map((row) => row.queriesInOneSecondMax.max)),
      limit: Math.round(rate * (1 + BURST_SECONDS)),
      bound: 'max',
    }),
  ],
  rows,
  text,
  json: values.json,
  outageSeconds: outageMs / 1_000,
  pending: PENDING_COUNT,
  rate,
  rounds: roundCount,
})

function finite(value) {
  return Number.isFinite(value) ? value : null
}
