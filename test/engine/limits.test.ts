/**
 * What each receiver gets, over real time spans on a virtual clock: its rate within two per cent, across restarts too; its
 * own number at once; a rest when it is dead; and nothing of what befalls its neighbours.
 */

import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import { type EpochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import type { PostRequest } from '../../src/ports.ts'
import { createWorld, NO_CONTENT, type World, type WorldScript } from '../support/world.ts'

const SLOW = 'https://slow.example/hooks'
const OTHER = 'https://other.example/hooks'
const REFUSED: AttemptResult = { kind: 'no_response', reason: 'connect', detail: 'ECONNREFUSED' }

/** As many tasks as there are ids, all finished at the first look. */
async function register(world: World, callbackUrl: string, count: number, prefix = 't'): Promise<void> {
  for (let index = 0; index < count; index += 1) await world.register({ taskId: `${prefix}${index}`, callbackUrl })
}

/** Each at one of so many hosts in turn. */
async function registerEverywhere(world: World, name: string, count: number, hostCount: number): Promise<void> {
  for (let index = 0; index < count; index += 1)
    await world.register({
      taskId: `${name}${index}`,
      callbackUrl: `https://${name}-${index % hostCount}.example/hooks`,
    })
}

/** An endpoint with limits that has a backlog of settled tasks, none of it sent yet. */
async function aBacklog(count: number, limits: Record<string, number>, script: WorldScript = {}): Promise<World> {
  const world = createWorld({ ...script, options: { budget: { rate: 1_000 }, ...script.options } })
  await register(world, SLOW, 1, 'first')
  await world.clock.runFor(SECOND)
  const now = world.clock.now()
  const id = (await endpointOf(world, SLOW)).id
  const pausing = world.store().setEndpointStatus({ now, id, status: 'paused' })
  await world.clock.settle()
  await pausing
  await register(world, SLOW, count)
  await world.clock.runFor(5 * SECOND)
  setLimits(world, SLOW, limits)
  return world
}

async function endpointOf(world: World, url: string) {
  const { items } = await world.store().listEndpoints({ now: world.clock.now(), limit: 100 })
  return items.find((one) => one.url === url)!
}

async function resume(world: World, url: string): Promise<void> {
  const { id } = await endpointOf(world, url)
  const resuming = world.store().setEndpointStatus({ now: world.clock.now(), id, status: 'enabled' })
  await world.clock.settle()
  await resuming
  world.engine().wakeDispatcher()
}

function setLimits({ path }: World, url: string, limits: Record<string, number>): void {
  const db = new Database(path)
  for (const [name, value] of Object.entries(limits))
    db.prepare(`update _endpoints set ${name} = ? where url = ?`).run(value, url)
  db.close()
}

/** All were due when they were made. */
function eventsInOrderOfDeliveries({ path }: World): readonly string[] {
  const db = new Database(path, { readonly: true })
  const ids = db.prepare<[], string>('select event_id from _deliveries order by created_at, seq').pluck().all()
  db.close()
  return ids
}

function postsTo({ posted }: World, url: string, from: EpochMs) {
  return posted.filter((post) => post.url === url && post.at >= from)
}

describe('the rate of an endpoint', () => {
  test.each([
    [0.5, 10 * MINUTE, 0],
    [1, 10 * MINUTE, 3],
    [7, 2 * MINUTE, 0],
    [7, 2 * MINUTE, 5],
    [50, 20 * SECOND, 2],
  ])(
    '%s a second is kept within two per cent for %i ms, with %i restarts in between',
    async (rate, spanMs, restarts) => {
      const wanted = (rate * spanMs) / SECOND
      const world = await aBacklog(Math.ceil(wanted * 1.1), { rate_max: rate })
      const from = world.clock.now()
      await resume(world, SLOW)
      for (let part = 0; part <= restarts; part += 1) {
        await world.clock.runFor(spanMs / (restarts + 1))
        if (part < restarts) await world.crash()
      }
      const ids = postsTo(world, SLOW, from)
      expect(ids.length / wanted).toBeGreaterThan(0.98)
      expect(ids.length / wanted).toBeLessThan(1.02 + 1 / wanted)
    },
  )

  test('of one leaves the others as fast as they are', async () => {
    const world = await aBacklog(200, { rate_max: 0.5 })
    await resume(world, SLOW)
    const from = world.clock.now()
    await register(world, OTHER, 100, 'other')
    await world.clock.runFor(3 * SECOND)
    expect(postsTo(world, OTHER, from)).toHaveLength(100)
  })

  test('that is raised holds at once: nothing waits for what the old one would have granted', async () => {
    const world = await aBacklog(20, { rate_max: 0.001 })
    await resume(world, SLOW)
    await world.clock.runFor(MINUTE)
    const { id } = await endpointOf(world, SLOW)
    const from = world.clock.now()
    const changing = world.store().updateEndpoint({ now: from, id, rateMax: null })
    await world.clock.settle()
    await changing
    world.engine().wakeDispatcher()
    await world.clock.runFor(SECOND)
    expect(postsTo(world, SLOW, from)).toHaveLength(19)
  })
})

describe('the slots of an endpoint', () => {
  test('of one are one attempt at a time, in the order in which they fell due', async () => {
    const world = await aBacklog(40, { concurrency_max: 1 }, { receiveMs: 100 })
    const from = world.clock.now()
    await resume(world, SLOW)
    await world.clock.runFor(10 * SECOND)
    const posts = postsTo(world, SLOW, from)
    expect(posts).toHaveLength(40)
    for (const [index, { at }] of posts.slice(1).entries()) expect(at - posts[index]!.at).toBeGreaterThanOrEqual(100)
    const sent = posts.map((post) => post.headers['webhook-id'])
    expect(sent).toEqual(eventsInOrderOfDeliveries(world).filter((id) => sent.includes(id)))
  })

  test('are one after it was resumed with a backlog, and double with each success', async () => {
    const world = await aBacklog(60, {}, { receiveMs: 1_000 })
    const from = world.clock.now()
    await resume(world, SLOW)
    await world.clock.runFor(3_500)
    const posts = postsTo(world, SLOW, from)
    const starts = [0, 1, 2, 3].map((second) => posts.filter(({ at }) => Math.floor((at - from) / SECOND) === second))
    expect(starts.map((group) => group.length)).toEqual([1, 2, 8, 8])
  })

  test('are half of all for the endpoints of one host together', async () => {
    const world = createWorld({ receiveMs: 5_000, options: { deliveryConcurrency: 8, endpointConcurrency: 2 } })
    for (let index = 0; index < 20; index += 1)
      await world.register({ taskId: `t${index}`, callbackUrl: `https://one.example/${index}` })
    await world.clock.runFor(3 * SECOND)
    expect(world.posted).toHaveLength(4)
    await register(world, OTHER, 1, 'other')
    await world.clock.runFor(SECOND)
    expect(world.posted.filter(({ url }) => url === OTHER)).toHaveLength(1)
  })
})

test('a receiver that fails every webhook the first time, and answers at once, gets a long backlog in seconds', async () => {
  const seen = new Set<string>()
  const receive = ({ headers }: PostRequest): AttemptResult => {
    const isFirst = !seen.has(headers['webhook-id']!)
    seen.add(headers['webhook-id']!)
    return isFirst ? { kind: 'response', status: 500, retryAfter: null } : NO_CONTENT
  }
  const world = createWorld({ receive, receiveMs: 20, options: { budget: { rate: 1_000 } } })
  await register(world, SLOW, 500)
  await world.clock.runFor(20 * SECOND)
  expect(world.posted).toHaveLength(1_000)
})

describe('a dead receiver', () => {
  test('that refuses is probed and not hammered, and found again within a quarter of its outage', async () => {
    let isDead = true
    const receive = ({ url }: PostRequest) => (url === SLOW && isDead ? REFUSED : NO_CONTENT)
    const world = createWorld({ receive, receiveMs: 2, options: { budget: { rate: 1_000 } } })
    await register(world, SLOW, 500)
    await world.clock.runFor(HOUR)
    const posts = postsTo(world, SLOW, world.posted[0]!.at)
    // Some fifty while the rest grows to its quarter of a minute, then four a minute.
    expect(posts.length).toBeLessThan(320)
    expect(posts.length).toBeGreaterThan(200)
    isDead = false
    const from = world.clock.now()
    await world.clock.runFor(2 * MINUTE)
    const first = postsTo(world, SLOW, from)[0]!
    expect(first.at - from).toBeLessThanOrEqual(16 * SECOND)
    expect(postsTo(world, SLOW, from).length).toBeGreaterThan(150)
  })

  test('that hangs holds one slot after its first deadline', async () => {
    const receive = ({ url }: PostRequest) => (url === SLOW ? null : NO_CONTENT)
    const world = createWorld({ receive, options: { budget: { rate: 1_000 } } })
    await register(world, SLOW, 100)
    await world.clock.runFor(25 * SECOND)
    const from = world.clock.now()
    await world.clock.runFor(10 * MINUTE)
    expect(postsTo(world, SLOW, from).length).toBeLessThanOrEqual(30)
  })

  test('and a hundred like it, each at a host of its own, leave half of the slots to the others', async () => {
    const receive = ({ url }: PostRequest) => (url.includes('dead') ? null : NO_CONTENT)
    const world = createWorld({ receive, options: { budget: { rate: 1_000 }, deliveryConcurrency: 16 } })
    await registerEverywhere(world, 'dead', 100, 100)
    // Of each one attempt has failed by then.
    await world.clock.runFor(5 * MINUTE)
    const from = world.clock.now()
    await register(world, OTHER, 50, 'other')
    await world.clock.runFor(5 * SECOND)
    expect(postsTo(world, OTHER, from)).toHaveLength(50)
  })
})

test('receivers that answer well and slowly leave a quarter of the slots to the quick ones', async () => {
  const receiveMs = (url: string) => (url.includes('slow-') ? 5 * SECOND : 10)
  const world = createWorld({ receiveMs, options: { budget: { rate: 1_000 }, deliveryConcurrency: 16 } })
  await registerEverywhere(world, 'slow', 400, 4)
  // Each has answered once by then; before, nobody could know.
  await world.clock.runFor(10 * SECOND)
  const from = world.clock.now()
  await register(world, OTHER, 50, 'other')
  await world.clock.runFor(2 * SECOND)
  expect(postsTo(world, OTHER, from)).toHaveLength(50)
  await world.clock.runFor(48 * SECOND)
  const slowCount = world.posted.filter(({ url, at }) => url.includes('slow-') && at >= from).length
  expect([slowCount > 110, slowCount <= 132]).toEqual([true, true])
})

test('receivers that hang leave a part of the slots to those that answer well and slowly', async () => {
  const receive = ({ url }: PostRequest) => (url.includes('dead') ? null : NO_CONTENT)
  const world = createWorld({
    receive,
    receiveMs: 1_200,
    options: { budget: { rate: 1_000 }, deliveryConcurrency: 16 },
  })
  await registerEverywhere(world, 'dead', 200, 200)
  await register(world, OTHER, 300, 'other')
  // Of each one attempt has failed by then, and who is slow is known.
  await world.clock.runFor(6 * MINUTE)
  const from = world.clock.now()
  await register(world, OTHER, 100, 'more')
  await world.clock.runFor(50 * SECOND)
  expect(postsTo(world, OTHER, from)).toHaveLength(100)
})

test('a receiver that answers 500 at once, again and again, is sent twenty a second until its first success', async () => {
  let isBroken = true
  const receive = ({ url }: PostRequest) =>
    url === SLOW && isBroken ? ({ kind: 'response', status: 500, retryAfter: null } as const) : NO_CONTENT
  const world = createWorld({ receive, receiveMs: 2, options: { budget: { rate: 10_000 } } })
  await register(world, SLOW, 300)
  await world.clock.runFor(15 * SECOND)
  const from = world.clock.now()
  await register(world, SLOW, 800, 'more')
  await world.clock.runFor(20 * SECOND)
  expect(postsTo(world, SLOW, from).length / 20).toBeGreaterThan(19)
  expect(postsTo(world, SLOW, from).length / 20).toBeLessThan(21)
  isBroken = false
  const healedAt = world.clock.now()
  await world.clock.runFor(2 * SECOND)
  expect(postsTo(world, SLOW, healedAt).length).toBeGreaterThan(350)
})

test('endpoints with very different backlogs are served alike', async () => {
  const world = createWorld({
    receiveMs: 500,
    options: { budget: { rate: 1_000 }, deliveryConcurrency: 4, endpointConcurrency: 4 },
  })
  await register(world, SLOW, 200, 'many')
  await register(world, OTHER, 10, 'few')
  const from = world.clock.now()
  await world.clock.runFor(10 * SECOND)
  expect(postsTo(world, OTHER, from)).toHaveLength(10)
  expect(postsTo(world, SLOW, from).length).toBeGreaterThan(40)
})
