/** Aidge's signature, version 2, and the URL that carries it. */

import { createHmac } from 'node:crypto'
import { ConfigError } from '../../core/errors.ts'
import type { EpochMs } from '../../core/time.ts'

/**
 * `UPPERCASE_HEX(HMAC_SHA256(secret, secret + timestamp))`, from the vendor's Python and Java samples.
 *
 * It covers neither path, parameters nor body: a signed URL is a key to the whole account until the upstream finds its
 * timestamp too old. Never log one. What is signed starts with the secret itself, so that must not be logged either.
 */
export function signV2({ secret, timestamp }: { readonly secret: string; readonly timestamp: EpochMs }): string {
  return createHmac('sha256', secret).update(`${secret}${timestamp}`).digest('hex').toUpperCase()
}

/** Where all paths of an account start: the origin, and the path up to and including `/rest`. */
export interface RestRoot {
  readonly origin: string
  readonly path: string
}

/** Reads a base URL with or without `/rest` and slashes at its end. Throws a `ConfigError` when it is no http(s) URL. */
export function restRoot(baseUrl: string): RestRoot {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : null
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    // The value is not repeated: a mistyped base URL may well have a password in it.
    throw new ConfigError(['AIDGE_BASE_URL: expected a URL such as https://api.aidc-ai.com'])
  }
  const prefix = url.pathname.replace(/\/+(rest\/*)?$/, '')
  return { origin: url.origin, path: `${prefix}/rest` }
}

export interface Signing {
  readonly accessKeyName: string
  readonly accessKeySecret: string
  readonly timestamp: EpochMs
}

export interface Signed {
  /** Says who asks. `partner_id` and the two versions are the vendor's constants. */
  readonly query: string
  readonly sign: string
}

export function signQuery({ accessKeyName, accessKeySecret, timestamp }: Signing): Signed {
  const sign = signV2({ secret: accessKeySecret, timestamp })
  const appKey = encodeURIComponent(accessKeyName)
  const query = `partner_id=aidge&sign_method=sha256&sign_ver=v2&app_key=${appKey}&timestamp=${timestamp}&sign=${sign}`
  return { query, sign }
}
