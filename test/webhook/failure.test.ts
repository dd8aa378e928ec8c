/** The classifier of connection errors: each code has its blame, and nothing that is thrown is without an answer. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BlockedAddressError } from '../../src/webhook/address-guard.ts'
import { failureOf } from '../../src/webhook/failure.ts'

const alone = { isDnsWorking: false, isNetworkWorking: false }
const amongOthers = { isDnsWorking: true, isNetworkWorking: true }
const withCode = (code: string, fields: object = {}) =>
  Object.assign(new Error('message with ?key=secret'), { code, ...fields })

describe('an error', () => {
  test.each([
    ['ECONNREFUSED', 'no_response connect'],
    ['EHOSTUNREACH', 'no_response connect'],
    ['EACCES', 'no_response connect'],
    ['ETIMEDOUT', 'no_response timeout'],
    ['UND_ERR_HEADERS_TIMEOUT', 'no_response timeout'],
    ['UND_ERR_BODY_TIMEOUT', 'no_response timeout'],
    ['UND_ERR_CONNECT_TIMEOUT', 'no_response timeout'],
    ['ECONNRESET', 'no_response reset'],
    ['EPIPE', 'no_response reset'],
    ['UND_ERR_SOCKET', 'no_response reset'],
    ['ENOTFOUND', 'no_response dns'],
    ['EAI_FAIL', 'no_response dns'],
    ['ESERVFAIL', 'no_response dns'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'no_response tls'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'no_response tls'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'no_response tls'],
    ['CERT_HAS_EXPIRED', 'no_response tls'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'no_response tls'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'no_response tls'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'no_response tls'],
    ['ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', 'no_response tls'],
    ['EPROTO', 'no_response tls'],
    ['HPE_INVALID_CONSTANT', 'no_response protocol'],
    ['HPE_HEADER_OVERFLOW', 'no_response protocol'],
    ['UND_ERR_HEADERS_OVERFLOW', 'no_response protocol'],
    ['ERR_ASSERTION', 'no_response protocol'],
    ['SOMETHING_NEW', 'no_response protocol'],
    ['EMFILE', 'own_fault no_file_handles'],
    ['ENFILE', 'own_fault no_file_handles'],
    ['ENOBUFS', 'own_fault internal'],
    ['EAI_AGAIN', 'own_fault our_dns'],
    ['ENETUNREACH', 'own_fault network_down'],
    ['ENETDOWN', 'own_fault network_down'],
  ])('%s is %s, and its text does not repeat the message', (code, expected) => {
    const failure = failureOf(withCode(code), alone)
    expect(`${failure.kind} ${failure.reason}`).toBe(expected)
    expect(failure.detail).toContain(code)
    expect(failure.detail).not.toContain('secret')
  })

  test.each([
    ['EAI_AGAIN', 'no_response dns'],
    ['ENETUNREACH', 'no_response connect'],
    ['EMFILE', 'own_fault no_file_handles'],
  ])('%s is %s when it works for others', (code, expected) => {
    const failure = failureOf(withCode(code), amongOthers)
    expect(`${failure.kind} ${failure.reason}`).toBe(expected)
  })

  test('of our guard keeps its words', () => {
    const failure = failureOf(new BlockedAddressError('10.0.0.1 is private'), alone)
    expect(failure).toEqual({ kind: 'no_response', reason: 'blocked_address', detail: '10.0.0.1 is private' })
  })

  test('of several addresses is judged by what a receiver did, not by the family we lack', () => {
    const errors = [withCode('ENETUNREACH'), withCode('ECONNREFUSED', { address: '2606:4700::1', port: 443 })]
    const detail = 'connection refused at [2606:4700::1]:443 (ECONNREFUSED)'
    const expected = { kind: 'no_response', reason: 'connect', detail }
    expect(failureOf(Object.assign(new AggregateError(errors), { code: 'ENETUNREACH' }), alone)).toEqual(expected)
  })

  test('of any shape has an answer of one short line', () => {
    const shape = fc.oneof(
      fc.anything(),
      fc.record({
        code: fc.anything(),
        message: fc.anything(),
        errors: fc.anything(),
        address: fc.anything(),
        port: fc.anything(),
      }),
    )
    fc.assert(
      fc.property(shape, fc.boolean(), (thrown, isWorking) => {
        const failure = failureOf(thrown, { isDnsWorking: isWorking, isNetworkWorking: isWorking })
        expect(['no_response', 'own_fault']).toContain(failure.kind)
        expect(failure.detail.length).toBeLessThan(200)
      }),
      { numRuns: 1_000 },
    )
  })
})
