/**
 * Nothing that is due waits for a beat: each of these has loops that would sleep for an hour, and a store that is as far
 * from the engine as its thread.
 */

import { expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createWorld, FINISHED, NO_CONTENT, RUNNING, type WorldScript } from '../support/world.ts'

const FAILED: AttemptResult = { kind: 'response', status: 500, retryAfter: null }

function aSleepyWorld({ options, ...script }: WorldScript) {
  return createWorld({ ...script, isBehindThread: true, options: { idleMs: HOUR, probeEveryMs: HOUR, ...options } })
}

test('with one slot of each kind, tasks are asked about and told of one after the other, without a pause', async () => {
  const world = aSleepyWorld({ options: { pollConcurrency: 1, deliveryConcurrency: 1, endpointConcurrency: 1 } })
  for (let index = 0; index < 20; index += 1) await world.register({ taskId: `t${index}` })
  // A query is answered after 20 ms and a POST after 10, and the rate lets one go every 10 ms.
  await world.clock.runFor(600)
  expect(world.posted).toHaveLength(20)
  await world.stop()
})

test('with more slots than work each result is told of at once', async () => {
  const world = aSleepyWorld({ answerMs: 50, receiveMs: 500 })
  for (let index = 0; index < 8; index += 1) {
    await world.register({ taskId: `t${index}` })
    await world.clock.runFor(80)
    expect(world.posted).toHaveLength(index + 1)
  }
  await world.stop()
})

test('what is full frees in the middle of other work: each endpoint has its turn as its own attempts end', async () => {
  const world = aSleepyWorld({
    options: { deliveryConcurrency: 4, endpointConcurrency: 1 },
    receiveMs: (url) => (url.includes('slow') ? 400 : 10),
  })
  for (let index = 0; index < 5; index += 1) {
    await world.register({ taskId: `s${index}`, callbackUrl: 'https://slow.example/' })
    await world.register({ taskId: `q${index}`, callbackUrl: 'https://quick.example/' })
  }
  await world.clock.runFor(5 * 420 + 200)
  expect(world.posted.filter(({ url }) => url.includes('quick'))).toHaveLength(5)
  expect(world.posted.filter(({ url }) => url.includes('slow'))).toHaveLength(5)
  await world.stop()
})

test('what failed is sent again when it is due, also when it was the last', async () => {
  const world = aSleepyWorld({
    receive: (_request, nth) => (nth === 1 ? FAILED : NO_CONTENT),
    options: { retryScheduleMs: [0, 5 * SECOND] },
  })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(7 * SECOND)
  expect(world.posted).toHaveLength(2)
  await world.stop()
})

test('an answer that ends a pause is followed by the others at once', async () => {
  const refused = { kind: 'answer', httpStatus: 401, retryAfterMs: null, body: null } as const
  const world = aSleepyWorld({ answer: () => (isRefusing ? refused : FINISHED) })
  let isRefusing = true
  for (let index = 0; index < 5; index += 1) await world.register({ taskId: `t${index}` })
  await world.clock.runFor(SECOND)
  isRefusing = false
  await world.clock.runFor(MINUTE + SECOND)
  expect(new Set(world.posted.map(({ body }) => JSON.parse(body).data.taskId)).size).toBe(5)
  await world.stop()
})

test('a task that is still running is asked again when its plan says, and told of when it ends', async () => {
  const world = aSleepyWorld({ answer: (_task, _at, nth) => (nth < 3 ? RUNNING : FINISHED) })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(3 * MINUTE)
  expect(world.asked).toHaveLength(3)
  expect(world.posted).toHaveLength(1)
  await world.stop()
})
