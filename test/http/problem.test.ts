/** Problems by themselves: whatever was thrown, they are finite, printable and say when to come again. */

import { expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { appErrorOf, failureResponse, problem } from '../../src/http/problem.ts'

test('nothing in a problem can turn the reading order, end a line or hide', () => {
  const text = 'a\u202eb\u0007c\u2028d\u200be'
  const fault = { pointer: '/x', code: 'x', message: text }
  const { detail, errors } = problem('invalid', text, 'r', [fault])
  for (const said of [detail, errors[0]?.message]) expect(said).toBe('a\\u202eb\\u0007c\\u2028d\\u200be')
})

test('an error that is its own cause comes to an end', () => {
  const error = new Error('round')
  error.cause = error
  expect(appErrorOf(error).code).toBe('internal')
})

test.each([
  [0, '1'],
  [1, '1'],
  [1_001, '2'],
])('to come again after %i ms is said as %s s: never at once', (retryAfterMs, seconds) => {
  const response = failureResponse(new AppError('throttled', 'full', { retryAfterMs }), 'r')
  expect(response.headers.get('retry-after')).toBe(seconds)
})
