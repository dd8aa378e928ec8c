/** The built store without a daemon around it: how long its steps take, and what they leave on the disk. */

import { existsSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { openSqliteStore } from '../../dist/store/sqlite/store.js'
import { systemClock, systemNewId } from '../../dist/system.js'
import { quantile } from '../report.mjs'

const CREDENTIAL = 'aidge'
const LIMIT = 16
const CLAIM_COUNT = 1_500
const WARM_UP_COUNT = 200
const DAY_MS = 86_400_000
const SETTINGS = { rate: 1_000_000 }

const SUCCEEDED = {
  status: 'succeeded',
  partial: false,
  images: [1, 2].map((nth) => ({
    url: `http://pictures.example/0c4d2f6e%2F${nth}.png?Expires=2735689600&OSSAccessKeyId=bench&Signature=c2lnbmF0dXJlCg%3D%3D`,
    width: 768,
    height: 1_024,
    expiresAt: null,
  })),
  error: null,
  response: JSON.stringify({
    taskStatus: 'finished',
    taskResult: [{ url: 'x'.repeat(140) }, { url: 'y'.repeat(140) }],
  }),
  responseTruncated: false,
}

function open(path) {
  return openSqliteStore({
    path,
    clock: systemClock,
    newId: systemNewId,
    onDamaged: (error) => {
      throw error
    },
  })
}

async function claim(store, limit = LIMIT) {
  const now = systemClock.now()
  const lease = { token: systemNewId('lse'), expiresAt: now + 60_000 }
  const { tasks } = await store.claimDueTasks({ now, lease, credential: CREDENTIAL, settings: SETTINGS, limit })
  return { tasks, leaseToken: lease.token }
}

function recordOf(task, leaseToken, decision, facts = {}) {
  const askedAt = systemClock.now()
  const poll = { askedAt, durationMs: 80, observation: 'running', detail: 'running', httpStatus: 200, requestId: 'r1' }
  return { task, leaseToken, poll: { ...poll, ...facts }, decision }
}

function pollAgain(nextPollAt) {
  return { kind: 'poll_again', nextPollAt, reason: 'running for 40s', suspicion: null, unavailableCount: 0 }
}

/** Claims of 16 due tasks each, from the call to the commit; what was claimed is asked about again later. */
export async function claimTimes(path) {
  const store = open(path)
  const times = []
  for (let nth = 0; nth < WARM_UP_COUNT + CLAIM_COUNT; nth += 1) {
    const startedAt = performance.now()
    const { tasks, leaseToken } = await claim(store)
    if (nth >= WARM_UP_COUNT) times.push(performance.now() - startedAt)
    if (tasks.length !== LIMIT) throw new Error(`${tasks.length} tasks in a claim of ${LIMIT}`)
    // Due at once, behind all others: so many pending there are to the end.
    const now = systemClock.now()
    const records = tasks.map((task) => recordOf(task, leaseToken, pollAgain(now)))
    await store.recordPolls({ now, records, effects: [] })
  }
  await store.close()
  return { claimP50Ms: quantile(times, 0.5), claimP99Ms: quantile(times, 0.99) }
}

function registrations(prefix, count, now) {
  return Array.from({ length: count }, (_, index) => ({
    taskId: `${prefix}-${String(index).padStart(30, '0')}`,
    kind: 'virtual-model-generation',
    credential: CREDENTIAL,
    callback: { kind: 'url', url: 'http://127.0.0.1:1024/hooks' },
    metadata: '{"order":1180,"shop":"example"}',
    submittedAt: null,
    deadlineAt: now + DAY_MS,
    firstPollAt: now,
  }))
}

async function registerMany(store, prefix, count) {
  for (let done = 0; done < count; done += 1_000) {
    const now = systemClock.now()
    await store.registerTasks({
      now,
      registrations: registrations(`${prefix}-${done}`, Math.min(1_000, count - done), now),
    })
  }
}

async function settleAll(store) {
  for (;;) {
    const { tasks, leaseToken } = await claim(store, 500)
    if (tasks.length === 0) return
    const facts = { observation: 'finished', detail: 'finished' }
    const decision = { kind: 'settle', outcome: SUCCEEDED }
    const records = tasks.map((task) => recordOf(task, leaseToken, decision, facts))
    await store.recordPolls({ now: systemClock.now(), records, effects: [] })
  }
}

async function deliverAll(store) {
  const hosts = { max: Number.POSITIVE_INFINITY, left: new Map(), slow: new Set() }
  for (;;) {
    const now = systemClock.now()
    const lease = { token: systemNewId('lse'), expiresAt: now + 60_000 }
    const room = {
      limit: 500,
      endpointConcurrency: 500,
      inFlight: new Map(),
      hosts,
      recoveringMax: 500,
      unhurriedMax: 500,
    }
    const { deliveries } = await store.claimDueDeliveries({ now, lease, ...room })
    if (deliveries.length === 0) return
    const exchange = {
      result: { kind: 'response', status: 204, retryAfter: null },
      durationMs: 12,
      responseExcerpt: null,
      responseTruncated: false,
      responseHeaders: { date: 'Thu, 01 Jan 2026 00:00:00 GMT' },
      remoteAddress: '127.0.0.1',
      timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: 3 },
    }
    const verdict = { kind: 'delivered' }
    const records = deliveries.map((delivery) => ({
      delivery,
      leaseToken: lease.token,
      startedAt: now,
      exchange,
      verdict,
      isEndpointGone: false,
      random: 0.5,
    }))
    await store.recordAttempts({ now, records })
  }
}

