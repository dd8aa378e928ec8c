/** Verifies `v1a` (ed25519) signatures of Standard Webhooks with the public keys of an endpoint, and nothing but Node. */

import { createPublicKey, type KeyObject, verify } from 'node:crypto'

const TOLERANCE_MS = 5 * 60 * 1000
// What stands before the 32 bytes of an ed25519 public key in its DER form (RFC 8410).
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

export interface Webhook {
  /** `webhook-id` */
  readonly id: string
  /** `webhook-timestamp` */
  readonly timestamp: string
  /** `webhook-signature`: all of them, separated by spaces */
  readonly signature: string
  /** The body as it came, before anything has parsed it. */
  readonly body: string | Buffer
  /** `publicKeys` of the endpoint (`whpk_…`), from your own settings: never from the request. */
  readonly publicKeys: readonly string[]
  /** Milliseconds since 1970. */
  readonly now?: number
}

export function verifyV1a({ id, timestamp, signature, body, publicKeys, now = Date.now() }: Webhook): boolean {
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(Number(timestamp) * 1000 - now) > TOLERANCE_MS) return false
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body)])
  const given = signature.split(' ').filter((one) => one.startsWith('v1a,'))
  const keys = publicKeys.map(readPublicKey)
  return given.some((one) =>
    keys.some((key) => verify(null, signed, key, Buffer.from(one.slice('v1a,'.length), 'base64'))),
  )
}

function readPublicKey(text: string): KeyObject {
  const bytes = Buffer.from(text.replace(/^whpk_/, ''), 'base64')
  if (!text.startsWith('whpk_') || bytes.length !== 32) throw new TypeError('expected whpk_ and base64 of 32 bytes')
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, bytes]), format: 'der', type: 'spki' })
}
