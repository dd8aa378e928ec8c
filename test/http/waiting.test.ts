/** Answers that wait: until what they wait for, until the time is up, and not until a clock is where it was. */

import { expect, test } from 'vitest'
import { type EpochMs, epochMs, HOUR, SECOND } from '../../src/core/time.ts'
import { createWaitingRoom } from '../../src/http/waiting.ts'
import { START } from '../support/store.ts'

/** A clock that shows what it is told to at each wake-up. */
function aRoom(shownAt: (wakeAt: EpochMs, count: number) => EpochMs) {
  let now = START
  let count = 0
  const clock = {
    now: () => now,
    wakeAt(at: EpochMs, wake: () => void) {
      count += 1
      now = shownAt(at, count)
      const timer = setImmediate(wake)
      return () => clearImmediate(timer)
    },
  }
  return createWaitingRoom({ clock })
}

/** How many looks a wait of ten seconds takes for what never comes. */
async function looksOf(room: ReturnType<typeof aRoom>): Promise<number> {
  let looks = 0
  const look = async () => {
    looks += 1
    return looks
  }
  const seen = await room.until(look, () => false, { ms: 10 * SECOND, left: new AbortController().signal })
  expect(seen, 'what was seen last').toBe(looks)
  return looks
}

test('a wait ends when its time is up', async () => {
  expect(await looksOf(aRoom((at) => at))).toBe(1 + (10 * SECOND) / 250)
})

test('a clock that was set back ends the wait', async () => {
  expect(await looksOf(aRoom((at, count) => epochMs(at - (count === 4 ? HOUR : 0))))).toBe(5)
})
