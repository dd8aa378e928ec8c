/** Receivers that act on us while we are calling them. */

import { expect, test } from 'vitest'
import { MINUTE, SECOND } from '../../src/core/time.ts'
import { createWorld, NO_CONTENT } from '../support/world.ts'

test('F51 a receiver that asks for the same delivery from its handler gets the attempt that is being made: no loop', async () => {
  const asking: Promise<unknown>[] = []
  const world = createWorld({
    receive: () => {
      asking.push(redeliver())
      return NO_CONTENT
    },
  })
  async function redeliver(): Promise<unknown> {
    const delivery = (await world.store().getTask(task.id))!.subscriptions[0]!
    const result = await world.store().redeliver({ now: world.clock.now(), deliveryId: delivery.deliveryId! })
    world.engine().wakeDispatcher()
    return result
  }
  const task = await world.register({ taskId: 'a' })
  await world.clock.runFor(MINUTE)
  expect(await Promise.all(asking)).toMatchObject([{ kind: 'under_way' }])
  expect(world.posted).toHaveLength(1)
  const asked = redeliver()
  await world.clock.runFor(MINUTE)
  await asked
  // Asked for after the answer it is one more attempt, and what its handler asks for again is that attempt.
  expect(world.posted).toHaveLength(2)
  expect(new Set(world.posted.map(({ headers, body }) => `${headers['webhook-id']} ${body}`)).size).toBe(1)
  expect(world.peak.posts).toBe(1)
})

test('F53 an endpoint that is paused while its receiver is answering hears nothing more until it is resumed', async () => {
  const world = createWorld({
    receive: (_request, nth) => {
      if (nth === 1) void pause()
      return { kind: 'response', status: nth < 3 ? 500 : 204, retryAfter: null }
    },
  })
  const endpointOf = async () => (await world.store().getTask(task.id))!.subscriptions[0]!.endpointId
  async function pause(): Promise<void> {
    await world.store().setEndpointStatus({ now: world.clock.now(), id: await endpointOf(), status: 'paused' })
  }
  const task = await world.register({ taskId: 'a' })
  await world.clock.runFor(10 * MINUTE)
  expect(world.posted).toHaveLength(1)
  const delivery = (await world.store().getTask(task.id))!.subscriptions[0]!
  expect(delivery.deliveryStatus).toBe('pending')
  await Promise.all([
    endpointOf().then((id) => world.store().setEndpointStatus({ now: world.clock.now(), id, status: 'enabled' })),
    world.clock.runFor(SECOND),
  ])
  world.engine().wakeDispatcher()
  await world.clock.runFor(10 * MINUTE)
  expect(world.posted).toHaveLength(3)
  expect((await world.store().getTask(task.id))!.subscriptions[0]!.deliveryStatus).toBe('delivered')
})
