/** Work under way when the daemon stops: waited for, aborted when its time is up, and nothing of it left behind. */

import { expect, onTestFinished, test } from 'vitest'
import { MINUTE, SECOND } from '../../src/core/time.ts'
import { createInFlight } from '../../src/engine/in-flight.ts'
import { START } from '../support/store.ts'
import { createVirtualClock } from '../support/virtual-clock.ts'

test('work that ends within the grace is waited for, and what it begins at its end too', async () => {
  const clock = createVirtualClock()
  const inFlight = createInFlight(clock)
  const ended: string[] = []
  const forMs = (ms: number) => new Promise<void>((resolve) => void clock.wakeAt(add(ms), resolve))
  const add = (ms: number) => (clock.now() + ms) as ReturnType<typeof clock.now>
  inFlight.track(async () => {
    await forMs(SECOND)
    inFlight.track(async () => {
      await forMs(SECOND)
      ended.push('second')
    })
    ended.push('first')
  })
  const drained = inFlight.drain(10 * SECOND).then(() => void ended.push('drained'))
  await clock.runFor(5 * SECOND)
  await drained
  expect(ended).toEqual(['first', 'second', 'drained'])
})

test('work is aborted when its grace is over, also when that is longer than a timer goes, and not before', async () => {
  const clock = createVirtualClock()
  const inFlight = createInFlight(clock)
  let abortedAfterMs: number | null = null
  inFlight.track(
    (signal) =>
      new Promise<void>((resolve) =>
        signal.addEventListener('abort', () => {
          abortedAfterMs = clock.now() - START
          resolve()
        }),
      ),
  )
  const drained = inFlight.drain(5 * MINUTE)
  await clock.runFor(5 * MINUTE - 1)
  expect(abortedAfterMs).toBeNull()
  await clock.runFor(1)
  await drained
  expect(abortedAfterMs).toBe(5 * MINUTE)
})

test('with nothing under way the end comes at once and leaves no timer', async () => {
  const virtual = createVirtualClock()
  const timers = new Set<object>()
  const inFlight = createInFlight({
    now: virtual.now,
    wakeAt(at, wake) {
      const timer = {}
      timers.add(timer)
      const callOff = virtual.wakeAt(at, wake)
      return () => {
        timers.delete(timer)
        callOff()
      }
    },
  })
  inFlight.track(async () => {})
  await inFlight.drain(10 * SECOND)
  expect(timers.size).toBe(0)
})

test('a thousand pieces that listen to one signal are no leak, and Node does not say so', async () => {
  const warnings: string[] = []
  const warn = (warning: Error) => void warnings.push(warning.name)
  process.on('warning', warn)
  onTestFinished(() => void process.off('warning', warn))
  const inFlight = createInFlight(createVirtualClock())
  for (let count = 0; count < 1_000; count += 1) {
    inFlight.track((signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())))
  }
  await inFlight.drain(0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(warnings).toEqual([])
})
