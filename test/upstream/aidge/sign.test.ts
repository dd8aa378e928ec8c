/** The signature, against a vector that was computed with three other implementations. */

import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../../src/core/errors.ts'
import { epochMs } from '../../../src/core/time.ts'
import { restRoot, signQuery, signV2 } from '../../../src/upstream/aidge/sign.ts'

const accessKeySecret = 'Tq7mZ2xV9bLs4KdW8eRy1NhJ6uPc3GfA'
const timestamp = epochMs(1_735_689_600_000)
const SIGN = '16C680BCD49E7542C30F7AAC386DC1DC30B4281EAD258940F94B2B21AD57B131'
const URL_OF_VECTOR = `https://api.aidc-ai.com/rest/ai/virtual/model/generation/query?partner_id=aidge&sign_method=sha256&sign_ver=v2&app_key=500123&timestamp=1735689600000&sign=${SIGN}`

describe('the signature', () => {
  test('is the one of the vector', () => {
    expect(signV2({ secret: accessKeySecret, timestamp })).toBe(SIGN)
  })

  test('differs with every millisecond', () => {
    expect(signV2({ secret: accessKeySecret, timestamp: epochMs(timestamp + 1) })).not.toBe(SIGN)
  })
})

describe('the signed URL', () => {
  test.each([
    'https://api.aidc-ai.com',
    'https://api.aidc-ai.com/',
    'https://api.aidc-ai.com/rest',
    'https://api.aidc-ai.com/rest/',
    'https://api.aidc-ai.com//rest//',
  ])('is the same from the base URL %s', (baseUrl) => {
    const root = restRoot(baseUrl)
    const { query } = signQuery({ accessKeyName: '500123', accessKeySecret, timestamp })
    expect(`${root.origin}${root.path}/ai/virtual/model/generation/query?${query}`).toBe(URL_OF_VECTOR)
  })

  test('keeps a path that a proxy stands under, and its port', () => {
    expect(restRoot('http://127.0.0.1:8080/aidge/')).toEqual({ origin: 'http://127.0.0.1:8080', path: '/aidge/rest' })
  })

  test('does not let a key name break out of its parameter', () => {
    const { query } = signQuery({ accessKeyName: 'a&b=c#', accessKeySecret, timestamp })
    expect(new URLSearchParams(query).get('app_key')).toBe('a&b=c#')
  })

  test.each(['', 'api.aidc-ai.com', 'ftp://user:hunter2@h.example', 'file:///etc/passwd'])(
    'is refused for the base URL "%s", without repeating it',
    (baseUrl) => {
      const refused = (): unknown => restRoot(baseUrl)
      expect(refused).toThrow(ConfigError)
      expect(refused).not.toThrow(/hunter2/)
    },
  )
})
