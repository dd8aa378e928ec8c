/** The results of fake tasks: addresses as the vendor's storage writes them, and a picture behind each. */

import { createHash } from 'node:crypto'
import { crc32, deflateSync } from 'node:zlib'

/** Where results lie; the encoded slash is part of the path, as in the vendor's addresses. */
export const RESULTS_PATH = '/sandbox%2Fresults%2F'

/** The vendor's own samples expire this long after they were made: some 31.7 years. */
const EXPIRES_AFTER_SECONDS = 1_000_000_000

export interface PictureInput {
  readonly baseUrl: string
  readonly taskId: string
  readonly index: number
  readonly suffix: string
  /** Milliseconds since the epoch. */
  readonly madeAt: number
}

/** A function of its input, so that a task's results read the same at every query. */
export function pictureUrl({ baseUrl, taskId, index, suffix, madeAt }: PictureInput): string {
  const name = createHash('md5').update(`${taskId}\n${index}`).digest('hex')
  const signature = createHash('sha1').update(name).digest('base64')
  const expires = Math.floor(madeAt / 1000) + EXPIRES_AFTER_SECONDS
  const stamp = new Date(madeAt).toISOString().replace(/\D/g, '').slice(0, 14)
  const path = `${RESULTS_PATH}${name}_${stamp}.${suffix}`
  return `${baseUrl}${path}?OSSAccessKeyId=SANDBOX&Expires=${expires}&Signature=${encodeURIComponent(signature)}`
}

const SIDE = 768
const BAND_COUNT = 16

/** A PNG of 768 × 768: slanting bands from one colour to another. The name chooses both, so tasks look different. */
export function drawPicture(name: string): Buffer {
  const hash = createHash('md5').update(name).digest()
  const rows = Buffer.alloc((SIDE + 1) * SIDE)
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      rows[y * (SIDE + 1) + 1 + x] = Math.floor(((x + y) * BAND_COUNT) / (2 * SIDE))
    }
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(SIDE, 0)
  header.writeUInt32BE(SIDE, 4)
  // 8 bits a pixel, each an index into the palette.
  header.set([8, 3, 0, 0, 0], 8)
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('PLTE', paletteOf(hash)),
    chunk('IDAT', deflateSync(rows, { level: 1 })),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function paletteOf(hash: Buffer): Buffer {
  const palette = Buffer.alloc(BAND_COUNT * 3)
  for (let band = 0; band < BAND_COUNT; band += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const from = hash[channel] ?? 0
      const to = hash[channel + 3] ?? 0
      palette[band * 3 + channel] = Math.round(from + ((to - from) * band) / (BAND_COUNT - 1))
    }
  }
  return palette
}

function chunk(type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content])
  const out = Buffer.alloc(body.length + 8)
  out.writeUInt32BE(content.length, 0)
  body.copy(out, 4)
  out.writeUInt32BE(crc32(body), body.length + 4)
  return out
}
