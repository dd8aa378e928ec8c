/** What is remembered of a clock that was set forward: enough that nothing is forgotten early, and not for ever. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { afterMove, asItShowed, type MovedClock } from '../../src/core/moved-clock.ts'
import { DAY, type EpochMs, epochMs, HOUR } from '../../src/core/time.ts'
import { START } from '../support/store.ts'

const at = (ms: number): EpochMs => epochMs(START + ms)
const YEARS = 14 * 365 * DAY

test('what was noted before the clock was set is as old as it really is', () => {
  // Set forward by years, a second after something was noted.
  const moved = afterMove(null, at(YEARS), YEARS)
  const monthAgo = (now: EpochMs) => asItShowed(epochMs(now - 30 * DAY), moved)
  expect(monthAgo(at(YEARS + DAY))).toBeLessThan(START)
  expect(monthAgo(at(YEARS + 29 * DAY))).toBeLessThan(START)
  expect(monthAgo(at(YEARS + 31 * DAY))).toBeGreaterThan(START)
})

test('set forward and back again is as if nothing had been', () => {
  const there = afterMove(null, at(YEARS), YEARS)
  expect(afterMove(there, at(HOUR), -YEARS)).toBeNull()
})

test('set back by too little leaves the rest', () => {
  const there = afterMove(null, at(YEARS), YEARS)
  expect(afterMove(there, at(2 * DAY), 2 * DAY - YEARS)).toEqual({ at: at(2 * DAY), byMs: 2 * DAY })
})

test('hours are not remembered, and do not add up', () => {
  let moved: MovedClock | null = null
  for (let night = 0; night < 100; night += 1) moved = afterMove(moved, at(night * DAY), 8 * HOUR)
  expect(moved).toBeNull()
  expect(asItShowed(at(0), moved)).toBe(at(0))
})

test('of any number of moves forward, nothing is taken for older than it is', () => {
  const steps = fc.array(fc.record({ waitMs: fc.nat(30 * DAY), byMs: fc.integer({ min: DAY, max: YEARS }) }), {
    maxLength: 6,
  })
  fc.assert(
    fc.property(steps, fc.nat(60 * DAY), (moves, retentionMs) => {
      let now: number = START
      let trueMs = 0
      let moved: MovedClock | null = null
      const noted = [{ at: now, trueMs: 0 }]
      for (const { waitMs, byMs } of moves) {
        now += waitMs + byMs
        trueMs += waitMs
        moved = afterMove(moved, epochMs(now), byMs)
        noted.push({ at: now, trueMs })
      }
      const before = asItShowed(epochMs(now - retentionMs), moved)
      for (const one of noted) if (one.at < before) expect(trueMs - one.trueMs).toBeGreaterThanOrEqual(retentionMs)
    }),
  )
})
