/** How many attempts at once: fewer after failures, more after successes, nothing kept of whoever works. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Allowance,
  allowanceAfter,
  allowedSlots,
  bearingOf,
  endpointPace,
  holdMs,
  isSlow,
  restMs,
} from '../../src/core/allowance.ts'
import { DAY, epochMs, MINUTE, SECOND } from '../../src/core/time.ts'

function after(ends: readonly boolean[], max: number, from: Allowance = null): readonly number[] {
  let slots = from
  return ends.map((isSuccess) => {
    slots = allowanceAfter(slots, max, isSuccess)
    return allowedSlots(slots, max)
  })
}

test('each failure halves what may be under way at once, down to one', () => {
  expect(after([false, false, false, false], 8)).toEqual([4, 2, 1, 1])
})

test('each success doubles it, up to the maximum, of which nothing is kept', () => {
  expect(after([true, true, true, true], 8, 1)).toEqual([2, 4, 8, 8])
  expect(allowanceAfter(4, 8, true)).toBeNull()
  expect(allowanceAfter(null, 8, true)).toBeNull()
})

test('it is always at least one and never above the maximum, also when that was lowered', () => {
  const someEnds = fc.array(fc.boolean(), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(
      someEnds,
      fc.integer({ min: 1, max: 64 }),
      fc.option(fc.integer({ min: 1, max: 64 })),
      (ends, max, from) => {
        for (const allowed of after(ends, max, from)) {
          expect(allowed).toBeGreaterThanOrEqual(1)
          expect(allowed).toBeLessThanOrEqual(max)
        }
      },
    ),
  )
})

test('one bad answer in ten leaves a receiver nearly all it may have', () => {
  const ends = Array.from({ length: 1_000 }, (_, index) => index % 10 !== 0)
  const allowed = after(ends, 8)
  expect(allowed.reduce((sum, one) => sum + one, 0) / allowed.length).toBeGreaterThan(7)
})

test('whoever fails for long rests for a quarter of that time, a quarter of a minute at most', () => {
  expect(restMs(0)).toBe(0)
  expect(restMs(8 * SECOND)).toBe(2 * SECOND)
  expect(restMs(5 * DAY)).toBe(15 * SECOND)
  expect(restMs(-SECOND)).toBe(0)
})

test('a receiver that refuses at once is asked some ninety times in the first ten minutes, not at full speed', () => {
  let now = 0
  let asked = 0
  while (now < 10 * MINUTE) {
    asked += 1
    now += 2 + restMs(now)
  }
  expect(asked).toBeLessThan(100)
})

test.each([
  [{ kind: 'response', status: 204, retryAfter: null }, 'well'],
  [{ kind: 'response', status: 302, retryAfter: null }, 'answering'],
  [{ kind: 'response', status: 404, retryAfter: null }, 'answering'],
  [{ kind: 'response', status: 429, retryAfter: '5' }, 'overloaded'],
  [{ kind: 'response', status: 500, retryAfter: null }, 'answering'],
  [{ kind: 'response', status: 503, retryAfter: null }, 'overloaded'],
  [{ kind: 'no_response', reason: 'timeout', detail: '-' }, 'silent'],
  [{ kind: 'no_response', reason: 'connect', detail: '-' }, 'silent'],
  [{ kind: 'no_response', reason: 'dns', detail: '-' }, 'silent'],
  [{ kind: 'no_response', reason: 'tls', detail: '-' }, 'silent'],
  [{ kind: 'no_response', reason: 'blocked_address', detail: '-' }, 'silent'],
  [{ kind: 'no_response', reason: 'reset', detail: '-' }, 'answering'],
  [{ kind: 'no_response', reason: 'protocol', detail: '-' }, 'answering'],
  [{ kind: 'own_fault', reason: 'our_dns', detail: '-' }, null],
] as const)('%j shows how the receiver bears it: %s', (result, bearing) => {
  expect(bearingOf(result)).toBe(bearing)
})

test('no rate is no spacing, and whoever only fails is sent at most a hundred a second, twenty after ten seconds', () => {
  const spacings = (failingMs: number | null) => [null, 200, 0.5].map((rate) => endpointPace(rate, failingMs).spacingMs)
  expect(spacings(null)).toEqual([0, 5, 2_000])
  expect(spacings(SECOND - 1)).toEqual([0, 5, 2_000])
  expect(spacings(SECOND)).toEqual([10, 10, 2_000])
  expect(spacings(10 * SECOND - 1)).toEqual([10, 10, 2_000])
  expect(spacings(10 * SECOND)).toEqual([50, 50, 2_000])
})

test('slow is what takes longer than a second, and stays it until it takes half a second', () => {
  expect([0, 1_000, 1_001].map((durationMs) => isSlow(durationMs, false))).toEqual([false, false, true])
  expect([0, 500, 501].map((durationMs) => isSlow(durationMs, true))).toEqual([false, false, true])
})

test('Retry-After of a 429 or a 503 holds up a whole endpoint for as long as it says, but no longer than a minute', () => {
  const now = epochMs(Date.UTC(2026, 10, 22, 12))
  const held = (status: number, retryAfter: string | null) => holdMs({ kind: 'response', status, retryAfter }, now)
  expect([held(429, '40'), held(503, 'Sun, 22 Nov 2026 12:00:05 GMT')]).toEqual([40 * SECOND, 5 * SECOND])
  expect([held(429, '61'), held(503, '9'.repeat(200))]).toEqual([MINUTE, MINUTE])
  expect([held(429, null), held(429, 'soon'), held(429, '0'), held(500, '40'), held(200, '40')]).toEqual([
    0, 0, 0, 0, 0,
  ])
  expect(holdMs({ kind: 'no_response', reason: 'timeout', detail: '' }, now)).toBe(0)
})
