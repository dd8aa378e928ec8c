/**
 * Scale (B4): what a million pending tasks cost, beside a thousand.
 *
 * Of the built daemon as a process: how soon it starts, its memory while it polls, its CPU time while nothing is due. Of the
 * built store in this process, with the group commit and `synchronous = FULL` as in the daemon: how long a claim takes, how
 * long the longest write waits while the janitor deletes beside it, and how many bytes a task and a poll are on disk.
 *
 *     npm run build && node bench/scale/run.mjs [--pending 1000000] [--rounds 3] [--seconds 20] [--json]
 */

import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuMs, startNode } from '../child.mjs'
import { startDaemon } from '../daemon.mjs'
import { goal, report, spread, spreadText, table } from '../report.mjs'
import { makeBacklog } from './backlog.mjs'
import { bytesOf, claimTimes, deletionStalls } from './store.mjs'

const FEW = 1_000
const HOUR_MS = 3_600_000
const CLAIM_P99_MS_MAX = 5
const CLAIM_RATIO_MAX = 1.2
const RSS_MIB_MAX = 150
const START_MS_MAX = 1_000
const IDLE_CPU_MAX = 0.01
const STALL_MS_MAX = 50
const WAL_MIB_MAX = 64
/** What a task may take on disk: while it is pending, and with all that hangs on it when it has been told of. */
const PENDING_BYTES_MAX = 1_024
const TOLD_BYTES_MAX = 6_144
/** Of polls that are answered alike; another answer is a row. */
const POLL_BYTES_MAX = 8

const { values } = parseArgs({
  options: {
    pending: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
  },
})
const many = Number(values.pending)
const lookMs = Number(values.seconds) * 1_000

const directory = mkdtempSync(join(tmpdir(), 'ringback-scale-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))

const upstream = startNode([fileURLToPath(new URL('../outage/upstream.mjs', import.meta.url))])
const world = { ...(await upstream.line()), accessKeyName: 'bench', accessKeySecret: 'bench-secret' }

function say(text) {
  process.stderr.write(`${text}\n`)
}

/** Each look is at a copy of its own: a daemon leaves its traces. */
function copyOf(template) {
  const path = join(directory, 'copy.db')
  for (const end of ['', '-wal', '-shm', '.lock', '.ballast']) rmSync(`${path}${end}`, { force: true })
  copyFileSync(template, path)
  return path
}

function memoryMib(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)[1]) / 1_024
}

function walMib(path) {
  return existsSync(`${path}-wal`) ? statSync(`${path}-wal`).size / 1_048_576 : 0
}

/** Nothing is due for an hour. */
async function lookAtIdle(template) {
  const daemon = await startDaemon({ path: copyOf(template), upstream: world })
  await sleep(2_000)
  const before = cpuMs(daemon.pid)
  await sleep(lookMs)
  const idleCpu = (cpuMs(daemon.pid) - before) / lookMs
  await daemon.end()
  return { startedInMs: daemon.startedInMs, idleCpu }
}

/** A hundred times what the settings say by themselves. */
const BUSY = { RINGBACK_POLL_RATE: '1000', RINGBACK_POLL_CONCURRENCY: '64', RINGBACK_LOG_LEVEL: 'warn' }

/** All of them are due. */
async function lookAtPolling(template, settings = {}) {
  const path = copyOf(template)
  const daemon = await startDaemon({ path, upstream: world, settings })
  await sleep(lookMs)
  const rssMib = memoryMib(daemon.pid)
  const logMib = walMib(path)
  await daemon.end()
  return { rssMib, walMib: logMib }
}