const DELETED_COUNT = 20_000
/** As the janitor does. */
const DELETION_BATCH = 50
const WRITE_EVERY_MS = 3

/** How long registrations wait while the janitor deletes what has been told, and checkpoints. */
export async function deletionStalls(path) {
  const store = open(path)
  await registerMany(store, 'old', DELETED_COUNT)
  await settleAll(store)
  await deliverAll(store)
  const waits = []
  let isDeleting = true
  const deleting = (async () => {
    const settledBefore = systemClock.now() + 1
    while ((await store.deleteSettledTasks({ settledBefore, limit: DELETION_BATCH })) === DELETION_BATCH) {}
    await store.checkpoint()
    isDeleting = false
  })()
  let walBytes = 0
  for (let nth = 0; isDeleting; nth += 1) {
    const now = systemClock.now()
    const startedAt = performance.now()
    await store.registerTasks({ now, registrations: registrations(`new-${nth}`, 1, now) })
    waits.push(performance.now() - startedAt)
    if (existsSync(`${path}-wal`)) walBytes = Math.max(walBytes, statSync(`${path}-wal`).size)
    await sleep(WRITE_EVERY_MS)
  }
  await deleting
  await store.close()
  return { writeMsMax: Math.max(...waits), writeP50Ms: quantile(waits, 0.5), walMib: walBytes / 1_048_576 }
}

const BYTES_COUNT = 5_000
const POLL_COUNT = 20

/** Each as the growth of the emptied file, over many. */
export async function bytesOf(path) {
  let store = open(path)
  await registerMany(store, 'task', BYTES_COUNT)
  const sizeNow = async () => {
    await store.close()
    const db = new Database(path)
    // What a page has left over is not what a task takes.
    db.exec('vacuum')
    db.pragma('wal_checkpoint(TRUNCATE)')
    db.close()
    const { size } = statSync(path)
    store = open(path)
    return size
  }
  const poll = async () => {
    for (let left = BYTES_COUNT; left > 0; ) {
      const { tasks, leaseToken } = await claim(store, 500)
      const now = systemClock.now()
      await store.recordPolls({
        now,
        records: tasks.map((task) => recordOf(task, leaseToken, pollAgain(now))),
        effects: [],
      })
      left -= tasks.length
    }
  }
  const registered = await sizeNow()
  await poll()
  const polledOnce = await sizeNow()
  for (let nth = 0; nth < POLL_COUNT; nth += 1) await poll()
  const polledOften = await sizeNow()
  await settleAll(store)
  await deliverAll(store)
  const told = await sizeNow()
  await store.close()
  return {
    firstPollBytes: (polledOnce - registered) / BYTES_COUNT,
    alikePollBytes: (polledOften - polledOnce) / BYTES_COUNT / POLL_COUNT,
    toldBytes: told / BYTES_COUNT,
  }
}
