/**
 * End to end (B1): tasks that have finished upstream, from the first registration to the last webhook.
 *
 * Ringback over its public contract, the bare loop that stores nothing, and job queues doing the same: for each task one
 * signed query and one signed webhook over undici, against the same upstream and receiver. In every round each comes once,
 * in another order; the first round warms up and does not count. Rates are of different webhooks that arrived.
 *
 *     npm run build && npm --prefix bench/peers ci
 *     node bench/end-to-end/run.mjs [--tasks 20000] [--rounds 5] [--only ringback,bullmq] [--seed 1]
 *                                   [--limit 60] [--profile DIRECTORY] [--json]
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuMs, startNode } from '../child.mjs'
import { versionOf } from '../peers/servers.mjs'
import { goal, report, spread, spreadText, table } from '../report.mjs'
import { CONTENDERS, start, whatIsMissing } from './contenders.mjs'
import { accountOf, monotonicMs } from './world.mjs'

/** As many tasks are under way at once, each with a connection to the upstream and to the receiver. */
const CONCURRENCY = 64
const at = (path) => fileURLToPath(new URL(path, import.meta.url))

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
    seed: { type: 'string', default: '1' },
    /** Seconds after which a contender is stopped, and judged by what has arrived. */
    limit: { type: 'string', default: '60' },
    /** Where to leave CPU profiles of the workers, one of each round. */
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const taskCount = Number(values.tasks)
const roundCount = Number(values.rounds)
const seed = Number(values.seed)
const limitMs = Number(values.limit) * 1_000
const chosen = chosenContenders(values.only)

function chosenContenders(only) {
  if (only === undefined) return CONTENDERS
  const names = only.split(',').map((name) => name.trim())
  const unknown = names.filter((name) => CONTENDERS.every((contender) => contender.name !== name))
  if (unknown.length > 0) {
    console.error(`--only: no ${unknown.join(', ')}; there are ${CONTENDERS.map(({ name }) => name).join(', ')}`)
    process.exit(2)
  }
  return CONTENDERS.filter(({ name }) => names.includes(name))
}

const directory = mkdtempSync(join(tmpdir(), 'ringback-end-to-end-'))
// PostgreSQL runs as another user when this is root, and must reach its own directory in here.
chmodSync(directory, 0o711)
// Children that were ended just now may still hold a file.
process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }))

const account = accountOf(seed)
const upstream = startNode([at('./upstream.mjs'), account.accessKeyName, account.accessKeySecret])
const { url: upstreamUrl } = await upstream.line()
const receiver = startNode([at('./receiver.mjs'), account.webhookSecret])
const { url: receiverUrl } = await receiver.line()

