/** Jobs on a virtual clock over real SQLite: paced, in the middle of deaths and stops, and with the dispatcher at work. */

import { expect, test } from 'vitest'
import type { EndpointId } from '../../src/core/ids.ts'
import type { Job, JobFilter } from '../../src/core/job.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createJobs } from '../../src/engine/jobs.ts'
import { START } from '../support/store.ts'
import { createWorld, NO_CONTENT, type World } from '../support/world.ts'

const REFUSED = { kind: 'response', status: 500, retryAfter: null } as const

/** So many tasks were told in vain, by a schedule of two attempts; from then on the receiver listens. */
async function aWorldOfFailures(count: number): Promise<{ world: World; endpointId: EndpointId; filter: JobFilter }> {
  let isListening = false
  const world = createWorld({
    receive: () => (isListening ? NO_CONTENT : REFUSED),
    options: { retryScheduleMs: [0, SECOND], budget: { rate: 10_000 }, endpointConcurrency: 64 },
  })
  for (let index = 0; index < count; index += 1) {
    void world.engine().registrar.register([{ taskId: `t${index}`, callbackUrl: 'https://shop.example/hooks' }])
  }
  await world.clock.runFor(DAY)
  const { items } = await world.store().listDeliveries({ limit: 500 })
  expect(items.every(({ status }) => status === 'exhausted')).toBe(true)
  isListening = true
  const { endpointId } = items[0]!
  return { world, endpointId, filter: { endpointId, status: 'exhausted', since: null, until: null, eventType: null } }
}

/** Virtual time goes on while the daemon counts and commits. */
async function during<T>(world: World, work: Promise<T>): Promise<T> {
  let isDone = false
  void work.finally(() => {
    isDone = true
  })
  while (!isDone) await world.clock.runFor(SECOND)
  return work
}

async function begin(world: World, filter: JobFilter): Promise<Job> {
  const result = await during(world, world.engine().jobs.begin(filter))
  if (result.kind !== 'created') throw new Error(JSON.stringify(result))
  return result.job
}

test('all that was told in vain is told, each once, and the job counts them', async () => {
  const { world, filter } = await aWorldOfFailures(50)
  expect(await during(world, world.engine().jobs.count(filter))).toBe(50)
  const before = world.posted.length
  const { id, totalCount } = await begin(world, filter)
  expect(totalCount).toBe(50)
  await world.clock.runFor(HOUR)
  expect(await world.store().getJob(id)).toMatchObject({ status: 'done', queuedCount: 50 })
  const heard = world.posted.slice(before).map(({ headers }) => headers['webhook-id'])
  expect([heard.length, new Set(heard).size]).toEqual([50, 50])
  expect(world.logged.filter(({ event }) => event === 'job.done')).toHaveLength(1)
})

test('counting alone changes nothing', async () => {
  const { world, filter } = await aWorldOfFailures(20)
  const before = world.posted.length
  expect(await during(world, world.engine().jobs.count(filter))).toBe(20)
  await world.clock.runFor(DAY)
  expect(world.posted).toHaveLength(before)
  expect((await world.store().listJobs({ limit: 9 })).items).toEqual([])
})

test('a recovered delivery has the whole schedule again', async () => {
  const { world, filter } = await aWorldOfFailures(1)
  const refusing = createWorld({ receive: () => REFUSED, options: { retryScheduleMs: [0, MINUTE, HOUR] } })
  await refusing.register({ taskId: 't' })
  await refusing.clock.runFor(DAY)
  expect(refusing.posted).toHaveLength(3)
  const [delivery] = (await refusing.store().listDeliveries({ limit: 1 })).items
  const startedAt = refusing.clock.now()
  await begin(refusing, { ...filter, endpointId: delivery!.endpointId })
  await refusing.clock.runFor(DAY)
  expect(refusing.posted).toHaveLength(6)
  expect(refusing.posted[3]!.at - startedAt).toBeLessThan(MINUTE)
  expect(await refusing.store().getDelivery(delivery!.id)).toMatchObject({ status: 'exhausted', attemptCount: 6 })
  await world.stop()
})

test('the daemon dies in the middle: none is queued twice, none left out', async () => {
  const { world, filter } = await aWorldOfFailures(30)
  const result = await world.store().createJob({ now: world.clock.now(), filter, totalCount: 30 })
  if (result.kind !== 'created') throw new Error(result.kind)
  const { id } = result.job
  const before = world.posted.length
  // A piece as a daemon that died just then would have left it.
  const advanced = await world.store().advanceJob({ now: world.clock.now(), id, limit: 7 })
  expect(advanced).toMatchObject({ queuedCount: 7 })
  await world.crash()
  await world.clock.runFor(HOUR)
  expect(await world.store().getJob(id)).toMatchObject({ status: 'done', queuedCount: 30 })
  const heard = world.posted.slice(before).map(({ headers }) => headers['webhook-id'])
  expect([heard.length, new Set(heard).size]).toEqual([30, 30])
})

