/** The rules of instants and durations. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DAY,
  earliest,
  epochMs,
  formatDuration,
  HOUR,
  after as instantAfter,
  latest,
  MINUTE,
  parseDuration,
  parseHttpDate,
  parseIso,
  SECOND,
  toIso,
  toUnixSeconds,
} from '../../src/core/time.ts'
import { at, NOW } from './builders.ts'

const LAST_INSTANT = 8_640_000_000_000_000

describe('an instant', () => {
  test('is cut to whole milliseconds', () => {
    expect(epochMs(1_700_000_000_123.9)).toBe(1_700_000_000_123)
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, LAST_INSTANT + 1, -LAST_INSTANT - 1])(
    'is never %s',
    (value) => {
      expect(() => epochMs(value)).toThrow(new RangeError(`not an instant: ${value}`))
    },
  )

  test('after any duration is an instant that can be written, never one past the last', () => {
    fc.assert(
      fc.property(fc.nat(LAST_INSTANT), fc.double({ min: 0, noNaN: true }), (start, durationMs) => {
        const end = instantAfter(epochMs(start), durationMs)
        expect(end).toBeGreaterThanOrEqual(start)
        expect(toIso(end)).toMatch(/Z$/)
      }),
    )
    expect(instantAfter(NOW, Number.POSITIVE_INFINITY)).toBe(LAST_INSTANT)
    expect(instantAfter(NOW, 1_500)).toBe(NOW + 1_500)
  })

  test('of two, the earliest and the latest are what they say', () => {
    const [early, late] = [at(0), at(1)]
    expect([earliest(early, late), earliest(late, early), earliest(early, early)]).toEqual([early, early, early])
    expect([latest(early, late), latest(late, early), latest(late, late)]).toEqual([late, late, late])
  })

  test('is rounded down to seconds for the webhook header', () => {
    expect(toUnixSeconds(epochMs(1_700_000_000_999))).toBe(1_700_000_000)
  })
})

describe('ISO text', () => {
  test('reads back as the instant it was written from', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
        (date) => {
          expect(parseIso(toIso(epochMs(date.getTime())))).toBe(date.getTime())
        },
      ),
    )
  })

  test.each([
    ['2026-01-15T12:00Z', '2026-01-15T12:00:00.000Z'],
    ['2026-01-15T12:00:00+02:00', '2026-01-15T10:00:00.000Z'],
    ['2026-01-15T12:00:00-23:59', '2026-01-16T11:59:00.000Z'],
    ['2026-01-15T12:00:00.123456789Z', '2026-01-15T12:00:00.123Z'],
    ['2026-01-15t12:00:00z', '2026-01-15T12:00:00.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ])('%s is %s', (text, iso) => {
    const instant = parseIso(text)
    expect(instant).not.toBeNull()
    expect(toIso(instant!)).toBe(iso)
  })

  test.each([
    '',
    'tomorrow',
    '1768478400000',
    '2026-01-15',
    '2026-01-15T12:00:00',
    '2026-01-15 12:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-01-32T00:00:00Z',
    '2026-01-15T25:00:00Z',
    '2026-01-15T12:60:00Z',
    '2026-01-15T12:00:00+99:99',
    '2026-01-15T12:00:00Z; drop',
    '+002026-01-15T12:00:00Z',
  ])('%j is none', (text) => {
    expect(parseIso(text)).toBeNull()
  })

  // ECMAScript engines roll these over into the next month.
  test.each(['2026-02-29T00:00:00Z', '2026-02-30T12:00:00+02:00', '2026-04-31T00:00:00Z'])(
    'a day that the calendar does not have is none: %s',
    (text) => {
      expect(parseIso(text)).toBeNull()
    },
  )
})

describe('an HTTP date', () => {
  const instant = Date.UTC(1994, 10, 6, 8, 49, 37)

  test.each([
    ['the preferred form', 'Sun, 06 Nov 1994 08:49:37 GMT'],
    ['the RFC 850 form', 'Sunday, 06-Nov-94 08:49:37 GMT'],
    ['the asctime form', 'Sun Nov  6 08:49:37 1994'],
  ])('is read in %s, as RFC 9110 §5.6.7 demands of every recipient', (_form, text) => {
    expect(parseHttpDate(text)).toBe(instant)
  })

  test('of any instant reads back in whole seconds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => {
        const date = new Date(seconds * SECOND)
        expect(parseHttpDate(date.toUTCString())).toBe(date.getTime())
      }),
    )
  })

  test.each([
    '',
    'soon',
    '2026-01-15T12:00:00Z',
    '06 Nov 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, xx GMT',
  ])('%j is none', (text) => {
    expect(parseHttpDate(text)).toBeNull()
  })

  test('text of any kind is an instant or none, never an exception', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const parsed of [parseHttpDate(text), parseHttpDate(`Sun, ${text} GMT`), parseIso(text)]) {
          if (parsed !== null) expect(Number.isSafeInteger(parsed)).toBe(true)
        }
      }),
    )
  })
})

describe('a duration', () => {
  test.each([
    ['500ms', 500],
    ['0s', 0],
    ['30s', 30 * SECOND],
    ['1.5s', 1_500],
    ['5m', 5 * MINUTE],
    ['2h', 2 * HOUR],
    ['0.5h', 30 * MINUTE],
    ['7d', 7 * DAY],
    [' 10s ', 10 * SECOND],
  ])('%j is %i ms', (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs)
  })

  test.each([
    '',
    's',
    '5',
    'soon',
    '-5s',
    '+5s',
    '5 s',
    '1h30m',
    '5S',
    '1e3s',
    '.5s',
    '5.s',
    '5w',
    'Infinityms',
    '5constructor',
  ])('%j is none', (text) => {
    expect(parseDuration(text)).toBeNull()
  })

  test.each([
    [0, '0s'],
    [1, '1ms'],
    [999, '999ms'],
    [90 * SECOND, '90s'],
    [5 * MINUTE, '5m'],
    [2 * HOUR, '2h'],
    [36 * HOUR, '36h'],
    [7 * DAY, '7d'],
    [HOUR + 1, '3600001ms'],
  ])('of %i ms is written %s', (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text)
  })

  test('reads back exactly as it was written, up to thirty years', () => {
    const units = fc.constantFrom(1, SECOND, MINUTE, HOUR, DAY)
    fc.assert(
      fc.property(units, fc.nat(10_000), (unitMs, count) => {
        expect(parseDuration(formatDuration(unitMs * count))).toBe(unitMs * count)
      }),
    )
    fc.assert(
      fc.property(fc.nat(30 * 365 * DAY), (durationMs) => {
        expect(parseDuration(formatDuration(durationMs))).toBe(durationMs)
      }),
    )
  })
})
