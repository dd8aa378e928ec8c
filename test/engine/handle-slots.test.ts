/** A process that runs short of file handles sends less at once, gets everything through, and comes back to full speed. */

import { expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import { MINUTE, SECOND } from '../../src/core/time.ts'
import { createWorld, NO_CONTENT, OPTIONS, type World } from '../support/world.ts'

const SHORT: AttemptResult = { kind: 'own_fault', reason: 'no_file_handles', detail: 'EMFILE' }
const RECEIVE_MS = 100

/** One endpoint that may have all slots; of the POSTs of the last moment only so many found a handle. */
function aPoorMachine(deliveryConcurrency: number, handlesAt: (elapsedMs: number) => number) {
  const opened: number[] = []
  const refused: number[] = []
  const world: World = createWorld({
    options: {
      ...OPTIONS,
      idleMs: SECOND,
      pollConcurrency: 64,
      budget: { rate: 10_000 },
      deliveryConcurrency,
      endpointConcurrency: deliveryConcurrency,
    },
    receiveMs: RECEIVE_MS,
    receive() {
      const now = world.clock.elapsedMs()
      const busy = opened.filter((at) => now - at < RECEIVE_MS).length
      const isShort = busy >= handlesAt(now)
      ;(isShort ? refused : opened).push(now)
      return isShort ? SHORT : NO_CONTENT
    },
  })
  const events = () => world.logged.map(({ event }) => event)
  return { world, opened, refused, events }
}

async function registerMany(world: World, count: number, prefix: string): Promise<void> {
  const input = (index: number) => ({ taskId: `${prefix}-${index}`, callbackUrl: 'https://shop.example/hooks' })
  const registering = world.engine().registrar.register(Array.from({ length: count }, (_, index) => input(index)))
  await world.clock.settle()
  await registering
}

test('the slots are halved until they fit, everything arrives without costing an attempt, and few are refused', async () => {
  const { world, opened, refused, events } = aPoorMachine(64, () => 10)
  await registerMany(world, 300, 'a')
  await world.clock.runFor(MINUTE)
  expect(opened).toHaveLength(300)
  const { items } = await world.store().listDeliveries({ limit: 500 })
  expect(items.filter(({ status, attemptCount }) => status === 'delivered' && attemptCount === 1)).toHaveLength(300)
  expect(events()).toContain('dispatcher.short')
  // The first full house is refused for the most part; after it hardly more than one in a round.
  expect(refused.length).toBeLessThan(110)
})

test('when handles are there again all slots are won back step by step, and that is told once', async () => {
  const { world, opened, events } = aPoorMachine(16, (elapsedMs) => (elapsedMs < SECOND ? 4 : 1_000))
  await registerMany(world, 40, 'a')
  await world.clock.runFor(20 * SECOND)
  expect(events()).not.toContain('dispatcher.recovered')
  await registerMany(world, 200, 'b')
  await world.clock.runFor(20 * SECOND)
  expect(opened).toHaveLength(240)
  expect(events().filter((event) => event === 'dispatcher.recovered')).toHaveLength(1)
})
