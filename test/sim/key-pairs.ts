/** The key pair of a receiver, and the header it wants: functions of its URL, so that nobody has to remember them. */

import { createHash } from 'node:crypto'
import { formatPrivateKey, formatPublicKey, parsePrivateKey } from '../../src/core/signature.ts'
import { URL_CANARY } from './receivers.ts'

export function privateKeyOf(url: string): string {
  return formatPrivateKey(createHash('sha256').update(url).digest())
}

const publicKeys = new Map<string, string>()

/** Made once for each: every POST is verified. */
export function publicKeyOf(url: string): string {
  const known = publicKeys.get(url) ?? formatPublicKey(parsePrivateKey(privateKeyOf(url))!)
  publicKeys.set(url, known)
  return known
}

/** Its value must show in no line of the log. */
export const OWN_HEADERS = { authorization: `Bearer ${URL_CANARY}` } as const
