/** S15: a receiver that is dead costs the others nothing. The same history is lived twice, with it alive and with it dead. */

import { expect, test } from 'vitest'
import { MINUTE } from '../../src/core/time.ts'
import { OPTIONS } from '../support/world.ts'
import { CALM, type Character } from './faults.ts'
import type { Ledger } from './ledger.ts'
import { aPlan } from './scenarios.ts'
import { simulatePlan } from './simulate.ts'

const HEALTHY = 'https://healthy-1.example'

/** From the end of a task to the first POST that tells the healthy receiver of it, the slowest last. */
function waitsOf({ posts, settledAt }: Ledger): readonly number[] {
  const firsts = new Map(
    posts
      .toReversed()
      .filter(({ url }) => url.startsWith(HEALTHY))
      .map((post) => [post.headers['webhook-id'], post]),
  )
  const waits = [...firsts.values()].map((post) => {
    const { id } = (JSON.parse(post.body) as { data: { id: string } }).data
    return post.at - settledAt.get(id)!
  })
  return waits.toSorted((a, b) => a - b)
}

async function live(neighbour: Character): Promise<Ledger> {
  const plan = aPlan({
    safetyMs: 10 * MINUTE,
    taskCount: 120,
    receivers: [neighbour, 'healthy'],
    options: {
      ...OPTIONS,
      deliveryConcurrency: 8,
      endpointConcurrency: 4,
      retryScheduleMs: [0, MINUTE, MINUTE, MINUTE],
    },
  })
  const { violations, ledger } = await simulatePlan(plan, CALM)
  expect(violations).toEqual([])
  return ledger
}

test.each(['silent', 'unreachable', 'failing'] as const)(
  'a receiver beside one that is %s is told as early as without it',
  { timeout: 240_000 },
  async (character) => {
    const alone = waitsOf(await live('healthy'))
    const ledger = await live(character)
    const beside = waitsOf(ledger)
    expect(ledger.posts.filter(({ url }) => !url.startsWith(HEALTHY)).length).toBeGreaterThan(50)
    expect(beside.length).toBeGreaterThan(40)
    // The same tasks end a little earlier or later; the slowest wait is what a full set of slots would show in.
    expect(beside.at(-1)!).toBeLessThanOrEqual(Math.max(alone.at(-1)! * 1.2, 200))
  },
)
