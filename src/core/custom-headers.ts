/** Headers that a receiver wants with every webhook, such as the credentials of the gateway before it. */

import type { Fault } from './errors.ts'

/** By name, as they were given. */
export type CustomHeaders = Readonly<Record<string, string>>

export const CUSTOM_HEADER_COUNT_MAX = 20
/** Names and values together: with ours they stay far below what servers take (8 KiB and more). */
export const CUSTOM_HEADER_BYTES_MAX = 4 * 1024

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** What survives every proxy as it is: neither line breaks nor control characters, nor bytes without a known encoding. */
const VALUE = /^(?:[!-~](?:[ -~]*[!-~])?)?$/

/** Ours, or they frame the message, or concern one connection only. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'accept-encoding',
  'alt-used',
  'connection',
  'date',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  // Not a header of anybody's: in an object of this language it would be no member at all.
  '__proto__',
])
const RESERVED_PREFIXES = ['webhook-', 'svix-', 'content-', 'proxy-'] as const

/** What is wrong with one of them, or with all together (`name` is null). */
export interface HeaderFault extends Pick<Fault, 'code' | 'message'> {
  readonly name: string | null
}

/** By name and never by value: a value may be a credential with a slip of the pen. */
export function customHeaderFaults(headers: Readonly<Record<string, unknown>>): readonly HeaderFault[] {
  const entries = Object.entries(headers)
  if (entries.length > CUSTOM_HEADER_COUNT_MAX) {
    return [
      { name: null, code: 'too_many', message: `at most ${CUSTOM_HEADER_COUNT_MAX} headers, got ${entries.length}` },
    ]
  }
  const seen = new Set<string>()
  const faults = entries.flatMap(([name, value]) => faultOf(name, value, seen) ?? [])
  const byteCount = entries.reduce((sum, [name, value]) => sum + name.length + String(value).length, 0)
  if (faults.length > 0 || byteCount <= CUSTOM_HEADER_BYTES_MAX) return faults
  return [
    { name: null, code: 'too_large', message: `at most 4 KiB of names and values together, got ${byteCount} bytes` },
  ]
}

function faultOf(name: string, value: unknown, seen: Set<string>): HeaderFault | null {
  const lowerCased = name.toLowerCase()
  const fault = (code: string, message: string) => ({ name, code, message })
  if (!TOKEN.test(name)) {
    return fault('invalid_header_name', "is no header name: letters, digits and !#$%&'*+-.^_`|~ without spaces")
  }
  if (RESERVED_NAMES.has(lowerCased) || RESERVED_PREFIXES.some((prefix) => lowerCased.startsWith(prefix))) {
    return fault('reserved_header', 'is set by Ringback or belongs to the connection; choose another name')
  }
  if (seen.has(lowerCased)) return fault('duplicate', 'is given twice, as names are the same in capitals; send it once')
  seen.add(lowerCased)
  if (typeof value !== 'string') return fault('invalid_type', 'expected text as its value')
  if (VALUE.test(value)) return null
  return fault('invalid_header_value', 'expected printable ASCII, without line breaks and without spaces at its ends')
}

/** Shorter ones are too common in any text for their absence to mean anything. */
const TELLING_LENGTH_MIN = 8

/**
 * Text of a receiver without the values that we sent it: debugging receivers say back what they hear, and what they say
 * is shown to whoever may look. Of `Bearer abc…` the part after the scheme is a value of its own.
 */
export function withoutValues(text: string, headers: CustomHeaders): string {
  const parts = Object.values(headers).flatMap((value) => [value, ...value.split(' ').slice(1)])
  const spellings = parts.flatMap((part) => [part, inJson(part)])
  const telling = spellings.filter((part) => part.length >= TELLING_LENGTH_MIN).sort((a, b) => b.length - a.length)
  return telling.reduce((rest, part) => withoutCutEnd(rest.replaceAll(part, REMOVED), part), text)
}

/** Most of those that say back what they hear do it in JSON. */
function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}

const REMOVED = '[custom header]'

/** Excerpts are cut: their end may be the beginning of a value. */
function withoutCutEnd(text: string, part: string): string {
  for (let length = part.length - 1; length >= TELLING_LENGTH_MIN; length -= 1) {
    if (text.endsWith(part.slice(0, length))) return text.slice(0, -length) + REMOVED
  }
  return text
}
