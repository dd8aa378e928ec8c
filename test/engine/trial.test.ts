/** Trying an endpoint: one made-up event, signed as a webhook would be, bounded in number, and kept nowhere. */

import { Webhook } from 'standardwebhooks'
import { expect, test } from 'vitest'
import type { EndpointId } from '../../src/core/ids.ts'
import { MINUTE } from '../../src/core/time.ts'
import { TRIAL_TYPES, type TrialType } from '../../src/core/trial.ts'
import type { Trial } from '../../src/engine/trial.ts'
import { createWorld, NO_CONTENT, type World } from '../support/world.ts'

const RECEIVE_MS = 10
const SECRET = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='

/** A step of the store is committed a moment later, and a moment passes only when it is told to. */
async function done<T>(world: World, step: Promise<T>): Promise<T> {
  await world.clock.settle()
  return step
}

async function anEndpoint(world: World, url: string | null = 'https://shop.example/hooks'): Promise<EndpointId> {
  const now = world.clock.now()
  return (await done(world, world.store().createEndpoint({ now, url, name: null, secret: SECRET }))).endpoint.id
}

/** Its POST takes time, which passes only when it is told to. */
async function run(world: World, id: EndpointId, type: TrialType = 'endpoint.test'): Promise<Trial> {
  const trial = world.engine().trials.run(id, type)
  trial.catch(() => {})
  await world.clock.runFor(RECEIVE_MS)
  return trial
}

test.each(TRIAL_TYPES)(
  '%s is sent signed with its own secret, says that it is a test, and leaves nothing behind',
  async (type) => {
    const world = createWorld({ receiveMs: RECEIVE_MS, receive: () => NO_CONTENT })
    const id = await anEndpoint(world)
    const { exchange, summary, remedy } = await run(world, id, type)
    expect({ result: exchange.result, summary, remedy }).toEqual({
      result: NO_CONTENT,
      summary: 'HTTP 204',
      remedy: null,
    })
    const [posted] = world.posted
    const verifier = new Webhook(SECRET)
    // The package compares with the clock of this machine.
    expect(() => verifier.verify(posted!.body, { ...posted!.headers })).toThrow(/too old|too new/)
    const at = new Date(Number(posted!.headers['webhook-timestamp']) * 1_000)
    expect(posted!.headers['webhook-signature']).toBe(verifier.sign(posted!.headers['webhook-id']!, at, posted!.body))
    expect(JSON.parse(posted!.body)).toMatchObject({ type, data: { test: true } })
    expect((await world.store().listDeliveries({ limit: 10 })).items).toEqual([])
    await world.stop()
  },
)

test('a paused endpoint can be tried: that is how one sees whether to resume it', async () => {
  const world = createWorld({ receiveMs: RECEIVE_MS, receive: () => NO_CONTENT })
  const id = await anEndpoint(world)
  await done(world, world.store().setEndpointStatus({ now: world.clock.now(), id, status: 'paused' }))
  expect((await run(world, id)).remedy).toBeNull()
  await world.stop()
})

test('a failure comes with words for it, and counts nowhere against the endpoint', async () => {
  const world = createWorld({
    receiveMs: RECEIVE_MS,
    receive: () => ({ kind: 'response', status: 410, retryAfter: null }),
  })
  const id = await anEndpoint(world)
  const { summary, remedy } = await run(world, id)
  expect(summary).toBe('HTTP 410')
  expect(remedy).toMatch(/gone/)
  expect(await world.store().getEndpoint({ now: world.clock.now(), id })).toMatchObject({ status: 'enabled' })
  await world.stop()
})

test('ten in a minute, and then one is told to wait until the first is a minute old', async () => {
  const world = createWorld({ receiveMs: RECEIVE_MS, receive: () => NO_CONTENT })
  const id = await anEndpoint(world)
  const other = await anEndpoint(world, 'https://other.example/hooks')
  for (let count = 0; count < 10; count += 1) await run(world, id)
  await expect(run(world, id)).rejects.toMatchObject({ code: 'throttled', retryAfterMs: MINUTE - 10 * RECEIVE_MS })
  expect(world.posted).toHaveLength(10)
  // Others are not held up by it.
  await run(world, other)
  await world.clock.runFor(MINUTE)
  await run(world, id)
  expect(world.posted).toHaveLength(12)
  await world.stop()
})

test('an endpoint without a URL, and one that does not exist, cannot be tried', async () => {
  const world = createWorld()
  const id = await anEndpoint(world, null)
  await expect(run(world, id)).rejects.toMatchObject({ code: 'conflict' })
  await expect(run(world, 'ep_nowhere')).rejects.toMatchObject({ code: 'not_found' })
  expect(world.posted).toEqual([])
  await world.stop()
})
