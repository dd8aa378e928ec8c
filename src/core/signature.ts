/** Signatures of Standard Webhooks 1.0.0 over `id.timestamp.body`: HMAC-SHA256 (`v1`) and ed25519 (`v1a`). */

import { createHmac, createPrivateKey, createPublicKey, type KeyObject, sign as signWith } from 'node:crypto'

const SECRET_PREFIX = 'whsec_'
const PRIVATE_KEY_PREFIX = 'whsk_'
const PUBLIC_KEY_PREFIX = 'whpk_'
/** The specification's bounds for the random bytes of a symmetric secret. */
export const SECRET_BYTES_MIN = 24
export const SECRET_BYTES_MAX = 64
/** RFC 8032: a key pair comes from so many random bytes, and each of its halves is as long. */
export const ED25519_SEED_BYTES = 32

/** `hmac` signs as `v1` with a shared secret, `ed25519` as `v1a` with a key of which receivers have the public half. */
export const SIGNING_ALGORITHMS = ['hmac', 'ed25519'] as const
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number]

/** Decoded and ready to sign with. */
export type SigningKey = HmacKey | Ed25519Key

export interface HmacKey {
  readonly algorithm: 'hmac'
  readonly secret: Uint8Array
}

export interface Ed25519Key {
  readonly algorithm: 'ed25519'
  readonly privateKey: KeyObject
}

/** Reads `whsec_` + base64 of 24–64 bytes. Null when the text is none. */
export function parseSecret(text: string): HmacKey | null {
  const bytes = bytesAfter(SECRET_PREFIX, text)
  if (bytes === null || bytes.length < SECRET_BYTES_MIN || bytes.length > SECRET_BYTES_MAX) return null
  return { algorithm: 'hmac', secret: bytes }
}

export function formatSecret(entropy: Uint8Array): string {
  return SECRET_PREFIX + Buffer.from(entropy).toString('base64')
}

/**
 * Reads `whsk_` + base64 of the 32 bytes of the seed and the 32 of the public key, as other programs write it. Null when
 * the text is none, or its halves do not belong together: signing with such a pair would give the seed away.
 */
export function parsePrivateKey(text: string): Ed25519Key | null {
  const bytes = bytesAfter(PRIVATE_KEY_PREFIX, text)
  if (bytes === null || bytes.length !== 2 * ED25519_SEED_BYTES) return null
  const privateKey = privateKeyOf(bytes.subarray(0, ED25519_SEED_BYTES))
  if (Buffer.compare(publicHalf(privateKey), bytes.subarray(ED25519_SEED_BYTES)) !== 0) return null
  return { algorithm: 'ed25519', privateKey }
}

/** The same seed makes the same pair. */
export function formatPrivateKey(seed: Uint8Array): string {
  return PRIVATE_KEY_PREFIX + Buffer.concat([seed, publicHalf(privateKeyOf(seed))]).toString('base64')
}

/** What receivers verify with: `whpk_` + base64. */
export function formatPublicKey({ privateKey }: Ed25519Key): string {
  return PUBLIC_KEY_PREFIX + publicHalf(privateKey).toString('base64')
}

export interface SignInput {
  /** The `webhook-id`. Contains no dot, or two different messages could have the same signed content. */
  readonly id: string
  /** Unix seconds of the attempt. */
  readonly timestampSeconds: number
  readonly body: string
  /** Every live one: a receiver that knows any of them accepts, and skips versions that it has never heard of. */
  readonly keys: readonly SigningKey[]
}

/** The value of `webhook-signature`: one `v1,<base64>` or `v1a,<base64>` per key, separated by spaces. */
export function sign({ id, timestampSeconds, body, keys }: SignInput): string {
  const signedContent = `${id}.${timestampSeconds}.${body}`
  return keys.map((key) => signatureBy(key, signedContent)).join(' ')
}

function signatureBy(key: SigningKey, signedContent: string): string {
  switch (key.algorithm) {
    case 'hmac':
      return `v1,${createHmac('sha256', key.secret).update(signedContent).digest('base64')}`
    case 'ed25519':
      return `v1a,${signWith(null, Buffer.from(signedContent), key.privateKey).toString('base64')}`
  }
}

/** RFC 8410: what stands before the seed in PKCS #8, the one form of 32 raw bytes that Node reads. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')

function privateKeyOf(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' })
}

function publicHalf(privateKey: KeyObject): Buffer {
  // The last bytes of the DER form are the key itself.
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-ED25519_SEED_BYTES)
}

function bytesAfter(prefix: string, text: string): Buffer | null {
  if (!text.startsWith(prefix)) return null
  const base64 = text.slice(prefix.length)
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return null
  const bytes = Buffer.from(base64, 'base64')
  // Node decodes leniently: only text that comes back the same was really base64.
  return bytes.toString('base64').replace(/=+$/, '') === base64.replace(/=+$/, '') ? bytes : null
}
