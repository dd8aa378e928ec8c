/** Who takes part, and how each is started: the built daemon over its public contract, the others as processes of theirs. */

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort, startNode } from '../child.mjs'
import { PROGRAM, registerAt, TOKEN } from '../daemon.mjs'
import { missingServer, startServer } from '../peers/servers.mjs'
import { taskIdsOf } from './world.mjs'

const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const CONTENDER = at('./contender.mjs')

/**
 * `durability` is what is safe when the power fails, in words; `server` is what must be on the machine. The goal is
 * Ringback's rate over theirs, null where none is set.
 */
export const CONTENDERS = [
  { name: 'ringback', durability: 'SQLite FULL: all that was answered', server: null, goal: null },
  { name: 'bare loop', durability: 'nothing is stored', server: null, goal: 0.85, module: './bare.mjs' },
  {
    name: 'bullmq',
    durability: 'Redis AOF everysec: all but the last second',
    server: 'redis',
    goal: 2.5,
    module: '../peers/bullmq.mjs',
    options: { appendfsync: 'everysec' },
  },
  {
    name: 'bullmq-always',
    durability: 'Redis AOF always: all',
    server: 'redis',
    goal: null,
    module: '../peers/bullmq.mjs',
    options: { appendfsync: 'always' },
  },
  {
    name: 'plainjob',
    durability: 'SQLite NORMAL: all but the last moments',
    server: null,
    goal: 2.5,
    module: '../peers/plainjob.mjs',
    options: { isFull: false },
  },
  {
    name: 'plainjob-full',
    durability: 'SQLite FULL: all',
    server: null,
    goal: null,
    module: '../peers/plainjob.mjs',
    options: { isFull: true },
  },
  {
    name: 'liteque',
    durability: 'SQLite NORMAL: all but the last moments',
    server: null,
    goal: null,
    module: '../peers/liteque.mjs',
  },
  {
    name: 'pg-boss',
    durability: 'PostgreSQL synchronous_commit: all',
    server: 'postgres',
    goal: 5,
    module: '../peers/pg-boss.mjs',
  },
  {
    name: 'graphile-worker',
    durability: 'PostgreSQL synchronous_commit: all',
    server: 'postgres',
    goal: 5,
    module: '../peers/graphile-worker.mjs',
  },
]

/** What keeps a contender from taking part on this machine, or null. */
export function whatIsMissing({ name, module = '', server }) {
  if (name === 'ringback') return existsSync(PROGRAM) ? null : 'dist/ is not built: npm run build'
  const isPeer = module.startsWith('../peers/')
  const packages = at('../peers/node_modules')
  if (isPeer && !existsSync(packages)) return 'its package is not installed: npm --prefix bench/peers ci'
  return missingServer(server)
}

/**
 * Starts a contender in an empty directory. Resolves to `{worker, enqueue(tasks), end()}`: `worker` is the process that
 * does the tasks, `enqueue` has handed all of them over when it resolves.
 */
export function start(contender, settings) {
  mkdirSync(settings.directory, { recursive: true })
  return contender.name === 'ringback' ? startRingback(settings) : startContender(contender, settings)
}

async function startContender({ module, server, options = {} }, settings) {
  const { directory, nodeFlags } = settings
  const started = server === null ? null : await startServer(server, join(directory, server), options)
  const spawn = async (role, flags) => {
    const given = { ...settings, serverUrl: started?.url ?? null, options }
    const child = startNode([...flags, CONTENDER, module, role, JSON.stringify(given)])
    await child.line((said) => said === 'ready')
    return child
  }
  // Whoever has a server is told by another process, as Ringback is; the others live in the process that uses them.
  const worker = await spawn(server === null ? 'both' : 'worker', nodeFlags)
  const producer = server === null ? worker : await spawn('producer', [])
  return {
    worker,
    async enqueue(tasks) {
      producer.say(tasks)
      await producer.line((said) => said === 'enqueued')
    },
    async end() {
      await worker.end()
      if (producer !== worker) await producer.end()
      await started?.end()
    },
  }
}

async function startRingback({ directory, upstreamUrl, callbackUrl, account, concurrency, nodeFlags }) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const worker = startNode([...nodeFlags, PROGRAM, 'serve'], {
    RINGBACK_DATABASE_URL: `file:${join(directory, 'ringback.db')}`,
    RINGBACK_PORT: String(port),
    RINGBACK_API_TOKEN: TOKEN,
    RINGBACK_SIGNING_SECRET: account.webhookSecret,
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    // More than can be reached here: what is measured is not the limit that protects an account.
    RINGBACK_POLL_RATE: '10000',
    RINGBACK_POLL_CONCURRENCY: String(concurrency),
    RINGBACK_DELIVERY_CONCURRENCY: String(concurrency),
    RINGBACK_ENDPOINT_CONCURRENCY: String(concurrency),
    // The others log nothing of what goes well either.
    RINGBACK_LOG_LEVEL: 'warn',
    AIDGE_BASE_URL: upstreamUrl,
    AIDGE_ACCESS_KEY_NAME: account.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: account.accessKeySecret,
  })
  await untilReady(url)
  return {
    worker,
    enqueue: (tasks) =>
      registerAt(
        url,
        taskIdsOf(tasks).map((taskId) => ({ taskId, callbackUrl })),
      ),
    end: worker.end,
  }
}

const READY_TRIES = 1_200
const TRY_EVERY_MS = 25

async function untilReady(url) {
  for (let tries = 1; ; tries += 1) {
    const response = await fetch(`${url}/readyz`).catch(() => null)
    await response?.arrayBuffer()
    if (response?.status === 200) return
    if (tries === READY_TRIES) throw new Error('the daemon was not ready within half a minute')
    await sleep(TRY_EVERY_MS)
  }
}
