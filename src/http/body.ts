/** Reads a request's body as JSON, once, and refuses it as early as it can be known to be wrong. */

import { isUtf8 } from 'node:buffer'
import { AppError } from '../core/errors.ts'
import { printable, shown } from '../core/shown.ts'

export const SINGLE_BYTES_MAX = 256 * 1024
export const BULK_BYTES_MAX = 8 * 1024 * 1024

/** More than anything in the API needs (metadata may nest 32 levels, in a list of tasks), and harmless to walk. */
const DEPTH_MAX = 64

/** Takes room in memory before it is filled, or throws `throttled` (429). */
type Hold = (byteCount: number) => void

/** The value that the body spells. Throws `unsupported_media` (415), `too_large` (413) or `unreadable` (400). */
export async function readJson(request: Request, bytesMax: number, hold: Hold): Promise<unknown> {
  checkMedia(request.headers)
  const bytes = await readBytes(request, bytesMax, hold)
  if (bytes.length === 0) throw new AppError('unreadable', 'The body is empty; send a JSON object.')
  return parse(bytes)
}

/** The same for what may be left out: null for an empty body, which many programs send with a content type. */
export async function readJsonIfAny(request: Request, bytesMax: number, hold: Hold): Promise<unknown> {
  const bytes = await readBytes(request, bytesMax, hold)
  if (bytes.length === 0) return null
  checkMedia(request.headers)
  return parse(bytes)
}

function parse(bytes: Uint8Array): unknown {
  if (!isUtf8(bytes)) throw new AppError('unreadable', 'The body is not valid UTF-8; send JSON as UTF-8.')
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw new AppError('unreadable', 'The body starts with a byte order mark; send JSON without one (RFC 8259 §8.1).')
  }
  if (isNestedDeeper(bytes, DEPTH_MAX)) {
    throw new AppError('unreadable', `The body is nested deeper than ${DEPTH_MAX} levels; send it flatter.`)
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    const reason = error instanceof Error ? printable(error.message) : 'unknown'
    throw new AppError('unreadable', `The body is not JSON: ${reason}. Send one JSON object.`)
  }
}

function checkMedia(headers: Headers): void {
  const encoding = headers.get('content-encoding')
  if (encoding !== null && encoding.toLowerCase() !== 'identity') {
    throw new AppError('unsupported_media', `content-encoding ${shown(encoding)} is not read; send the body as it is.`)
  }
  const contentType = headers.get('content-type')
  if (contentType === 'application/json') return
  const remedy = 'send content-type: application/json'
  if (contentType === null) throw new AppError('unsupported_media', `The content-type is missing; ${remedy}.`)
  const [media = '', ...parameters] = contentType.split(';')
  if (media.trim().toLowerCase() !== 'application/json') {
    throw new AppError('unsupported_media', `content-type ${shown(contentType)} is not read; ${remedy}.`)
  }
  for (const parameter of parameters) {
    const charset = /^\s*charset\s*=\s*"?([^"]*?)"?\s*$/i.exec(parameter)?.[1]
    if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
      throw new AppError('unsupported_media', `charset ${shown(charset)} is not read; send the JSON as UTF-8.`)
    }
  }
}

/**
 * A body that says its length, and that it is small enough, is read in one piece: Node's parser holds the sender to that
 * length, and reading through a web stream costs several times as much. All others are counted while they come, so that
 * who sends a large one slowly keeps no room from others that is not filled yet.
 */
async function readBytes(request: Request, bytesMax: number, hold: Hold): Promise<Uint8Array> {
  const declared = request.headers.get('content-length')
  if (declared !== null && Number(declared) > bytesMax) throw tooLarge(bytesMax)
  try {
    const isShort = declared !== null && /^\d+$/.test(declared) && Number(declared) <= SINGLE_BYTES_MAX
    if (isShort) hold(Number(declared))
    const bytes = isShort ? new Uint8Array(await request.arrayBuffer()) : await readStream(request, bytesMax, hold)
    if (bytes.length > bytesMax) throw tooLarge(bytesMax)
    return bytes
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new AppError('unreadable', 'The body ended before it was complete; send it again.', { cause: error })
  }
}

async function readStream(request: Request, bytesMax: number, hold: Hold): Promise<Uint8Array> {
  const reader = request.body?.getReader()
  if (reader === undefined) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let byteCount = 0
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    byteCount += part.value.length
    try {
      if (byteCount > bytesMax) throw tooLarge(bytesMax)
      hold(part.value.length)
    } catch (error) {
      // Not awaited: the sender may take its time to notice, and the answer should not wait for it.
      reader.cancel().catch(() => {})
      throw error
    }
    chunks.push(part.value)
  }
  return Buffer.concat(chunks)
}

function tooLarge(bytesMax: number): AppError {
  const remedy = bytesMax === BULK_BYTES_MAX ? 'send fewer tasks in one call' : 'send less metadata'
  return new AppError('too_large', `The body is larger than ${bytesMax / 1024} KiB; ${remedy}.`)
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = new Set([0x5b, 0x7b])
const CLOSE = new Set([0x5d, 0x7d])

/** Counted on the bytes before anything is parsed, because whoever walks the value later may do it recursively. */
function isNestedDeeper(bytes: Uint8Array, depthMax: number): boolean {
  let depth = 0
  let isInText = false
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] ?? 0
    if (isInText) {
      if (byte === BACKSLASH) index += 1
      else if (byte === QUOTE) isInText = false
    } else if (byte === QUOTE) isInText = true
    else if (OPEN.has(byte)) {
      depth += 1
      if (depth > depthMax) return true
    } else if (CLOSE.has(byte)) depth -= 1
  }
  return false
}
