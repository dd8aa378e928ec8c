/** The watchdog's own state: what it counts from, and that a nap is not the end of its watch. */

import { expect, test } from 'vitest'
import { after, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createWatchdog, type WatchdogDeps } from '../../src/engine/watchdog.ts'
import type { Clock, Log } from '../../src/ports.ts'
import { START } from '../support/store.ts'

const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** A watchdog whose looks come when a test says so, as late as it says. */
function aWatchdog(differences: Partial<WatchdogDeps> = {}) {
  let now = START
  let wakeUp: (() => void) | null = null
  const clock: Pick<Clock, 'now' | 'wakeAt'> = {
    now: () => now,
    wakeAt(_at, wake) {
      wakeUp = wake
      return () => {
        wakeUp = null
      }
    },
  }
  const stalls: string[] = []
  const onStalled = (what: string) => void stalls.push(what)
  const deps = { clock, log: SILENT, cpuMs: () => 0, isExcused: () => false, onStalled, ...differences }
  const watchdog = createWatchdog(deps, { silentMsMax: MINUTE })
  const lookAfter = (ms: number) => {
    now = after(now, ms)
    const wake = wakeUp
    wakeUp = null
    wake?.()
  }
  return { watchdog, stalls, lookAfter }
}

test('a loop that never ticked at all is missed like one that has stopped', () => {
  const { watchdog, stalls, lookAfter } = aWatchdog()
  watchdog.watch('scheduler')
  watchdog.start()
  for (let look = 0; look < 10; look += 1) lookAfter(10 * SECOND)
  expect(stalls).toEqual(['the scheduler has not ticked for 60 s'])
})

test('after a nap it goes on watching', () => {
  const { watchdog, stalls, lookAfter } = aWatchdog()
  watchdog.watch('scheduler')
  watchdog.start()
  lookAfter(HOUR)
  expect(stalls).toEqual([])
  for (let look = 0; look < 10; look += 1) lookAfter(10 * SECOND)
  expect(stalls).toEqual(['the scheduler has not ticked for 60 s'])
})

test('what the program computed before a nap is not held against it', () => {
  let cpuMs = 10 * HOUR
  const { watchdog, stalls, lookAfter } = aWatchdog({ cpuMs: () => cpuMs })
  const ticked = watchdog.watch('scheduler')
  watchdog.start()
  for (let look = 0; look < 3; look += 1) {
    ticked()
    cpuMs += 5 * SECOND
    lookAfter(10 * SECOND)
  }
  lookAfter(HOUR)
  expect(stalls).toEqual([])
})

test('once stopped it looks no more', () => {
  const { watchdog, stalls, lookAfter } = aWatchdog()
  watchdog.watch('scheduler')
  watchdog.start()
  lookAfter(10 * SECOND)
  watchdog.stop()
  for (let look = 0; look < 10; look += 1) lookAfter(10 * SECOND)
  expect(stalls).toEqual([])
})
