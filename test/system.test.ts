/** The real clock over sources that a test sets: even, whatever the wall clock does, and awake to sleep. */

import { expect, test } from 'vitest'
import { after, DAY, HOUR, MINUTE, SECOND } from '../src/core/time.ts'
import { createClock, systemClock, systemNewId } from '../src/system.ts'

const START = 1_767_225_600_000

function aMachine() {
  const ms = { wall: START, steady: 5_000, uptime: 90 * MINUTE }
  const clock = createClock({ wallMs: () => ms.wall, steadyMs: () => ms.steady, uptimeMs: () => ms.uptime })
  const pass = (passedMs: number) => {
    ms.wall += passedMs
    ms.steady += passedMs
    ms.uptime += passedMs
  }
  /** As Linux does: the steady clock stands still. */
  const sleep = (sleptMs: number) => {
    ms.wall += sleptMs
    ms.uptime += sleptMs
  }
  return { ms, clock, pass, sleep }
}

test('starts at the wall clock, and goes on evenly whatever that is set to', () => {
  const { ms, clock, pass } = aMachine()
  pass(MINUTE)
  expect([clock.now(), clock.wall()]).toEqual([START + MINUTE, START + MINUTE])
  ms.wall -= HOUR
  pass(0.75)
  expect([clock.now(), clock.wall()]).toEqual([START + MINUTE, START + MINUTE - HOUR])
  ms.wall = 0
  pass(MINUTE)
  expect([clock.now(), clock.wall()]).toEqual([START + 2 * MINUTE, MINUTE])
  expect(clock.countSleep()).toBe(0)
  clock.moveBy(-HOUR)
  expect(clock.now()).toBe(START + 2 * MINUTE - HOUR)
})

test('sleep is counted once, and only when it is asked for', () => {
  const { clock, pass, sleep } = aMachine()
  sleep(HOUR)
  expect(clock.now()).toBe(START)
  expect([clock.countSleep(), clock.countSleep()]).toEqual([HOUR, 0])
  expect(clock.now()).toBe(clock.wall())
  pass(MINUTE)
  sleep(3 * HOUR)
  expect(clock.countSleep()).toBe(3 * HOUR)
  expect(clock.now()).toBe(clock.wall())
})

test('an uptime that is rounded is no sleep, and naps are counted when they have added up', () => {
  const { ms, clock, sleep } = aMachine()
  ms.uptime += 999
  expect(clock.countSleep()).toBe(0)
  ms.uptime -= 999
  for (let nap = 0; nap < 3; nap += 1) sleep(SECOND)
  expect([clock.countSleep(), clock.now()]).toEqual([3 * SECOND, START + 3 * SECOND])
})

test('a wake-up comes when its time has passed, and at once when it has gone by', async () => {
  const from = systemClock.now()
  await new Promise<void>((resolve) => systemClock.wakeAt((from + 30) as typeof from, resolve))
  expect(systemClock.now() - from).toBeGreaterThanOrEqual(29)
  const late = systemClock.now()
  await new Promise<void>((resolve) => systemClock.wakeAt(from, resolve))
  expect(systemClock.now() - late).toBeLessThan(SECOND)
  expect(Math.abs(systemClock.wall() - systemClock.now())).toBeLessThan(SECOND)
})

test('ids go to the end of their index in the order of their making, also within a millisecond', () => {
  const ids = Array.from({ length: 5_000 }, () => systemNewId('task'))
  expect(ids.toSorted()).toEqual(ids)
})

test('no two ids are alike, also of one instant, and however many are made', () => {
  const ids = Array.from({ length: 2_000 }, () => systemNewId('task'))
  expect(new Set(ids.map((id) => id.slice(-16))).size).toBe(2_000)
})

test('an instant further away than a timer goes is far away, and a wake-up that was called off does not come', async () => {
  const woken: string[] = []
  const callOff = [
    systemClock.wakeAt(after(systemClock.now(), 60 * DAY), () => void woken.push('far')),
    systemClock.wakeAt(after(systemClock.now(), 5), () => void woken.push('called off')),
  ]
  callOff[1]?.()
  await new Promise<void>((resolve) => void systemClock.wakeAt(after(systemClock.now(), 20), resolve))
  expect(woken).toEqual([])
  callOff[0]?.()
})
