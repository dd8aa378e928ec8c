/**
 * One hostile endpoint and one healthy one through the real dispatcher, store, clock and sockets (F41, F47): whatever the
 * hostile one does, the webhooks of the healthy one arrive as fast as without it.
 */

import type { Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { classify } from '../../src/core/observation.ts'
import { SECOND } from '../../src/core/time.ts'
import { createEngine } from '../../src/engine/engine.ts'
import type { Log, Upstream } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import { systemClock, systemNewId } from '../../src/system.ts'
import { createAddressGuard, parseAllowList } from '../../src/webhook/address-guard.ts'
import { createPost } from '../../src/webhook/post.ts'
import { MEASURED } from '../support/measured.ts'
import { aDirectory } from '../support/store.ts'
import { FINISHED, KEY, OPTIONS } from '../support/world.ts'
import { answerWith, closeReceivers, type OnRequest, type Receiver, startReceiver } from './receivers.ts'

/** Far from what a busy machine needs, so that whoever waited for the hostile one is told from whoever was slow. */
const DELIVERY_DEADLINE_MS = 12_000
const ENDPOINT_CONCURRENCY = 4
const HEALTHY_COUNT = 120
const HOSTILE_COUNT = 60

const closings: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closings.splice(0).reverse()) await close()
  await closeReceivers()
})

const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }

function aDaemon(answeredAt: Map<string, number>) {
  const read = parseAllowList(['127.0.0.0/8'])
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => [] })
  const { post, close } = createPost({ guard, connectionsMax: 64, userAgent: 'ringback/test' })
  const path = join(aDirectory(), 'isolation.db')
  const store = openSqliteStore({
    path,
    clock: systemClock,
    newId: systemNewId,
    onDamaged: (error) => {
      throw error
    },
  })
  const upstream: Upstream = {
    idsPerQuery: () => 1,
    credentialOf: () => 'aidge',
    kinds: () => ['virtual-model-generation'],
    async query([task]) {
      const now = systemClock.now()
      answeredAt.set(task!.taskId, performance.now())
      const observation = classify(FINISHED, task!.taskId)
      const answer = { task: task!, observation, askedAt: now, answeredAt: now, httpStatus: 200, requestId: null }
      return { answers: [answer], queryCount: 1 }
    },
  }
  const engine = createEngine(
    {
      store,
      upstream,
      post,
      guardUrl: guard.judgeUrl,
      clock: systemClock,
      newId: systemNewId,
      random: Math.random,
      log: silentLog,
      signingKeys: [KEY],
    },
    {
      ...OPTIONS,
      budget: { rate: 400 },
      deliveryConcurrency: 16,
      endpointConcurrency: ENDPOINT_CONCURRENCY,
      deliveryDeadlineMs: DELIVERY_DEADLINE_MS,
      idleMs: SECOND,
    },
  )
  engine.start()
  closings.push(
    () => store.close(),
    close,
    () => engine.stop(0),
  )
  return engine
}

/** How long each healthy webhook took, from the upstream's answer to its arrival. */
async function latenciesBeside(hostile: Receiver | null): Promise<readonly number[]> {
  const answeredAt = new Map<string, number>()
  const engine = aDaemon(answeredAt)
  const latencies: number[] = []
  const healthy = await startReceiver((socket, _number, request) => {
    const { data } = JSON.parse(request.slice(request.indexOf('\r\n\r\n') + 4)) as { data: { taskId: string } }
    latencies.push(performance.now() - answeredAt.get(data.taskId)!)
    answerWith(socket, 200)
  })
  const tasks = (count: number, name: string, url: string) =>
    Array.from({ length: count }, (_, index) => ({ taskId: `${name}-${index}`, callbackUrl: url }))
  if (hostile !== null) {
    await engine.registrar.register(tasks(HOSTILE_COUNT, 'hostile', hostile.url()))
    await hostile.untilRequests(1)
  }
  await engine.registrar.register(tasks(HEALTHY_COUNT, 'healthy', healthy.url()))
  await healthy.untilRequests(HEALTHY_COUNT)
  expect(new Set(healthy.requests.map((request) => /"taskId":"([^"]+)"/.exec(request)?.[1])).size).toBe(HEALTHY_COUNT)
  return latencies
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

function pour(socket: Socket, text: string): void {
  const chunk = Buffer.from(text.repeat(Math.ceil(65_536 / text.length)))
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}

function drip(socket: Socket, text: string): void {
  let at = 0
  const timer = setInterval(() => socket.writable && socket.write(text[at++ % text.length]!), 10)
  socket.once('close', () => clearInterval(timer))
}

describe('beside an endpoint that', () => {
  test.each<[string, OnRequest]>([
    ['is silent', () => {}],
    ['drips its headers', (socket) => drip(socket, `HTTP/1.1 200 OK\r\n${'x-a: b\r\n'.repeat(999)}`)],
    ['pours out a body', (socket) => pour(socket, 'HTTP/1.1 200 OK\r\n\r\nx')],
    ['pours out Early Hints', (socket) => pour(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n')],
    ['resets every connection', (socket) => socket.resetAndDestroy()],
  ])('%s, a healthy one hears as soon as if it were alone', MEASURED, async (_what, onRequest) => {
    const alone = percentile(await latenciesBeside(null), 0.99)
    let inFlight = 0
    let inFlightMax = 0
    const hostile = await startReceiver((socket, requestNumber, request) => {
      inFlight += 1
      inFlightMax = Math.max(inFlightMax, inFlight)
      socket.once('close', () => {
        inFlight -= 1
      })
      onRequest(socket, requestNumber, request)
    })
    const beside = percentile(await latenciesBeside(hostile), 0.99)
    // Far below the deadline that the hostile one uses up, and no multiple of what it is alone; a busy machine aside.
    expect(beside).toBeLessThan(2 * alone + 500)
    expect(beside).toBeLessThan(DELIVERY_DEADLINE_MS / 2)
    // A connection that was given up may be seen to close after the next one has been opened.
    expect(inFlightMax).toBeLessThanOrEqual(2 * ENDPOINT_CONCURRENCY)
  })
})
