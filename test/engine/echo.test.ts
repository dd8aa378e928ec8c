/** What is kept of a receiver that says back what it was sent. */

import { expect, test } from 'vitest'
import { withoutEcho } from '../../src/engine/echo.ts'
import type { Exchange } from '../../src/ports.ts'

const HEADERS = { authorization: 'Bearer canary-token-0001', 'x-shop': '7' }

function anExchange(overrides: Partial<Exchange>): Exchange {
  return {
    result: { kind: 'response', status: 200, retryAfter: null },
    durationMs: 1,
    responseExcerpt: null,
    responseTruncated: false,
    responseHeaders: {},
    remoteAddress: null,
    timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
    ...overrides,
  }
}

test('the values of its own headers are taken out of the body and of the headers of its answer', () => {
  const said = anExchange({
    responseExcerpt: '{"headers":{"Authorization":"Bearer canary-token-0001","X-Shop":"7"}}',
    responseHeaders: { 'x-echo': 'canary-token-0001', server: 's' },
  })
  expect(withoutEcho(said, HEADERS)).toEqual({
    ...said,
    responseExcerpt: '{"headers":{"Authorization":"[custom header]","X-Shop":"7"}}',
    responseHeaders: { 'x-echo': '[custom header]', server: 's' },
  })
})

test('whoever says nothing back is kept as it is, and so is everything when there is nothing of its own', () => {
  const silent = anExchange({})
  expect(withoutEcho(silent, HEADERS)).toEqual(silent)
  const said = anExchange({ responseExcerpt: 'Bearer canary-token-0001' })
  expect(withoutEcho(said, {})).toBe(said)
})
