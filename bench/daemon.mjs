/** The built daemon as a bench starts it: over its public contract, with nothing of this environment but what is given. */

import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startNode } from './child.mjs'
import { monotonicMs } from './end-to-end/world.mjs'

export const PROGRAM = fileURLToPath(new URL('../dist/main.js', import.meta.url))
export const TOKEN = 'bench-token-0123456789'
export const BULK_COUNT = 1_000

/**
 * `settings` are environment variables over those of a bench; `upstream` is `{url, accessKeyName, accessKeySecret}`.
 * Resolves when it says that it is ready: `{url, pid, startedInMs, register(tasks), end()}`.
 */
export async function startDaemon({ path, upstream, settings = {}, nodeFlags = [] }) {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const spawnedAt = monotonicMs()
  const daemon = startNode([...nodeFlags, PROGRAM, 'serve'], {
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: String(port),
    RINGBACK_API_TOKEN: TOKEN,
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_SHUTDOWN_GRACE: '1s',
    AIDGE_BASE_URL: upstream.url,
    AIDGE_ACCESS_KEY_NAME: upstream.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: upstream.accessKeySecret,
    ...settings,
  })
  await untilReady(url)
  const startedInMs = monotonicMs() - spawnedAt

  return {
    url,
    pid: daemon.pid,
    startedInMs,
    register: (tasks) => registerAt(url, tasks),
    end: daemon.end,
  }
}

/** In bulk; rejects when one of the tasks was not new or was refused. */
export async function registerAt(url, tasks) {
  for (let from = 0; from < tasks.length; from += BULK_COUNT) {
    await registerPiece(url, tasks.slice(from, from + BULK_COUNT))
  }
}

async function registerPiece(url, tasks) {
  const response = await fetch(`${url}/v1/tasks/bulk`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ tasks }),
  })
  if (response.status !== 200) throw new Error(`registering: ${response.status} ${await response.text()}`)
  const refused = (await response.json()).results.find(({ status }) => status !== 201)
  if (refused !== undefined) throw new Error(`registering: ${JSON.stringify(refused)}`)
}

const READY_MS_MAX = 60_000
const TRY_EVERY_MS = 5

/** By its word and not by its log, which may be told to be silent. */
async function untilReady(url) {
  for (const startedAt = monotonicMs(); ; await sleep(TRY_EVERY_MS)) {
    const response = await fetch(`${url}/readyz`).catch(() => null)
    await response?.arrayBuffer()
    if (response?.status === 200) return
    if (monotonicMs() - startedAt > READY_MS_MAX) throw new Error('the daemon was not ready within a minute')
  }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}