/** `{rate, seconds, arrivedCount, …}` of one contender in one round. */
async function play(contender, round) {
  const nodeFlags =
    values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDirectory(contender, round)}`]
  const settings = {
    directory: join(directory, `${contender.name.replace(' ', '-')}-${round}`),
    upstreamUrl,
    callbackUrl: `${receiverUrl}/hooks`,
    account,
    concurrency: CONCURRENCY,
    nodeFlags,
  }
  const playing = await start(contender, settings)
  try {
    const measured = await measure(playing, contender.name, round)
    checkWork(contender, measured)
    return measured
  } finally {
    await playing.end()
    rmSync(settings.directory, { recursive: true, force: true })
  }
}

function profileDirectory({ name }, round) {
  return resolve(values.profile, name.replace(' ', '-'), String(round))
}

async function measure(playing, name, round) {
  receiver.say({ expect: taskCount })
  // What the contender before was still asking when it was stopped is not this one's.
  await askedCounts()
  const processes = { worker: playing.worker, upstream, receiver }
  const cpuBefore = cpuOf(processes)
  const outOfTime = new AbortController()
  const startedAtMs = monotonicMs()
  const arrived = receiver.line()
  const enqueued = playing.enqueue({ seed, round, count: taskCount })
  // Of no interest any more when everything has arrived, or the time is over.
  enqueued.catch(() => {})
  const died = playing.worker.ended.then(() => {
    throw new Error(`${name} ended in the middle`)
  })
  died.catch(() => {})
  sleep(limitMs, null, { signal: outOfTime.signal }).then(
    () => receiver.say('"stop"'),
    () => {},
  )
  const [told] = await Promise.all([arrived, Promise.race([enqueued, died, arrived]), Promise.race([died, arrived])])
  outOfTime.abort()
  const isThrough = told.arrivedCount === taskCount
  const tookMs = (isThrough ? told.lastAtMs : monotonicMs()) - startedAtMs
  const cpuAfter = cpuOf(processes)
  const asked = await askedCounts()
  return {
    rate: (told.arrivedCount / tookMs) * 1_000,
    seconds: tookMs / 1_000,
    arrivedCount: told.arrivedCount,
    postCount: told.postCount,
    unsignedCount: told.unsignedCount + asked.unsignedCount,
    queryCount: asked.queryCount,
    /** The share of a core that each process was busy. One near 1 is what holds up the others. */
    busy: Object.fromEntries(
      Object.keys(processes).map((name) => [name, shareOf(cpuBefore[name], cpuAfter[name], tookMs)]),
    ),
  }
}

async function askedCounts() {
  upstream.say('"counts"')
  return await upstream.line()
}

const cpuOf = (processes) => Object.fromEntries(Object.entries(processes).map(([name, { pid }]) => [name, cpuMs(pid)]))

function shareOf(before, after, tookMs) {
  return before === null || after === null ? null : (after - before) / tookMs
}

/** A rate counts only if the work was done. */
function checkWork({ name }, { arrivedCount, queryCount, unsignedCount }) {
  if (unsignedCount > 0) throw new Error(`${name} sent requests that are not signed as they should be`)
  if (queryCount < arrivedCount) throw new Error(`${name} asked ${queryCount} times about ${arrivedCount} tasks`)
}

const missing = new Map(chosen.map((contender) => [contender.name, whatIsMissing(contender)]))
const present = chosen.filter(({ name }) => missing.get(name) === null)
const played = new Map(present.map(({ name }) => [name, []]))

try {
  for (let round = 0; round <= roundCount; round += 1) {
    for (let step = 0; step < present.length; step += 1) {
      const contender = present[(step + round) % present.length]
      const result = await play(contender, round)
      const what = round === 0 ? 'warm-up' : `round ${round}`
      process.stderr.write(`${what}, ${contender.name}: ${roundText(result)}\n`)
      if (round > 0) played.get(contender.name).push(result)
    }
  }
} finally {
  await Promise.all([upstream.end(), receiver.end()])
}

function roundText({ rate, seconds, arrivedCount }) {
  const stopped = arrivedCount < taskCount ? `, stopped after ${arrivedCount} of ${taskCount}` : ''
  return `${Math.round(rate)}/s in ${seconds.toFixed(1)} s${stopped}`
}

function rowOf({ name, durability }) {
  const results = played.get(name) ?? []
  if (results.length === 0) return { contender: name, durability, missing: missing.get(name), rate: null, ratio: null }
  const ours = played.get('ringback') ?? []
  return {
    contender: name,
    durability,
    missing: null,
    rate: spread(results.map(({ rate }) => rate)),
    /** Ringback's rate over this one's, of each round by itself. */
    ratio: ours.length === 0 ? null : spread(results.map(({ rate }, round) => ours[round].rate / rate)),
    arrivedCount: spread(results.map(({ arrivedCount }) => arrivedCount)),
    queriesPerTask: spread(results.map(({ queryCount, arrivedCount }) => queryCount / arrivedCount)),
    postsPerTask: spread(results.map(({ postCount, arrivedCount }) => postCount / arrivedCount)),
    /** CPU time of the worker for each task: less the matter of chance than a rate on a machine that does other things. */
    workerUs: spread(results.map(({ busy, seconds, arrivedCount }) => (busy.worker * seconds * 1e6) / arrivedCount)),
    busy: Object.fromEntries(
      ['worker', 'upstream', 'receiver'].map((process) => [process, spread(results.map(({ busy }) => busy[process]))]),
    ),
  }
}

const rows = chosen.map(rowOf)
const goals = chosen
  .filter((contender) => contender.goal !== null)
  .map((contender) =>
    goal({
      id: 'B1',
      what: `Ringback’s rate over that of ${contender.name}`,
      measured: rows.find((row) => row.contender === contender.name).ratio?.median ?? null,
      limit: contender.goal,
      bound: 'min',
    }),
  )

const text = table(
  {
    contender: (row) => row.contender,
    'tasks a second (min–max)': rateText,
    'Ringback ÷ it': (row) => (row.ratio === null ? '' : spreadText(row.ratio, (value) => value.toFixed(2))),
    'worker’s CPU µs a task': (row) => (row.rate === null ? '' : spreadText(row.workerUs)),
    'busy: worker, upstream, receiver': (row) =>
      row.rate === null
        ? ''
        : Object.values(row.busy)
            .map(({ median }) => percent(median))
            .join(', '),
    'after a power loss are safe': (row) => row.durability,
  },
  rows,
)

function rateText({ missing: why, rate, arrivedCount }) {
  if (rate === null) return `missing: ${why}`
  const isThrough = arrivedCount.min === taskCount
  return `${spreadText(rate)}${isThrough ? '' : `, stopped after ${values.limit} s with ${arrivedCount.median} done`}`
}

function percent(share) {
  return share === null ? '?' : `${Math.round(share * 100)} %`
}

report({
  name: 'end-to-end',
  goals,
  rows,
  text,
  json: values.json,
  tasks: taskCount,
  rounds: roundCount,
  seed,
  concurrency: CONCURRENCY,
  servers: { redis: versionOf('redis'), postgres: versionOf('postgres') },
})
