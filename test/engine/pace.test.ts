/** Chores by the clock on the wall: one at a time, a failing one ends nothing, and a stop ends all of them. */

import cron from 'node-cron'
import { expect, test } from 'vitest'
import { startPace } from '../../src/engine/pace.ts'
import type { Log } from '../../src/ports.ts'

/** node-cron takes a sixth field in front, for seconds. */
const EVERY_SECOND = '* * * * * *'

function aLog() {
  const events: string[] = []
  const note = ({ event }: { event: string }) => void events.push(event)
  const log: Log = { debug: note, info: note, warn: note, error: note }
  return { log, events }
}

/** Resolves when a chore has been run so many times. */
function counted(times: number) {
  let count = 0
  let resolve = () => {}
  const done = new Promise<void>((settle) => {
    resolve = settle
  })
  const run = () => {
    count += 1
    if (count === times) resolve()
  }
  return { run, done, count: () => count }
}

test('a chore that fails is logged, and comes again', async () => {
  const { log, events } = aLog()
  const chore = counted(2)
  const run = async () => {
    chore.run()
    throw new Error('no')
  }
  const pace = startPace([{ name: 'sweep', expression: EVERY_SECOND, run }], log)
  await chore.done
  await pace.stop()
  expect(events.filter((event) => event === 'chore.failed')).toHaveLength(chore.count())
})

test('a stop tells a chore that is under way, waits for its end, and lets none begin', async () => {
  const { log } = aLog()
  const order: string[] = []
  const [begun, bystander] = [counted(1), counted(1)]
  const run = async (signal: AbortSignal) => {
    begun.run()
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => setImmediate(resolve)))
    order.push('chore ended')
  }
  const beside = async () => bystander.run()
  const pace = startPace(
    [
      { name: 'long', expression: EVERY_SECOND, run },
      { name: 'beside', expression: EVERY_SECOND, run: beside },
    ],
    log,
  )
  await Promise.all([begun.done, bystander.done])
  await pace.stop()
  order.push('stopped')
  expect(order).toEqual(['chore ended', 'stopped'])
  expect([...cron.getTasks().values()].map((task) => task.getStatus())).toEqual([])
})

test('a chore that takes longer than its pace is not begun a second time beside itself', async () => {
  const { log, events } = aLog()
  let underWay = 0
  let peak = 0
  const others = counted(3)
  const run = async (signal: AbortSignal) => {
    underWay += 1
    peak = Math.max(peak, underWay)
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    underWay -= 1
  }
  const pace = startPace(
    [
      { name: 'long', expression: EVERY_SECOND, run },
      { name: 'beside', expression: EVERY_SECOND, run: async () => others.run() },
    ],
    log,
  )
  await others.done
  await pace.stop()
  expect(peak).toBe(1)
  // What node-cron has to say of it goes into the log and not onto the console.
  expect(events).toContain('pace.note')
})
