/** Loops that fail, fall silent or are held up: one bad tick ends nothing, a silent loop ends the process, a nap does not. */

import { describe, expect, test } from 'vitest'
import { after, MINUTE, SECOND } from '../../src/core/time.ts'
import { createLoop } from '../../src/engine/loop.ts'
import { createWatchdog, type WatchdogDeps } from '../../src/engine/watchdog.ts'
import type { Clock, Log } from '../../src/ports.ts'
import { START } from '../support/store.ts'
import { createVirtualClock } from '../support/virtual-clock.ts'

function aLog() {
  const events: string[] = []
  const at = (fields: { event: string }) => void events.push(fields.event)
  const log: Log = { debug: at, info: at, warn: at, error: at }
  return { log, events }
}

test('F23 a tick that throws is logged, and the loop goes on with the next', async () => {
  const clock = createVirtualClock()
  const { log, events } = aLog()
  const ticks: number[] = []
  const tick = async () => {
    ticks.push(clock.now() - START)
    if (ticks.length <= 3) throw new Error('a bug')
    return null
  }
  const loop = createLoop('scheduler', tick, { clock, log, idleMs: 10 * SECOND, failureMs: SECOND })
  loop.start()
  await clock.runFor(25 * SECOND)
  expect(ticks).toEqual([0, SECOND, 2 * SECOND, 3 * SECOND, 10 * SECOND, 20 * SECOND])
  expect(events).toEqual(['loop.failed', 'loop.failed', 'loop.failed'])
  await loop.stop()
})

describe('F24 a watchdog', () => {
  function aWatchdog(clock: Pick<Clock, 'now' | 'wakeAt'>, differences: Partial<WatchdogDeps> = {}) {
    const stalls: string[] = []
    const { log, events } = aLog()
    const deps = {
      clock,
      log,
      cpuMs: () => 0,
      isExcused: () => false,
      onStalled: (what: string) => void stalls.push(what),
    }
    const watchdog = createWatchdog({ ...deps, ...differences }, { silentMsMax: MINUTE })
    return { watchdog, stalls, events }
  }

  test('says nothing while its loops tick, and ends the process once when one of them has died', async () => {
    const clock = createVirtualClock()
    const { watchdog, stalls } = aWatchdog(clock)
    const [schedulerTicked, dispatcherTicked] = [watchdog.watch('scheduler'), watchdog.watch('dispatcher')]
    watchdog.start()
    for (let count = 0; count < 100; count += 1) {
      await clock.runFor(5 * SECOND)
      schedulerTicked()
      dispatcherTicked()
    }
    expect([stalls, watchdog.silentLoops()]).toEqual([[], []])
    for (let count = 0; count < 8; count += 1) {
      await clock.runFor(5 * SECOND)
      schedulerTicked()
    }
    expect([stalls, watchdog.silentLoops()]).toEqual([[], ['dispatcher']])
    for (let count = 0; count < 20; count += 1) {
      await clock.runFor(5 * SECOND)
      schedulerTicked()
    }
    expect(stalls).toEqual(['the dispatcher has not ticked for 60 s'])
  })

  test('waits with a loop that waits for something outside', async () => {
    const clock = createVirtualClock()
    const { watchdog, stalls } = aWatchdog(clock, { isExcused: () => true })
    watchdog.watch('scheduler')
    watchdog.start()
    await clock.runFor(10 * MINUTE)
    expect(stalls).toEqual([])
    watchdog.stop()
  })

  /** A clock whose next wake-up comes late by as much as a test says. */
  function aLateClock() {
    let now = START
    let wakeUp = () => {}
    const wakeAt: Clock['wakeAt'] = (_at, wake) => {
      wakeUp = wake
      return () => {}
    }
    const jump = (ms: number) => {
      now = after(now, ms)
      wakeUp()
    }
    return { clock: { now: () => now, wakeAt }, jump }
  }

  test('F19 takes a machine that slept for no loop that died', () => {
    const { clock, jump } = aLateClock()
    const { watchdog, stalls, events } = aWatchdog(clock)
    watchdog.watch('scheduler')
    watchdog.start()
    jump(10 * MINUTE)
    expect([stalls, events]).toEqual([[], ['watchdog.halted']])
  })

  test('F20 ends a process whose event loop was held up by its own work', () => {
    const { clock, jump } = aLateClock()
    let cpuMs = 0
    const { watchdog, stalls } = aWatchdog(clock, { cpuMs: () => cpuMs })
    watchdog.watch('scheduler')
    watchdog.start()
    cpuMs = 2 * MINUTE
    jump(2 * MINUTE)
    expect(stalls).toHaveLength(1)
  })
})
