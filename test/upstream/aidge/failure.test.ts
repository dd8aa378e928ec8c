/** Transport errors → reasons, with texts that nobody's secret can be in. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { failureOf } from '../../../src/upstream/aidge/failure.ts'

function coded(code: string, message = 'x'): Error {
  return Object.assign(new Error(message), { code })
}

describe('a transport error', () => {
  test.each([
    ['UND_ERR_HEADERS_TIMEOUT', 'timeout'],
    ['UND_ERR_BODY_TIMEOUT', 'timeout'],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout'],
    ['ETIMEDOUT', 'timeout'],
    ['ECONNREFUSED', 'connect'],
    ['EHOSTUNREACH', 'connect'],
    ['ENETUNREACH', 'connect'],
    ['EMFILE', 'connect'],
    ['ECONNRESET', 'reset'],
    ['EPIPE', 'reset'],
    ['UND_ERR_SOCKET', 'reset'],
    ['ENOTFOUND', 'dns'],
    ['EAI_AGAIN', 'dns'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls'],
    ['CERT_HAS_EXPIRED', 'tls'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'tls'],
    ['EPROTO', 'tls'],
    ['UND_ERR_RES_EXCEEDED_MAX_SIZE', 'too_large'],
    ['HPE_INVALID_CONSTANT', 'protocol'],
    ['UND_ERR_HEADERS_OVERFLOW', 'protocol'],
    ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'protocol'],
    ['ERR_ASSERTION', 'protocol'],
  ])('%s is %s', (code, reason) => {
    expect(failureOf(coded(code))).toMatchObject({ kind: 'no_answer', reason, detail: expect.stringContaining(code) })
  })

  test('that wraps another, or several, is read by what it wraps', () => {
    const cause = coded('ECONNRESET')
    expect(failureOf(new Error('terminated', { cause })).reason).toBe('reset')
    expect(failureOf(new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')])).reason).toBe('connect')
  })

  test('without a code still has words', () => {
    expect(failureOf(new Error('x'))).toEqual({
      kind: 'no_answer',
      reason: 'protocol',
      detail: 'the answer was not HTTP',
    })
  })

  test('that wraps itself ends', () => {
    const error = new Error('x')
    error.cause = error
    expect(failureOf(error).reason).toBe('protocol')
  })

  test('never shows its own message, nor a code that is none', () => {
    const url = 'https://api.example/rest?app_key=500123&sign=CANARY'
    const thrown = fc.oneof(
      fc.constant(coded('ENOTFOUND', `getaddrinfo ENOTFOUND ${url}`)),
      fc.constant(coded(url, url)),
      fc.constant(url),
      fc.anything(),
    )
    fc.assert(
      fc.property(thrown, (error) => {
        expect(failureOf(error).detail).not.toMatch(/CANARY|500123|api\.example/)
      }),
    )
  })
})
