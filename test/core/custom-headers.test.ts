/** Custom headers: which are refused and in which words, and that what a receiver says back of them is not kept. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CUSTOM_HEADER_BYTES_MAX,
  CUSTOM_HEADER_COUNT_MAX,
  customHeaderFaults,
  withoutValues,
} from '../../src/core/custom-headers.ts'

describe('a header', () => {
  test.each([
    ['authorization', 'Bearer 7f6a.b-c_d~e+f/g='],
    ['X-Shop', '7'],
    ["!#$%&'*+-.^_`|~09azAZ", 'any token is a name'],
    ['x-empty', ''],
    ['x-inner', 'a  b\\"c" {}'],
    ['cookie', 'session=1'],
    // None of the prefixes that are ours.
    ['webhooks', 'a'],
    ['contents', 'a'],
  ])('%s with the value %j is taken', (name, value) => {
    expect(customHeaderFaults({ [name]: value })).toEqual([])
  })

  test.each(
    [
      'webhook-id',
      'Webhook-Signature',
      'webhook-anything',
      'svix-id',
      'Content-Type',
      'content-length',
      'content-encoding',
      'Host',
      'connection',
      'Transfer-Encoding',
      'user-agent',
      'accept-encoding',
      'TE',
      'trailer',
      'upgrade',
      'expect',
      'keep-alive',
      'proxy-authorization',
      'Proxy-Connection',
      'date',
      '__proto__',
    ].map((name) => [name]),
  )('%s is reserved', (name) => {
    const given = JSON.parse(`{${JSON.stringify(name)}: "Bearer canary"}`)
    expect(customHeaderFaults(given)).toEqual([
      { name, code: 'reserved_header', message: expect.not.stringContaining('canary') },
    ])
  })

  test.each(
    ['', 'a b', ' a', 'a ', 'a:', 'a\n', 'a\r\nb: c', 'ä', 'a\u0000', '(a)', 'a,b', 'a/b', '"a"'].map((name) => [name]),
  )('%j is no name', (name) => {
    expect(customHeaderFaults({ [name]: 'x' })).toMatchObject([{ name, code: 'invalid_header_name' }])
  })

  test.each(
    ['a\nb', 'a\r\nx-b: c', '\r', 'a\u0000', 'a\tb', '\u007f', ' a', 'a ', 'ü', 'a\u2028b', '\ud800'].map((value) => [
      value,
    ]),
  )('%j is no value', (value) => {
    expect(customHeaderFaults({ 'x-a': value })).toMatchObject([{ name: 'x-a', code: 'invalid_header_value' }])
  })

  test.each([[7], [null], [true], [['a']], [{ a: 'b' }]])('%j is not text', (value) => {
    expect(customHeaderFaults({ 'x-a': value })).toMatchObject([{ name: 'x-a', code: 'invalid_type' }])
  })
})

test('names that differ in capitals only are one name', () => {
  expect(customHeaderFaults({ 'X-Shop': '1', 'x-shop': '2' })).toMatchObject([{ name: 'x-shop', code: 'duplicate' }])
})

test('twenty are taken, one more is not; 4 KiB together are taken, a byte more is not', () => {
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, 'a']))
  expect(customHeaderFaults(many(CUSTOM_HEADER_COUNT_MAX))).toEqual([])
  expect(customHeaderFaults(many(CUSTOM_HEADER_COUNT_MAX + 1))).toMatchObject([{ name: null, code: 'too_many' }])
  const long = (byteCount: number) => ({ 'x-a': 'a'.repeat(byteCount - 'x-a'.length) })
  expect(customHeaderFaults(long(CUSTOM_HEADER_BYTES_MAX))).toEqual([])
  expect(customHeaderFaults(long(CUSTOM_HEADER_BYTES_MAX + 1))).toMatchObject([{ name: null, code: 'too_large' }])
})

test('whatever is wrong, no value is in what is said of it', () => {
  const value = fc.oneof(
    fc.string().map((text) => `${text}\nCanary0001`),
    fc.constant(['Canary0001']),
    fc.constant({ a: 'Canary0001' }),
    fc.constant(`Canary0001${'x'.repeat(5_000)}`),
  )
  fc.assert(
    fc.property(fc.constantFrom('x-a', 'host', 'a b'), value, (name, given) => {
      const faults = customHeaderFaults({ [name]: given })
      expect(faults.length).toBeGreaterThan(0)
      expect(JSON.stringify(faults)).not.toContain('Canary0001')
    }),
  )
})

describe('what a receiver says back', () => {
  const headers = { authorization: 'Bearer canary-token-0001', 'x-shop': '7' }

  test('loses every value that tells something, and keeps the rest', () => {
    expect(withoutValues('you sent "Bearer canary-token-0001", 7 times', headers)).toBe(
      'you sent "[custom header]", 7 times',
    )
    expect(withoutValues('token=canary-token-0001;', headers)).toBe('token=[custom header];')
    expect(withoutValues('all is well', headers)).toBe('all is well')
  })

  test('loses a value with quotes in it as it is and as JSON spells it', () => {
    const digest = { authorization: 'Digest user="shop", token="canary-0002"' }
    expect(withoutValues(JSON.stringify(digest), digest)).toBe('{"authorization":"[custom header]"}')
    expect(withoutValues(`you sent ${digest.authorization}`, digest)).toBe('you sent [custom header]')
  })

  test('loses the beginning of a value too that it was cut in', () => {
    expect(withoutValues('you sent canary-tok', headers)).toBe('you sent [custom header]')
    expect(withoutValues('you sent Bearer canary-t', headers)).toBe('you sent [custom header]')
  })

  test('whatever stands around it, a whole value is never left', () => {
    const aValue = fc.stringMatching(/^[a-z0-9]{8,40}$/)
    fc.assert(
      fc.property(aValue, fc.string(), fc.string(), (value, before, after) => {
        expect(withoutValues(`${before}${value}${after}`, { 'x-a': value })).not.toContain(value)
      }),
    )
  })
})