test('a canceled job queues nothing more, and others may begin', async () => {
  const { world, filter, endpointId } = await aWorldOfFailures(10)
  await world.store().setEndpointStatus({ now: world.clock.now(), id: endpointId, status: 'enabled' })
  const created = await world.store().createJob({ now: world.clock.now(), filter, totalCount: 10 })
  if (created.kind !== 'created') throw new Error(created.kind)
  expect(await world.store().cancelJob({ now: world.clock.now(), id: created.job.id })).toMatchObject({
    kind: 'canceled',
  })
  const before = world.posted.length
  await world.clock.runFor(HOUR)
  expect(world.posted).toHaveLength(before)
  expect(await begin(world, filter)).toMatchObject({ totalCount: 10 })
})

test('a job waits while its endpoint is paused, and goes on when it is resumed', async () => {
  const { world, filter, endpointId } = await aWorldOfFailures(3)
  const created = await world.store().createJob({ now: world.clock.now(), filter, totalCount: 3 })
  await world.store().setEndpointStatus({ now: world.clock.now(), id: endpointId, status: 'paused' })
  const before = world.posted.length
  await world.clock.runFor(HOUR)
  expect(created).toMatchObject({ kind: 'created' })
  expect((await world.store().listRunningJobs()).length).toBe(1)
  await world.store().setEndpointStatus({ now: world.clock.now(), id: endpointId, status: 'enabled' })
  world.engine().wakeDispatcher()
  await world.clock.runFor(HOUR)
  expect(world.posted).toHaveLength(before + 3)
  expect(await world.store().listRunningJobs()).toEqual([])
})

test('a deleted endpoint with an attempt under way: that one ends, and nothing more is sent', async () => {
  const world = createWorld({ receiveMs: 10 * SECOND, options: { endpointConcurrency: 1 } })
  for (const taskId of ['a', 'b', 'c']) await world.register({ taskId })
  await world.clock.runFor(SECOND)
  expect(world.posted).toHaveLength(1)
  const { endpointId } = (await world.store().listDeliveries({ limit: 1 })).items[0]!
  await world.store().deleteEndpoint({ now: world.clock.now(), id: endpointId, doesDropBacklog: true })
  world.engine().jobs.wake()
  await world.clock.runFor(DAY)
  expect(world.posted).toHaveLength(1)
  const { items } = await world.store().listDeliveries({ limit: 9 })
  expect(items.map(({ status }) => status).sort()).toEqual(['canceled', 'canceled', 'delivered'])
})

test('others have their turn between two pieces, and a piece is bounded', async () => {
  const turns: string[] = []
  const limits: number[] = []
  let restCount = 12_000
  const job: Job = {
    id: 'job_1',
    status: 'running',
    filter: { endpointId: null, status: 'exhausted', since: null, until: null, eventType: null },
    totalCount: 0,
    queuedCount: 0,
    createdAt: START,
    updatedAt: START,
    finishedAt: null,
  }
  const jobs = createJobs({
    store: {
      async countRedeliverable({ after, limit }) {
        turns.push('count')
        return { count: 1, nextPosition: after + limit >= restCount ? null : after + limit }
      },
      createJob: async () => ({ kind: 'created', job }),
      listRunningJobs: async () => (restCount > 0 ? [job.id] : []),
      async advanceJob({ limit }) {
        limits.push(limit)
        restCount -= limit
        return { job: { ...job, status: restCount > 0 ? 'running' : 'done' }, queuedCount: limit, isWaiting: false }
      },
      dropBacklogs: async () => ({ droppedCount: 0, isMore: false }),
    },
    clock: {
      now: () => START,
      soon(run) {
        turns.push('others')
        queueMicrotask(run)
      },
    },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    wake: () => {},
    onQueued: () => {},
  })
  await jobs.count(job.filter)
  expect(turns).toEqual(['count', 'others', 'count', 'others', 'count', 'others'])
  // Each tick is one piece, and it asks to come again at once while there is more.
  const nextAts: (number | null)[] = []
  do nextAts.push(await jobs.tick())
  while (nextAts.at(-1) !== null)
  expect(nextAts.slice(0, -1).every((at) => at === START)).toBe(true)
  expect(limits.length).toBe(nextAts.length)
  expect(Math.max(...limits)).toBeLessThanOrEqual(1_000)
})
