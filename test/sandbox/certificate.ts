/** A self-signed certificate for 127.0.0.1, made afresh: no private key lies in the repository. */

import { generateKeyPairSync, sign } from 'node:crypto'

const ECDSA_WITH_SHA256 = tlv(0x30, Buffer.from('06082a8648ce3d040302', 'hex'))
const ID_COMMON_NAME = Buffer.from('0603550403', 'hex')
const ID_SUBJECT_ALT_NAME = Buffer.from('0603551d11', 'hex')

export function makeCertificate(): { readonly cert: string; readonly key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = tlv(0x30, tlv(0x31, tlv(0x30, ID_COMMON_NAME, tlv(0x0c, Buffer.from('sandbox')))))
  const validity = tlv(0x30, tlv(0x17, Buffer.from('200101000000Z')), tlv(0x17, Buffer.from('491231235959Z')))
  const addresses = tlv(0x30, tlv(0x87, Buffer.from([127, 0, 0, 1])))
  const extensions = tlv(0xa3, tlv(0x30, tlv(0x30, ID_SUBJECT_ALT_NAME, tlv(0x04, addresses))))
  const body = tlv(
    0x30,
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.from([1])),
    ECDSA_WITH_SHA256,
    name,
    validity,
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    extensions,
  )
  const signature = tlv(0x03, Buffer.from([0]), sign('sha256', body, privateKey))
  const base64 = tlv(0x30, body, ECDSA_WITH_SHA256, signature).toString('base64')
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

/** One element of DER: tag, length, content. */
function tlv(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
