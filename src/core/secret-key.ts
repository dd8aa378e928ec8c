/** The key that seals secrets at rest, as text. */

export const SECRET_KEY_BYTES = 32

/** Reads base64 or hexadecimal of 32 bytes. Null when the text is neither. */
export function parseSecretKey(text: string): Uint8Array | null {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  return /^[A-Za-z0-9+/]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : null
}
