/**
 * The fake gateway's manners: which calls it lets through, and how it and the services behind it say no.
 *
 * The signature is written a second time here, on purpose: a fake that shared the client's code would share its bugs.
 * Source of the scheme: the vendor's published samples (`sign_ver=v2`). How far a clock may be off is documented
 * nowhere; fifteen minutes is a guess.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { MINUTE } from '../core/time.ts'

export interface SandboxCredentials {
  readonly accessKeyName: string
  readonly accessKeySecret: string
}

export interface GatewayError {
  readonly type: 'ISV' | 'ISP' | 'SYSTEM'
  readonly code: string
  readonly message: string
}

export const TIMESTAMP_TOLERANCE_MS = 15 * MINUTE

const SIGNED_PARAMETERS = ['partner_id', 'sign_method', 'sign_ver', 'app_key', 'timestamp', 'sign'] as const

/** Why a call's query string is refused, in the order of a gateway: complete, known, fresh, then genuine. */
export function checkCall(
  query: URLSearchParams,
  { credentials, now, toleranceMs }: { credentials: SandboxCredentials; now: number; toleranceMs: number },
): GatewayError | null {
  for (const name of SIGNED_PARAMETERS) {
    if (!query.get(name)) return errorOf('MissingParameter', `The parameter ${name} is missing`)
  }
  if (query.get('app_key') !== credentials.accessKeyName) return gatewayError('InvalidAppKey')
  if (query.get('partner_id') !== 'aidge') return errorOf('InvalidParameter', 'partner_id is not aidge')
  if (query.get('sign_method') !== 'sha256' || query.get('sign_ver') !== 'v2')
    return gatewayError('IncompleteSignature')
  const timestamp = query.get('timestamp') ?? ''
  if (!/^\d{1,15}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > toleranceMs) {
    return gatewayError('IllegalTimestamp')
  }
  const expected = signatureOf(credentials.accessKeySecret, timestamp)
  return isSame(query.get('sign') ?? '', expected) ? null : gatewayError('IncompleteSignature')
}

/** Upper-case hex of HMAC-SHA256, keyed with the secret, over secret + timestamp: neither path nor body is covered. */
function signatureOf(secret: string, timestamp: string): string {
  return createHmac('sha256', secret).update(secret).update(timestamp).digest('hex').toUpperCase()
}

function isSame(given: string, expected: string): boolean {
  const a = Buffer.from(given)
  const b = Buffer.from(expected)
  return a.length === b.length && timingSafeEqual(a, b)
}

/** An error of this name as the gateway words it. Names that are not listed are told as the caller's fault. */
export function gatewayError(code: string, banSeconds = 1): GatewayError {
  if (/CallLimit/.test(code)) {
    return errorOf(code, `Api access frequency exceeds the limit. this ban will last ${banSeconds} seconds`)
  }
  const known = Object.hasOwn(GATEWAY_MESSAGES, code) ? GATEWAY_MESSAGES[code] : undefined
  return { type: known?.type ?? 'ISV', code, message: known?.message ?? `The sandbox was told to answer ${code}` }
}

function errorOf(code: string, message: string): GatewayError {
  return { type: 'ISV', code, message }
}

const GATEWAY_MESSAGES: Readonly<Record<string, { readonly type: GatewayError['type']; readonly message: string }>> = {
  NoResource: { type: 'ISV', message: 'Sorry, your calling resources have been exhausted' },
  InvalidAppKey: { type: 'ISV', message: 'The specified App Key is invalid' },
  AppNotSubscribed: { type: 'ISV', message: 'The app has not subscribed to this api' },
  InsufficientPermission: { type: 'ISV', message: 'The app has no permission for this api' },
  IncompleteSignature: { type: 'ISV', message: 'The request signature does not conform to platform standards' },
  MissingParameter: { type: 'ISV', message: 'A mandatory parameter is missing' },
  IllegalTimestamp: { type: 'ISV', message: 'The specified timestamp is out of the allowed range' },
  InvalidApiPath: { type: 'ISV', message: 'The specified api path is invalid' },
  ServiceTimeout: { type: 'ISP', message: 'The service did not answer in time' },
  ServiceUnavailable: { type: 'SYSTEM', message: 'The service is temporarily unavailable' },
  UnknownRuntimeException: { type: 'ISP', message: 'The service ended with an unknown exception' },
}

/** The vendor's own error list ("… Result Query API Reference", Errors; 703–705 and 900: image translation page). */
export const SERVICE_MESSAGES: Readonly<Record<number, string>> = {
  500: 'system error',
  501: 'rate limit exceed',
  700: 'invalid input',
  703: 'image dimensions exceed the limit of 4000*4000',
  704: 'image format is invalid',
  705: 'image file is larger than 10MB',
  801: 'model failed',
  900: 'tpp url error',
  1000: 'content has sensitive data, please try other input',
  1001: 'content control failed, please retry',
  1002: 'content risk filter failed, please contact us',
}
