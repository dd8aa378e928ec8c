/**
 * How an endpoint is sent to, from the API's steps to the wire, on a virtual clock over real SQLite: whatever is replaced
 * and whenever, a receiver that knows one live secret or key accepts; own headers and chosen events are as they were set.
 */

import fc from 'fast-check'
import { Webhook } from 'standardwebhooks'
import { expect, test } from 'vitest'
import { verifyV1a } from '../../examples/verify-v1a.ts'
import type { EndpointId } from '../../src/core/ids.ts'
import { formatPrivateKey, formatPublicKey, formatSecret, parsePrivateKey } from '../../src/core/signature.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createWorld, NO_CONTENT, type Posted, SECRET, type World } from '../support/world.ts'

const URL = 'https://shop.example/hooks'
const UNAVAILABLE = { kind: 'response', status: 503, retryAfter: null } as const

/** A store's step waits for its commit, which is due "soon": virtual time has to stir for it. */
async function done<T>(world: World, step: Promise<T>): Promise<T> {
  await world.clock.settle()
  return step
}

/** As the reference library compares; its own `verify` asks the machine's clock, which is not the virtual one. */
function accepts(secret: string, { headers, body }: Posted): boolean {
  const sentAt = new Date(Number(headers['webhook-timestamp']) * SECOND)
  const expected = new Webhook(secret).sign(headers['webhook-id']!, sentAt, body)
  return headers['webhook-signature']!.split(' ').includes(expected)
}

function acceptsV1a(publicKey: string, { headers, body }: Posted): boolean {
  return verifyV1a({
    id: headers['webhook-id']!,
    timestamp: headers['webhook-timestamp']!,
    signature: headers['webhook-signature']!,
    body,
    publicKeys: [publicKey],
    now: Number(headers['webhook-timestamp']) * SECOND,
  })
}

/** What was made with the same number belongs together. */
function keysOf(index: number) {
  const privateKey = formatPrivateKey(Buffer.alloc(32, index + 1))
  const publicKey = formatPublicKey(parsePrivateKey(privateKey)!)
  return { secret: formatSecret(Buffer.alloc(32, index + 1)), privateKey, publicKey }
}

/** A secret that was live from one instant to another, as a careful receiver's operator notes it. */
interface Known {
  readonly index: number
  readonly from: number
  until: number
}

test('whenever secrets and key pairs are replaced, a receiver that knows any live one of them accepts every webhook', async () => {
  const aWait = fc.integer({ min: 1, max: MINUTE })
  const aRotation = fc.record({ waitMs: aWait, overlapMs: fc.constantFrom(0, SECOND, 20 * SECOND, MINUTE, 7 * DAY) })
  // Days would be no other to the rule, and only longer to wait for.
  const retryScheduleMs = [0, ...Array.from({ length: 40 }, () => 7 * SECOND)]
  await fc.assert(
    fc.asyncProperty(fc.array(aRotation, { maxLength: 6 }), fc.boolean(), async (rotations, isAsymmetric) => {
      const world = createWorld({ receive: () => UNAVAILABLE, options: { retryScheduleMs } })
      const { clock } = world
      const { secret, privateKey } = keysOf(0)
      const keys = isAsymmetric ? { secret, privateKey } : { secret }
      const made = await done(world, world.store().createEndpoint({ now: clock.now(), url: URL, name: null, ...keys }))
      const known: Known[] = [{ index: 0, from: clock.now(), until: Number.POSITIVE_INFINITY }]
      await world.register({ taskId: 'a', callbackUrl: URL })
      for (const [nth, { waitMs, overlapMs }] of rotations.entries()) {
        await clock.runFor(waitMs)
        const now = clock.now()
        const live = known.filter(({ until }) => until > now).reverse()
        for (const [age, one] of live.entries()) one.until = age >= 2 ? now : Math.min(one.until, now + overlapMs)
        known.push({ index: nth + 1, from: now, until: Number.POSITIVE_INFINITY })
        const next = keysOf(nth + 1)
        const params = { now, id: made.endpoint.id, secret: next.secret, privateKey: next.privateKey, overlapMs }
        await done(world, world.store().rotateSecret(params))
      }
      await clock.runFor(2 * MINUTE)
      expect(world.posted.length).toBeGreaterThan(10)
      for (const post of world.posted) {
        const live = known.filter(({ from, until }) => post.at >= from && post.at < until).map(({ index }) => index)
        expect(live.length).toBeGreaterThan(0)
        expect(live.length).toBeLessThanOrEqual(3)
        for (const { index } of known) {
          expect(accepts(keysOf(index).secret, post)).toBe(live.includes(index))
          expect(acceptsV1a(keysOf(index).publicKey, post)).toBe(isAsymmetric && live.includes(index))
        }
      }
      expect(new Set(world.posted.map(({ headers, body }) => `${headers['webhook-id']} ${body}`)).size).toBe(1)
      await world.stop()
    }),
    { numRuns: 15 },
  )
}, 240_000)

