/** What is kept of a receiver's answer: the status, a few headers, the beginning of the body. */

import type { IncomingHttpHeaders } from 'node:http'

/** Of the body: this much is kept for a person to read. */
const EXCERPT_BYTES_MAX = 4_096
/** Of the body: this much is read so that the connection can be used again; more than that is not worth it. */
const BODY_BYTES_MAX = 16_384
const HEADER_VALUE_LENGTH_MAX = 256

const KEPT_HEADERS = ['content-type', 'content-length', 'retry-after', 'server', 'date', 'x-request-id', 'cf-ray']

export interface Answer {
  readonly status: number
  readonly retryAfter: string | null
  readonly headers: Readonly<Record<string, string>>
  /** False when enough was read. */
  readonly add: (chunk: Buffer) => boolean
  /** `isWhole`: the body came to its end. */
  readonly excerpt: (isWhole: boolean) => { readonly text: string; readonly isTruncated: boolean }
}

export function createAnswer(status: number, headers: IncomingHttpHeaders): Answer {
  const chunks: Buffer[] = []
  let byteCount = 0
  return {
    status,
    retryAfter: firstValue(headers, 'retry-after'),
    headers: keptHeaders(headers),
    add(chunk) {
      if (byteCount < EXCERPT_BYTES_MAX) chunks.push(chunk.subarray(0, EXCERPT_BYTES_MAX - byteCount))
      byteCount += chunk.length
      return byteCount <= BODY_BYTES_MAX
    },
    excerpt(isWhole) {
      const isTruncated = !isWhole || byteCount > EXCERPT_BYTES_MAX
      const text = textOf(chunks, isTruncated)
      return { text: text.replaceAll('\0', ''), isTruncated }
    },
  }
}

/** For texts that are whole; one that was used for a part of a text keeps what is left over. */
const utf8 = new TextDecoder()

function textOf(chunks: readonly Buffer[], isTruncated: boolean): string {
  if (chunks.length === 0) return ''
  const bytes = Buffer.concat(chunks)
  // As a stream when cut, so that half a character at the end is left out and not replaced.
  return isTruncated ? new TextDecoder().decode(bytes, { stream: true }) : utf8.decode(bytes)
}

function keptHeaders(headers: IncomingHttpHeaders): Readonly<Record<string, string>> {
  const kept: Record<string, string> = {}
  for (const name of KEPT_HEADERS) {
    const value = firstValue(headers, name)
    if (value !== null) kept[name] = value
  }
  const location = firstValue(headers, 'location')
  const target = location === null ? null : schemeAndHost(location)
  if (target !== null) kept['location'] = target
  return kept
}

function firstValue(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name]
  const first = Array.isArray(value) ? value[0] : value
  return first === undefined ? null : first.slice(0, HEADER_VALUE_LENGTH_MAX)
}

/** Enough to see where a redirect wanted to go; its path and query may hold a secret. */
function schemeAndHost(location: string): string | null {
  if (!URL.canParse(location)) return null
  const { protocol, host } = new URL(location)
  return `${protocol}//${host}`
}
