/** A loop: woken, asleep, ticking, stopped; no wake-up is lost, and none comes after the end. */

import { expect, test } from 'vitest'
import { after, type EpochMs, HOUR, SECOND } from '../../src/core/time.ts'
import { createLoop, type LoopOptions, type Tick } from '../../src/engine/loop.ts'
import type { Clock, Log } from '../../src/ports.ts'
import { START } from '../support/store.ts'
import { createVirtualClock, type VirtualClock } from '../support/virtual-clock.ts'

const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

function aLoop(clock: Clock, tick: Tick, differences: Partial<LoopOptions> = {}) {
  return createLoop('test', tick, { clock, log: SILENT, idleMs: 10 * SECOND, failureMs: SECOND, ...differences })
}

/** When it ticked, in milliseconds from the start. */
function aTick(clock: VirtualClock, nextAt: () => EpochMs | null = () => null) {
  const ticks: number[] = []
  const tick: Tick = async () => {
    ticks.push(clock.now() - START)
    return nextAt()
  }
  return { ticks, tick }
}

test('it ticks when it said it would, and never sleeps longer than its net', async () => {
  const clock = createVirtualClock()
  const answers = [after(START, 3 * SECOND), after(START, HOUR), null]
  const { ticks, tick } = aTick(clock, () => answers.shift() ?? null)
  const loop = aLoop(clock, tick)
  loop.start()
  await clock.runFor(34 * SECOND)
  expect(ticks).toEqual([0, 3_000, 10_000, 20_000, 30_000])
  await loop.stop()
})

test('loops with nothing to do wake together, whatever each of them did before', async () => {
  const clock = createVirtualClock()
  const beatAt = clock.now()
  const tickings = [1_300, 2_700].map((workAt) =>
    aTick(clock, () => (clock.now() < after(START, workAt) ? after(START, workAt) : null)),
  )
  const loops = tickings.map(({ tick }) => aLoop(clock, tick, { idleMs: SECOND, beatAt }))
  for (const loop of loops) loop.start()
  await clock.runFor(5 * SECOND)
  expect(tickings.map(({ ticks }) => ticks)).toEqual([
    [0, 1_000, 1_300, 2_000, 3_000, 4_000, 5_000],
    [0, 1_000, 2_000, 2_700, 3_000, 4_000, 5_000],
  ])
  for (const loop of loops) await loop.stop()
})

test('the net is that of idleness, though a failure would be waited for longer', async () => {
  const clock = createVirtualClock()
  const { ticks, tick } = aTick(clock, () => after(START, HOUR))
  const loop = aLoop(clock, tick, { idleMs: SECOND, failureMs: 5 * SECOND })
  loop.start()
  await clock.runFor(2 * SECOND)
  expect(ticks).toEqual([0, 1_000, 2_000])
  await loop.stop()
})

test('a wake-up by an instant brings the next tick forward and never puts it off, and there is one timer for all', async () => {
  const clock = createVirtualClock()
  const { ticks, tick } = aTick(clock)
  const loop = aLoop(clock, tick)
  loop.start()
  await clock.settle()
  for (const seconds of [9, 4, 7]) loop.wakeBy(after(START, seconds * SECOND))
  await clock.runFor(9 * SECOND)
  expect(ticks).toEqual([0, 4_000])
  await loop.stop()
})

test('a wake-up during a tick makes it run again right after, once', async () => {
  const clock = createVirtualClock()
  const ticks: number[] = []
  const loop = aLoop(clock, async () => {
    ticks.push(clock.now() - START)
    if (ticks.length === 1) for (let count = 0; count < 3; count += 1) loop.wake()
    return null
  })
  loop.start()
  await clock.runFor(SECOND)
  expect(ticks).toEqual([0, 0])
  await loop.stop()
})

test('starting it twice does not make it two', async () => {
  const clock = createVirtualClock()
  const { ticks, tick } = aTick(clock)
  const loop = aLoop(clock, tick)
  loop.start()
  loop.start()
  await clock.settle()
  loop.start()
  await clock.runFor(SECOND)
  expect(ticks).toEqual([0])
  await loop.stop()
})

test('its end comes with the end of the tick that is under way', async () => {
  const clock = createVirtualClock()
  let endTick = () => {}
  const loop = aLoop(clock, () => new Promise((resolve) => (endTick = () => resolve(null))))
  loop.start()
  await clock.settle()
  let isStopped = false
  const stopped = loop.stop().then(() => {
    isStopped = true
  })
  await clock.settle()
  expect(isStopped).toBe(false)
  endTick()
  await stopped
})

test('after its end nothing makes it tick, neither a timer nor a wake-up nor the end of a tick', async () => {
  const clock = createVirtualClock()
  const { ticks, tick } = aTick(clock, () => after(clock.now(), SECOND))
  const loop = aLoop(clock, tick)
  loop.start()
  await clock.settle()
  await loop.stop()
  loop.wake()
  loop.wakeBy(after(START, SECOND))
  loop.start()
  await clock.runFor(HOUR)
  expect(ticks).toEqual([0])
})

test.each([
  ['at once', 0],
  ['later', SECOND],
])('an end during a tick is the end, though the tick asks for another %s', async (_when, inMs) => {
  const clock = createVirtualClock()
  const ticks: number[] = []
  let stopped: Promise<void> | null = null
  const loop = aLoop(clock, async () => {
    ticks.push(clock.now() - START)
    stopped ??= loop.stop()
    return after(clock.now(), inMs)
  })
  loop.start()
  await clock.runFor(HOUR)
  await stopped
  expect(ticks).toEqual([0])
})

test('a sleeping loop that is stopped leaves no timer behind', async () => {
  const virtual = createVirtualClock()
  let timers = 0
  const clock: Clock = {
    ...virtual,
    wakeAt(at, wake) {
      timers += 1
      const callOff = virtual.wakeAt(at, wake)
      return () => {
        timers -= 1
        callOff()
      }
    },
  }
  const loop = aLoop(clock, async () => null)
  loop.start()
  await virtual.settle()
  expect(timers).toBe(1)
  await loop.stop()
  expect(timers).toBe(0)
})

test('a clock that is set back by a day makes it sleep no longer than its net', async () => {
  let now = START
  let wake = () => {}
  const clock: Pick<Clock, 'now' | 'soon' | 'wakeAt'> = {
    now: () => now,
    soon: (run: () => void) => run(),
    wakeAt: (_at, run) => {
      wake = run
      return () => {}
    },
  }
  let ticks = 0
  const tick = async () => {
    ticks += 1
    return null
  }
  const loop = createLoop('test', tick, { clock, log: SILENT, idleMs: 10 * SECOND, failureMs: SECOND })
  loop.start()
  await new Promise((resolve) => setImmediate(resolve))
  now = after(START, -24 * HOUR)
  wake()
  now = after(now, 10 * SECOND)
  wake()
  await new Promise((resolve) => setImmediate(resolve))
  expect(ticks).toBe(2)
  await loop.stop()
})

test('the end of each tick is told, of one that failed too', async () => {
  const clock = createVirtualClock()
  const told: number[] = []
  let count = 0
  const loop = aLoop(
    clock,
    async () => {
      count += 1
      if (count === 1) throw new Error('a bug')
      return null
    },
    { onTick: () => void told.push(clock.now() - START) },
  )
  loop.start()
  await clock.runFor(2 * SECOND)
  expect(told).toEqual([0, 1_000])
  await loop.stop()
})
