/**
 * Whether a webhook is genuine, as a careful receiver decides it (Standard Webhooks 1.0.0).
 *
 * Written apart from `core/signature.ts`, which only reads the secret here: a receiver that computed with the sender's
 * code would agree with it even where both are wrong.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { HmacKey } from '../core/signature.ts'
import { MINUTE, SECOND } from '../core/time.ts'

/** How far a timestamp may lie in the past or the future: the specification's reference libraries allow as much. */
export const TIMESTAMP_TOLERANCE_MS = 5 * MINUTE

export type Verification =
  | { readonly isVerified: true; readonly webhookId: string }
  | { readonly isVerified: false; readonly reason: RejectionReason }

export type RejectionReason =
  | 'no_secret'
  | 'missing_header'
  | 'bad_timestamp'
  | 'too_old'
  | 'too_new'
  | 'no_matching_signature'

export interface VerifyInput {
  readonly headers: IncomingHttpHeaders
  /** The body as it came: text that was decoded and written again may differ in its bytes. */
  readonly body: Buffer
  readonly keys: readonly HmacKey[]
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly toleranceMs?: number
}

export function verify(input: VerifyInput): Verification {
  const webhookId = headerOf(input.headers, 'webhook-id')
  const timestamp = headerOf(input.headers, 'webhook-timestamp')
  const signatures = headerOf(input.headers, 'webhook-signature')
  if (input.keys.length === 0) return { isVerified: false, reason: 'no_secret' }
  if (webhookId === '' || timestamp === '' || signatures === '') return { isVerified: false, reason: 'missing_header' }
  const reason = judgeTimestamp(timestamp, input.now, input.toleranceMs ?? TIMESTAMP_TOLERANCE_MS)
  if (reason !== null) return { isVerified: false, reason }
  const prefix = `${webhookId}.${timestamp}.`
  // Compared as text, since base64 is read leniently: `v1,<signature>!` would pass for the signature itself.
  const expected = input.keys.map(({ secret }) =>
    Buffer.from(createHmac('sha256', secret).update(prefix).update(input.body).digest('base64')),
  )
  const isGenuine = givenSignatures(signatures).some((given) => expected.some((one) => isSame(given, one)))
  return isGenuine ? { isVerified: true, webhookId } : { isVerified: false, reason: 'no_matching_signature' }
}

function judgeTimestamp(timestamp: string, now: number, toleranceMs: number): RejectionReason | null {
  if (!/^\d{1,15}$/.test(timestamp)) return 'bad_timestamp'
  const aheadMs = Number(timestamp) * SECOND - now
  if (aheadMs < -toleranceMs) return 'too_old'
  return aheadMs > toleranceMs ? 'too_new' : null
}

/** The `v1` ones among them; other versions (`v1a` is ed25519) say nothing to a receiver that shares a secret. */
function givenSignatures(header: string): readonly Buffer[] {
  return header
    .split(' ')
    .filter((signature) => signature.startsWith('v1,'))
    .map((signature) => Buffer.from(signature.slice('v1,'.length)))
}

function isSame(given: Buffer, expected: Buffer): boolean {
  return given.length === expected.length && timingSafeEqual(given, expected)
}

function headerOf(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  return typeof value === 'string' ? value : ''
}
