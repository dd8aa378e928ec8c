/**
 * Registration (B5): tasks a second that are on disk when the answer comes, one by one and a thousand at a time.
 *
 * The built daemon over HTTP, and this process as its client over bare sockets. The upstream answers nothing, so that
 * polling takes no part in it beyond the ten queries a second of the default settings.
 *
 *     npm run build && node bench/register/run.mjs [--rounds 5] [--tasks 20000] [--connections 64] [--profile DIRECTORY] [--json]
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuMs, startNode } from '../child.mjs'
import { BULK_COUNT, startDaemon, TOKEN } from '../daemon.mjs'
import { monotonicMs } from '../end-to-end/world.mjs'
import { goal, report, spread, spreadText, table } from '../report.mjs'
import { postBytes, sendAll } from './light-client.mjs'

const SINGLE_RATE_MIN = 3_000
const BULK_RATE_MIN = 30_000
/** Of a bulk of a thousand, so many calls are under way at once. */
const BULK_CONNECTIONS = 4
const WARM_UP_COUNT = 3_000

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    tasks: { type: 'string', default: '20000' },
    connections: { type: 'string', default: '64' },
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const taskCount = Number(values.tasks)
const connectionCount = Number(values.connections)

const directory = mkdtempSync(join(tmpdir(), 'ringback-register-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))

function tasksOf(prefix, count) {
  return Array.from({ length: count }, (_, index) => ({
    taskId: `${prefix}-${index}`,
    callbackUrl: 'http://127.0.0.1:1024/hooks',
    metadata: { order: index },
  }))
}

function singles(url, tasks) {
  return tasks.map((task) => postBytes({ url, path: '/v1/tasks', token: TOKEN, body: JSON.stringify(task) }))
}

function bulks(url, tasks) {
  return Array.from({ length: Math.ceil(tasks.length / BULK_COUNT) }, (_, index) => {
    const body = JSON.stringify({ tasks: tasks.slice(index * BULK_COUNT, (index + 1) * BULK_COUNT) })
    return postBytes({ url, path: '/v1/tasks/bulk', token: TOKEN, body })
  })
}

async function measure(daemon, requests, connections, status) {
  const before = { at: monotonicMs(), cpuMs: cpuMs(daemon.pid) }
  const statuses = await sendAll(daemon.url, requests, connections)
  const ms = monotonicMs() - before.at
  if (statuses[status] !== requests.length) throw new Error(`answers: ${JSON.stringify(statuses)}`)
  return { rate: (taskCount / ms) * 1_000, busy: (cpuMs(daemon.pid) - before.cpuMs) / ms }
}

async function play(round, upstream) {
  const nodeFlags = values.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', resolve(values.profile)]
  const daemon = await startDaemon({
    path: join(directory, `${round}.db`),
    upstream,
    settings: { RINGBACK_LOG_LEVEL: 'warn' },
    nodeFlags,
  })
  await sendAll(daemon.url, singles(daemon.url, tasksOf('warm', WARM_UP_COUNT)), connectionCount)
  await sendAll(daemon.url, bulks(daemon.url, tasksOf('warm-bulk', WARM_UP_COUNT)), BULK_CONNECTIONS)
  const single = await measure(daemon, singles(daemon.url, tasksOf('single', taskCount)), connectionCount, '201')
  const bulk = await measure(daemon, bulks(daemon.url, tasksOf('bulk', taskCount)), BULK_CONNECTIONS, '200')
  await daemon.end()
  return { single, bulk }
}

const upstream = startNode([fileURLToPath(new URL('../outage/upstream.mjs', import.meta.url))])
const world = { ...(await upstream.line()), accessKeyName: 'bench', accessKeySecret: 'bench-secret' }
upstream.say('silent')
const results = []
for (let round = 0; round < Number(values.rounds); round += 1) {
  const result = await play(round, world)
  const rates = `${Math.round(result.single.rate)}/s one by one, ${Math.round(result.bulk.rate)}/s in bulk`
  process.stderr.write(`round ${round + 1}: ${rates}\n`)
  results.push(result)
}
await upstream.end()

const rowOf = (way, what, connections) => ({
  way: what,
  connections,
  rate: spread(results.map((result) => result[way].rate)),
  busy: spread(results.map((result) => result[way].busy)),
})
const rows = [
  rowOf('single', 'one POST each', connectionCount),
  rowOf('bulk', `${BULK_COUNT} in one POST`, BULK_CONNECTIONS),
]
report({
  name: 'register',
  goals: [
    goal({
      id: 'B5',
      what: 'registrations a second, one POST each',
      measured: rows[0].rate.median,
      limit: SINGLE_RATE_MIN,
      bound: 'min',
    }),
    goal({
      id: 'B5',
      what: 'registrations a second, in bulk',
      measured: rows[1].rate.median,
      limit: BULK_RATE_MIN,
      bound: 'min',
    }),
  ],
  rows,
  text: table(
    {
      way: (row) => row.way,
      connections: (row) => String(row.connections),
      'tasks a second (min–max)': (row) => spreadText(row.rate),
      'daemon busy': (row) => `${Math.round(row.busy.median * 100)} %`,
    },
    rows,
  ),
  json: values.json,
  rounds: results.length,
  tasks: taskCount,
})
