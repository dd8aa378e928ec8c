/** When a running task is asked about again. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cadence } from '../../src/core/cadence.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'

const settings = { intervalMinMs: SECOND, intervalMaxMs: MINUTE }

const anyAge = fc.integer({ min: 0, max: 30 * DAY })
const anySettings = fc
  .tuple(fc.integer({ min: 1, max: HOUR }), fc.integer({ min: 1, max: HOUR }))
  .map(([a, b]) => ({ intervalMinMs: Math.min(a, b), intervalMaxMs: Math.max(a, b) }))

describe('the wait before the next ask', () => {
  test('keeps its bounds and is whole, for any age and any settings', () => {
    fc.assert(
      fc.property(anyAge, anySettings, (ageMs, bounds) => {
        const { delayMs } = cadence({ ageMs, settings: bounds })
        expect(Number.isSafeInteger(delayMs)).toBe(true)
        expect(delayMs).toBeGreaterThanOrEqual(bounds.intervalMinMs)
        expect(delayMs).toBeLessThanOrEqual(bounds.intervalMaxMs)
      }),
    )
  })

  test('never shrinks as the task gets older', () => {
    fc.assert(
      fc.property(anyAge, anyAge, anySettings, (a, b, bounds) => {
        const younger = cadence({ ageMs: Math.min(a, b), settings: bounds })
        const older = cadence({ ageMs: Math.max(a, b), settings: bounds })
        expect(younger.delayMs).toBeLessThanOrEqual(older.delayMs)
      }),
    )
  })

  test('is the shortest at first and the longest in the end', () => {
    expect(cadence({ ageMs: 0, settings }).delayMs).toBe(settings.intervalMinMs)
    expect(cadence({ ageMs: DAY, settings }).delayMs).toBe(settings.intervalMaxMs)
  })
})

describe('asking again and again', () => {
  const unbounded = { intervalMinMs: SECOND, intervalMaxMs: 30 * DAY }

  function askCount(durationMs: number): { count: number; lateMs: number } {
    let ageMs = 0
    let count = 0
    while (ageMs < durationMs) {
      ageMs += cadence({ ageMs, settings: unbounded }).delayMs
      count += 1
    }
    return { count, lateMs: ageMs - durationMs }
  }

  test('takes a number of asks that grows with the logarithm of how long the task takes', () => {
    // Seven asks a second apart, until 15 % of the age is longer than a second; from then on each grows by 15 %.
    const askCountMax = (durationMs: number) =>
      8 + Math.ceil(Math.log(Math.max(1, durationMs / (7 * SECOND))) / Math.log(1.15))
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 * DAY }), (durationMs) => {
        expect(askCount(durationMs).count).toBeLessThanOrEqual(askCountMax(durationMs))
      }),
    )
    expect(askCount(DAY).count).toBeLessThan(80)
  })

  test('is late by no more than the shortest wait or 15 % of what the task took', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 * DAY }), (durationMs) => {
        expect(askCount(durationMs).lateMs).toBeLessThanOrEqual(Math.max(SECOND, 0.15 * durationMs) + 1)
      }),
    )
  })
})

test('the reason says in words how long the task has been running', () => {
  expect(cadence({ ageMs: 0, settings }).reason).toBe('running for 0s')
  expect(cadence({ ageMs: 90_400, settings }).reason).toBe('running for 90s')
  expect(cadence({ ageMs: 2 * HOUR + 300, settings }).reason).toBe('running for 2h')
})