test('who found its endpoint by URL and replaces the daemon’s secret is understood by both for the overlap', async () => {
  const world = createWorld({ receive: () => UNAVAILABLE })
  const task = await world.register({ taskId: 'a', callbackUrl: URL })
  const id = task.subscriptions[0]!.endpointId
  const { secret } = keysOf(1)
  await done(world, world.store().rotateSecret({ now: world.clock.now(), id, secret, overlapMs: HOUR }))
  await world.clock.runFor(4 * DAY)
  const early = world.posted.filter(({ at }) => at < world.posted[0]!.at + HOUR)
  const late = world.posted.filter(({ at }) => at > world.posted[0]!.at + 2 * HOUR)
  expect(early.length).toBeGreaterThan(2)
  expect(late.length).toBeGreaterThan(2)
  expect(early.every((post) => accepts(secret, post) && accepts(SECRET, post))).toBe(true)
  expect(late.every((post) => accepts(secret, post) && !accepts(SECRET, post))).toBe(true)
})

async function anEndpoint(world: World, settings: object): Promise<EndpointId> {
  const params = { now: world.clock.now(), url: URL, name: null, secret: keysOf(0).secret, ...settings }
  return (await done(world, world.store().createEndpoint(params))).endpoint.id
}

test('a URL, a header and a secret edited between two attempts hold from the second on; id and body stay', async () => {
  const world = createWorld({ receive: (_request, nth) => (nth === 1 ? UNAVAILABLE : NO_CONTENT) })
  const id = await anEndpoint(world, { headers: { 'x-shop': 'old' } })
  await world.register({ taskId: 'a', callbackUrl: URL })
  await world.clock.runFor(SECOND)
  const moved = 'https://moved.example/hooks'
  const now = world.clock.now()
  await done(world, world.store().updateEndpoint({ now, id, url: moved, headers: { 'x-shop': 'new' } }))
  await done(world, world.store().rotateSecret({ now, id, secret: keysOf(1).secret, overlapMs: 0 }))
  await world.clock.runFor(DAY)
  const [first, second] = world.posted
  expect([first!.url, second!.url]).toEqual([URL, moved])
  expect([first, second].map((post) => post!.headers['x-shop'])).toEqual(['old', 'new'])
  expect([accepts(keysOf(0).secret, first!), accepts(keysOf(1).secret, first!)]).toEqual([true, false])
  expect([accepts(keysOf(0).secret, second!), accepts(keysOf(1).secret, second!)]).toEqual([false, true])
  expect(second!.body).toBe(first!.body)
  expect(second!.headers['webhook-id']).toBe(first!.headers['webhook-id'])
})

test('headers of its own go with every attempt and into no line of the log', async () => {
  const world = createWorld({ receive: (_request, nth) => (nth < 3 ? UNAVAILABLE : NO_CONTENT) })
  await anEndpoint(world, { headers: { authorization: 'Bearer canary-0001', 'x-shop': '7' } })
  await world.register({ taskId: 'a', callbackUrl: URL })
  await world.clock.runFor(DAY)
  expect(world.posted).toHaveLength(3)
  for (const { headers } of world.posted) {
    expect(headers).toMatchObject({ authorization: 'Bearer canary-0001', 'x-shop': '7' })
    expect(headers['webhook-signature']).toMatch(/^v1,/)
  }
  expect(JSON.stringify(world.logged)).not.toContain('canary-0001')
})

test('an endpoint hears of the types that it chose alone, whoever else hears of the others', async () => {
  const world = createWorld()
  await anEndpoint(world, { eventTypes: ['task.failed'] })
  await world.register({ taskId: 'a', callbackUrl: URL })
  await world.register({ taskId: 'a', callbackUrl: 'https://other.example/' })
  await world.clock.runFor(DAY)
  expect(world.posted.map(({ url }) => url)).toEqual(['https://other.example/'])
})
