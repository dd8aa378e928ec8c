/** How long each step of opening a connection took, on a clock that is turned by hand. */

import { expect, test } from 'vitest'
import { createStopwatch } from '../../src/webhook/stopwatch.ts'

test('each step is timed from the end of the one before it, and one that was not reached has no time', () => {
  let now = 1_000
  const stopwatch = createStopwatch(() => now)
  expect(stopwatch.times()).toEqual({ dnsMs: null, connectMs: null, tlsMs: null })
  now += 7.4
  stopwatch.lap('dnsMs')
  now += 20
  stopwatch.lap('connectMs')
  expect(stopwatch.times()).toEqual({ dnsMs: 7, connectMs: 20, tlsMs: null })
  now += 31
  stopwatch.lap('tlsMs')
  expect(stopwatch.times()).toEqual({ dnsMs: 7, connectMs: 20, tlsMs: 31 })
})
