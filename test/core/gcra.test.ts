/** The rate as one instant: in every window no more than rate × window and what the tolerance lets go early; and no less. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type GcraPace, grantAt, heldArrival, spentArrival } from '../../src/core/gcra.ts'
import { type EpochMs, epochMs } from '../../src/core/time.ts'
import { at, NOW } from './builders.ts'

const aPace = fc.record({
  spacingMs: fc.double({ min: 0.1, max: 5_000, noNaN: true }),
  toleranceMs: fc.double({ min: 0, max: 500, noNaN: true }),
})

/** All that leaves within `spanMs` when whoever asks comes back when told to, up to `lateMs(n)` late. */
function departures(pace: GcraPace, spanMs: number, lateMs: (index: number) => number): readonly EpochMs[] {
  const left: EpochMs[] = []
  let arrivalAt: number = NOW
  let now: EpochMs = NOW
  for (let index = 0; now - NOW < spanMs; index += 1) {
    const { grantedCount, nextGrantAt } = grantAt(arrivalAt, pace, now, 1_000_000)
    arrivalAt = spentArrival(arrivalAt, pace, now, grantedCount)
    for (let count = 0; count < grantedCount; count += 1) left.push(now)
    const next = grantedCount > 0 ? grantAt(arrivalAt, pace, now, 1).nextGrantAt : nextGrantAt
    now = epochMs(next + lateMs(index))
  }
  return left
}

test('in every window there is no more than its share, and what the tolerance lets go early', () => {
  fc.assert(
    fc.property(aPace, fc.array(fc.nat(3_000), { minLength: 1, maxLength: 20 }), (pace, lates) => {
      const left = departures(pace, 60 * pace.spacingMs, (index) => lates[index % lates.length]!)
      for (const [first, start] of left.entries()) {
        const last = left.length - 1
        const windowMs = left[last]! - start
        expect(last - first).toBeLessThanOrEqual((windowMs + pace.toleranceMs) / pace.spacingMs + 0.01)
      }
    }),
    { numRuns: 200 },
  )
})

test('whoever comes a little late, within the tolerance, still gets the whole rate', () => {
  fc.assert(
    fc.property(fc.double({ min: 2, max: 2_000, noNaN: true }), (spacingMs) => {
      const spanMs = 500 * spacingMs
      const left = departures({ spacingMs, toleranceMs: 100 }, spanMs, (index) => (index * 37) % 50)
      expect(left.length).toBeGreaterThanOrEqual(500 - 100 / spacingMs - 2)
      expect(left.length).toBeLessThanOrEqual(500 + 150 / spacingMs + 2)
    }),
    { numRuns: 50 },
  )
})

test('no spacing lets everything go', () => {
  expect(grantAt(NOW, { spacingMs: 0, toleranceMs: 0 }, NOW, 7).grantedCount).toBe(7)
})

test('nothing goes before what it is held until, and then one', () => {
  const pace = { spacingMs: 100, toleranceMs: 50 }
  const held = heldArrival(NOW, pace.toleranceMs, at(1_000))
  expect(grantAt(held, pace, at(999), 1)).toEqual({ grantedCount: 0, nextGrantAt: at(1_000) })
  expect(grantAt(held, pace, at(1_000), 5).grantedCount).toBe(1)
})

test('being held never brings forward what has to wait longer by its rate', () => {
  const pace = { spacingMs: 100, toleranceMs: 0 }
  expect(heldArrival(at(5_000), pace.toleranceMs, at(1_000))).toBe(at(5_000))
})
