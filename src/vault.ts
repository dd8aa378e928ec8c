/** Secrets at rest: AES-256-GCM (NIST SP 800-38D) under the key that the operator gives. */

import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import type { Vault } from './ports.ts'

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

export function createVault(key: Uint8Array): Vault {
  // Tells keys apart without telling anything of them.
  const keyId = createHash('sha256').update('ringback secret key').update(key).digest('hex').slice(0, 16)
  return {
    keyId,
    seal(secret, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(context))
      const sealed = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64')
    },
    open(text, sealedWith, context) {
      if (sealedWith === null) return text
      if (sealedWith !== keyId) return null
      const bytes = Buffer.from(text, 'base64')
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return null
      try {
        const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
        decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
        const opened = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()])
        return opened.toString('utf8')
      } catch {
        return null
      }
    },
  }
}
