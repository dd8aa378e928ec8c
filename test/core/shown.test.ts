/** What messages show of what they were given. */

import { expect, test } from 'vitest'
import { escaped, pointerToken, printable, shown } from '../../src/core/shown.ts'

test.each([
  [null, 'null'],
  [undefined, 'undefined'],
  [7, '7'],
  [true, 'true'],
  [[1, 2], 'a list'],
  [{ secret: 1 }, 'an object'],
  ['a "b"', '"a \\"b\\""'],
  ['x'.repeat(101), `"${'x'.repeat(100)}…"`],
  ['a\u202eb\u{e0001}\ud800', '"a\\u202eb\\udb40\\udc01\\ud800"'],
])('%j is shown as %s', (value, text) => {
  expect(shown(value)).toBe(text)
})

test('text of others is cut and has no character that acts on a terminal or turns the reading order', () => {
  expect(printable(`\u001b[2J${'y'.repeat(200)}`)).toBe(`\\u001b[2J${'y'.repeat(96)}…`)
  expect(escaped(`z\u2066${'z'.repeat(200)}`)).toBe(`z\\u2066${'z'.repeat(200)}`)
})

test('a name in a pointer is escaped as RFC 6901 §3 wants it, and cut', () => {
  expect(pointerToken('a/b~c')).toBe('a~1b~0c')
  expect(pointerToken('k'.repeat(101))).toBe('k'.repeat(100))
})
