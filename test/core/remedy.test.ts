/** Every way in which an attempt can fail has words for it, and success has none. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AttemptResult, NoResponseReason, OwnFault } from '../../src/core/delivery.ts'
import { remedyFor } from '../../src/core/remedy.ts'

const answered = (status: number): AttemptResult => ({ kind: 'response', status, retryAfter: null })

test('a 2xx needs nothing, every other status has a remedy', () => {
  fc.assert(
    fc.property(fc.integer({ min: 100, max: 999 }), (status) => {
      const isSuccess = status >= 200 && status <= 299
      expect(remedyFor(answered(status)) === null).toBe(isSuccess)
    }),
  )
})

test.each([
  [302, /URL of the endpoint/],
  [401, /raw body/],
  [404, /path/],
  [405, /POST/],
  [410, /gone/],
  [413, /256 KiB/],
  [415, /application\/json/],
  [418, /200 to 299/],
  [429, /rate/],
  [500, /log/],
  [503, /schedule/],
])('HTTP %s: %s', (status, words) => {
  expect(remedyFor(answered(status))).toMatch(words)
})

const REASONS: readonly NoResponseReason[] = [
  'timeout',
  'connect',
  'reset',
  'dns',
  'tls',
  'protocol',
  'blocked_address',
]
const FAULTS: readonly OwnFault[] = ['shutdown', 'no_file_handles', 'our_dns', 'network_down', 'internal']

test('whatever came instead of an answer has a remedy of its own', () => {
  const results: readonly AttemptResult[] = [
    ...REASONS.map((reason) => ({ kind: 'no_response', reason, detail: '' }) as const),
    ...FAULTS.map((reason) => ({ kind: 'own_fault', reason, detail: '' }) as const),
  ]
  const words = results.map(remedyFor)
  expect(words.every((text) => text !== null && text.length > 20)).toBe(true)
  expect(new Set(words).size).toBe(results.length)
})
