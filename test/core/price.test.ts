/** The shadow price of a query: rises until what is planned fits the rate, and comes back. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newPrice, type Price, priceAfter, priceFactor } from '../../src/core/price.ts'
import { epochMs, MINUTE, SECOND } from '../../src/core/time.ts'

const START = 1_767_225_600_000
const INTERVAL_MAX_MS = MINUTE

/** Many tasks that each wait by the root of the price, in one queue that the rate empties; the load by the minute. */
function aLoad(runningCounts: readonly number[], { rate = 10, waitMs = 2_000 } = {}) {
  let price = newPrice(epochMs(START))
  let now = START
  const factors: number[] = []
  const lateness: number[] = []
  const due: { at: number; waitMs: number }[] = []
  for (const count of runningCounts) {
    while (due.length < count) due.push({ at: now + (due.length * waitMs) / count, waitMs })
    due.length = count
    const until = now + MINUTE
    while (now < until) {
      due.sort((a, b) => a.at - b.at)
      const first = due[0]
      if (first === undefined || first.at > until) break
      now = Math.max(first.at, now + SECOND / rate)
      const late = { now: epochMs(Math.round(now)), waitMs: first.waitMs, lateMs: now - first.at }
      price = priceAfter(price, late, INTERVAL_MAX_MS)
      first.waitMs = Math.min(INTERVAL_MAX_MS, waitMs * Math.sqrt(priceFactor(price)))
      first.at = now + first.waitMs
      lateness.push(late.lateMs / late.waitMs)
    }
    now = Math.max(now, until)
    factors.push(priceFactor(price))
  }
  return { factors, lateness }
}

describe('the price', () => {
  test('is 1 while the rate suffices', () => {
    // Ten a second may be asked about, eight are.
    expect(aLoad([16, 16, 16]).factors).toEqual([1, 1, 1])
  })

  test('rises to where the planned asks fit the rate, stays there, and comes back when the load ends', () => {
    // A hundred tasks that want to be asked every two seconds, at ten queries a second: each gets one in ten seconds.
    const { factors, lateness } = aLoad([...Array(15).fill(100), ...Array(10).fill(4)])
    const settled = factors.slice(8, 15)
    for (const factor of settled) {
      expect(Math.sqrt(factor) * 2).toBeGreaterThan(6)
      expect(Math.sqrt(factor) * 2).toBeLessThan(12)
    }
    expect(factors.at(-1)).toBe(1)
    expect(Math.max(...lateness.slice(-20))).toBeLessThan(0.2)
  })

  test('does not rise without an end where no wait can grow any more', () => {
    const { factors } = aLoad(Array(30).fill(700))
    expect(factors.at(-1)).toBeLessThanOrEqual(1_000)
  })

  test('hardly moves by a few tasks that are late by hours: the daemon was off, or paused', () => {
    let price = newPrice(epochMs(START))
    for (let index = 1; index <= 50; index += 1) {
      price = priceAfter(price, { now: epochMs(START + index * 20), waitMs: 2_000, lateMs: 3_600_000 }, INTERVAL_MAX_MS)
    }
    expect(priceFactor(price)).toBeLessThan(1.01)
  })

  test('is 1 when nothing is known', () => {
    expect(priceFactor(null)).toBe(1)
  })

  test('is a number of at least 1 and at most 1000, whatever the clock and the tasks do', () => {
    const anything = fc.double({ min: -1e12, max: 1e12, noNaN: true })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 1e13 }), anything, anything)), (steps) => {
        let price: Price = newPrice(epochMs(START))
        for (const [now, waitMs, lateMs] of steps) {
          price = priceAfter(price, { now: epochMs(now), waitMs, lateMs }, INTERVAL_MAX_MS)
          expect(priceFactor(price)).toBeGreaterThanOrEqual(1)
          expect(priceFactor(price)).toBeLessThanOrEqual(1_000.001)
        }
      }),
    )
  })
})
