/**
 * Latency (B2): from the upstream's answer to the first byte of the webhook at its receiver, at 200 results a second.
 *
 * The built daemon, an upstream and a receiver as processes on loopback, which share the monotonic clock of the machine.
 * In between lie reading the answer, two commits (the result, the claim of its delivery), signing and sending.
 *
 *     npm run build && node bench/latency/run.mjs [--rounds 5] [--seconds 10] [--rate 200] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuMs, startNode } from '../child.mjs'
import { startDaemon } from '../daemon.mjs'
import { goal, quantile, report, spread, spreadText, table } from '../report.mjs'

/** The first seconds of a process are slow: its code is compiled as it is used. */
const WARM_UP_MS = 3_000
const LAST_ARRIVALS_MS_MAX = 20_000
/** Endpoints of their own: one alone may have no more than eight attempts under way. */
const ENDPOINT_COUNT = 8
const STEP_MS = 5
const P50_MS_MAX = 5
const P99_MS_MAX = 25

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    rate: { type: 'string', default: '200' },
    json: { type: 'boolean', default: false },
  },
})
const rate = Number(values.rate)
const measuredMs = Number(values.seconds) * 1_000

const directory = mkdtempSync(join(tmpdir(), 'ringback-latency-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
const at = (path) => fileURLToPath(new URL(path, import.meta.url))

/** One task at a time, at an even pace: each result is on its own, as they are in life. */
async function load(daemon, callbackUrl, forMs, prefix) {
  const startedAt = performance.now()
  let count = 0
  const underWay = []
  for (let elapsedMs = 0; elapsedMs < forMs; elapsedMs = performance.now() - startedAt) {
    for (const wanted = Math.ceil((elapsedMs * rate) / 1_000); count < wanted; count += 1)
      underWay.push(
        daemon.register([{ taskId: `${prefix}-${count}`, callbackUrl: `${callbackUrl}/${count % ENDPOINT_COUNT}` }]),
      )
    await sleep(STEP_MS)
  }
  await Promise.all(underWay)
  return count
}

async function play(round) {
  const upstream = startNode([at('./upstream.mjs')])
  const receiver = startNode([at('./receiver.mjs')])
  const [asked, told] = await Promise.all([upstream.line(), receiver.line()])
  const callbackUrl = `${told.url}/hooks`
  const daemon = await startDaemon({
    path: join(directory, `${round}.db`),
    upstream: { ...asked, accessKeyName: 'bench', accessKeySecret: 'bench-secret' },
    settings: { RINGBACK_POLL_RATE: '2000', RINGBACK_POLL_CONCURRENCY: '64' },
  })
  const take = async (child) => {
    child.say('')
    return await child.line()
  }
  /** What has arrived by the time at which all that was registered has. */
  const takeArrived = async (count) => {
    const arrived = []
    for (const startedAt = performance.now(); arrived.length < count; await sleep(100)) {
      arrived.push(...(await take(receiver)))
      if (performance.now() - startedAt > LAST_ARRIVALS_MS_MAX) throw new Error(`${arrived.length} of ${count} came`)
    }
    return arrived
  }
  await takeArrived(await load(daemon, callbackUrl, WARM_UP_MS, 'warm'))
  await take(upstream)
  const busyBefore = cpuMs(daemon.pid)
  const sentCount = await load(daemon, callbackUrl, measuredMs, 'task')
  const busyMs = cpuMs(daemon.pid) - busyBefore
  const arrived = await takeArrived(sentCount)
  const answeredAt = new Map(await take(upstream))
  const latenciesMs = arrived.map(([taskId, ms]) => ms - answeredAt.get(taskId))
  for (const child of [daemon, upstream, receiver]) await child.end()
  const share = (part) => quantile(latenciesMs, part)
  return { p50: share(0.5), p90: share(0.9), p99: share(0.99), max: share(1), busy: busyMs / measuredMs }
}

const results = []
for (let round = 0; round < Number(values.rounds); round += 1) {
  const result = await play(round)
  process.stderr.write(`round ${round + 1}: p50 ${result.p50.toFixed(1)} ms, p99 ${result.p99.toFixed(1)} ms\n`)
  results.push(result)
}

const FIELDS = ['p50', 'p90', 'p99', 'max']
const row = Object.fromEntries([...FIELDS, 'busy'].map((field) => [field, spread(results.map((one) => one[field]))]))
const tenth = (value) => value.toFixed(1)
report({
  name: 'latency',
  goals: [
    goal({
      id: 'B2',
      what: 'answer seen → first byte, p50 ms',
      measured: row.p50.median,
      limit: P50_MS_MAX,
      bound: 'max',
    }),
    goal({
      id: 'B2',
      what: 'answer seen → first byte, p99 ms',
      measured: row.p99.median,
      limit: P99_MS_MAX,
      bound: 'max',
    }),
  ],
  rows: [row],
  text: table(
    {
      ...Object.fromEntries(FIELDS.map((field) => [`${field} ms (min–max)`, (one) => spreadText(one[field], tenth)])),
      'daemon busy': (one) => `${Math.round(one.busy.median * 100)} %`,
    },
    [row],
  ),
  json: values.json,
  rounds: results.length,
  resultsPerSecond: rate,
  measuredMs,
})