const COUNTS = [FEW, many]
const found = new Map(COUNTS.map((count) => [count, []]))
const templates = new Map()
for (const count of COUNTS) {
  const waiting = join(directory, `waiting-${count}.db`)
  const due = join(directory, `due-${count}.db`)
  await makeBacklog({ path: waiting, upstream: world, count, dueInMs: HOUR_MS })
  await makeBacklog({ path: due, upstream: world, count, dueInMs: -HOUR_MS, dueAMs: 1_000 })
  templates.set(count, { waiting, due })
  say(`${count} pending: ${(statSync(due).size / 1_048_576).toFixed(0)} MiB`)
}
for (let round = 0; round < Number(values.rounds); round += 1) {
  for (const count of COUNTS) {
    const { waiting, due } = templates.get(count)
    const idle = await lookAtIdle(waiting)
    const polling = await lookAtPolling(due)
    const busy = await lookAtPolling(due, BUSY)
    const claims = await claimTimes(copyOf(due))
    found.get(count).push({ ...idle, ...claims, rssMib: polling.rssMib, rssBusyMib: busy.rssMib, walMib: busy.walMib })
    say(
      `round ${round + 1}, ${count} pending: claim p99 ${claims.claimP99Ms.toFixed(2)} ms, ${polling.rssMib.toFixed(0)} MiB, start ${idle.startedInMs.toFixed(0)} ms, idle ${(idle.idleCpu * 100).toFixed(2)} %`,
    )
  }
}
await upstream.end()
const stalls = await deletionStalls(join(directory, 'deletion.db'))
say(`beside the janitor: ${stalls.writeMsMax.toFixed(1)} ms at most`)
const bytes = await bytesOf(join(directory, 'bytes.db'))
const sizes = COUNTS.map((count) => statSync(templates.get(count).due).size)
const pendingBytes = (sizes[1] - sizes[0]) / (many - FEW)

const FIELDS = ['claimP50Ms', 'claimP99Ms', 'rssMib', 'rssBusyMib', 'startedInMs', 'idleCpu', 'walMib']
const rows = COUNTS.map((count) => {
  const results = found.get(count)
  return {
    pending: count,
    ...Object.fromEntries(FIELDS.map((field) => [field, spread(results.map((one) => one[field]))])),
  }
})
const lots = rows.at(-1)
const ratio = spread(found.get(many).map(({ claimP99Ms }, round) => claimP99Ms / found.get(FEW)[round].claimP99Ms))
const max = (what, measured, limit) => goal({ id: 'B4', what, measured, limit, bound: 'max' })
const fixed = (digits) => (value) => value.toFixed(digits)
report({
  name: 'scale',
  goals: [
    max('claim p99 with a million pending, ms', lots.claimP99Ms.median, CLAIM_P99_MS_MAX),
    max('claim p99, to that with a thousand', ratio.median, CLAIM_RATIO_MAX),
    max('memory (peak RSS) while polling by the default settings, MiB', lots.rssMib.median, RSS_MIB_MAX),
    max('start, ms', lots.startedInMs.median, START_MS_MAX),
    max('CPU while nothing is due, share of a core', lots.idleCpu.median, IDLE_CPU_MAX),
    max('longest write beside the janitor, ms', stalls.writeMsMax, STALL_MS_MAX),
    max('write-ahead log, MiB', Math.max(lots.walMib.max, stalls.walMib), WAL_MIB_MAX),
    max('bytes on disk of a pending task', pendingBytes, PENDING_BYTES_MAX),
    max('bytes on disk of a task that was told of', bytes.toldBytes, TOLD_BYTES_MAX),
    max('bytes on disk of a poll like the one before', bytes.alikePollBytes, POLL_BYTES_MAX),
  ],
  rows,
  text: table(
    {
      pending: (row) => String(row.pending),
      'claim p50 ms': (row) => spreadText(row.claimP50Ms, fixed(2)),
      'claim p99 ms': (row) => spreadText(row.claimP99Ms, fixed(2)),
      'peak RSS MiB': (row) => spreadText(row.rssMib),
      'at 1000 polls a second': (row) => spreadText(row.rssBusyMib),
      'start ms': (row) => spreadText(row.startedInMs),
      'idle CPU': (row) => spreadText(row.idleCpu, (value) => `${(value * 100).toFixed(2)} %`),
      'log MiB': (row) => spreadText(row.walMib, fixed(1)),
    },
    rows,
  ),
  json: values.json,
  rounds: Number(values.rounds),
  pending: many,
  claimRatio: ratio,
  stalls,
  bytes: { pendingBytes, ...bytes },
})
