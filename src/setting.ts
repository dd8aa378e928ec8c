/** One setting: how a person writes its value, how it is read, and how it is written back. */

import { isIP } from 'node:net'
import { parseSecretKey } from './core/secret-key.ts'
import { parseSecret } from './core/signature.ts'
import { DAY, formatDuration, parseDuration } from './core/time.ts'

export type Parsed<T> = { readonly value: T } | { readonly expected: string }

/** How a person writes a value, and how it is written back. Methods, so that a table of mixed types can be walked. */
export interface Format<T> {
  /** What stands in the help of the flag. */
  readonly placeholder: string
  parse(text: string): Parsed<T>
  show(value: T): string
}

export interface Setting<T> extends Format<T> {
  readonly env: string
  /** As a person would write it; '' means that nothing is set. */
  readonly fallback: string
  readonly doc: string
  /** Never shown, never a flag; may come from a file named by `<env>_FILE`. */
  readonly isSecret: boolean
}

export function setting<T>(env: string, format: Format<T>, fallback: string, doc: string): Setting<T> {
  return { ...format, env, fallback, doc, isSecret: false }
}

export function secret<T>(env: string, format: Format<T>, doc: string): Setting<T> {
  return { ...format, env, fallback: '', doc, isSecret: true }
}

export function durationBetween(minMs: number, maxMs: number): Format<number> {
  const range = `between ${formatDuration(minMs)} and ${formatDuration(maxMs)}`
  return {
    placeholder: 'duration',
    parse: (text) => {
      const value = parseDuration(text)
      if (value === null) return { expected: 'a duration such as 500ms, 30s, 2h or 7d' }
      return value >= minMs && value <= maxMs ? { value } : { expected: `a duration ${range}` }
    },
    show: formatDuration,
  }
}

export function wholeNumber(min: number, max: number): Format<number> {
  return {
    placeholder: 'number',
    parse: (text) => {
      const value = /^\d{1,9}$/.test(text.trim()) ? Number(text) : Number.NaN
      return value >= min && value <= max ? { value } : { expected: `a whole number from ${min} to ${max}` }
    },
    show: String,
  }
}

export const portNumber: Format<number> = {
  ...wholeNumber(0, 65_535),
  parse: (text) =>
    // Kubernetes gives every pod such a variable for a service that is called "ringback".
    /^tcp:\/\//.test(text)
      ? { expected: 'a port, not a Kubernetes service link (set enableServiceLinks: false in the pod)' }
      : wholeNumber(0, 65_535).parse(text),
}

export const ratePerSecond: Format<number> = {
  placeholder: 'number',
  parse: (text) => {
    const value = /^\d{1,6}(\.\d{1,6})?$/.test(text.trim()) ? Number(text) : Number.NaN
    return value > 0 && value <= 10_000 ? { value } : { expected: 'queries a second, above 0 and at most 10000' }
  },
  show: String,
}

export const trueOrFalse: Format<boolean> = {
  placeholder: 'true|false',
  parse: (text) => {
    const word = text.trim().toLowerCase()
    if (['true', '1', 'yes'].includes(word)) return { value: true }
    return ['false', '0', 'no'].includes(word) ? { value: false } : { expected: 'true or false' }
  },
  show: String,
}

export function oneOf<T extends string>(...words: readonly T[]): Format<T> {
  return {
    placeholder: words.join('|'),
    parse: (text) => {
      const value = words.find((word) => word === text.trim().toLowerCase())
      return value === undefined ? { expected: `one of ${words.join(', ')}` } : { value }
    },
    show: (value) => value,
  }
}

/** Text that passes `isFine`, or nothing at all where nothing is the fallback. */
function textWhere(placeholder: string, expected: string, isFine: (text: string) => boolean): Format<string> {
  return {
    placeholder,
    parse: (text) => (text === '' || isFine(text) ? { value: text } : { expected }),
    show: (value) => value,
  }
}

const HOST_PATTERN =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i

function isHost(text: string): boolean {
  // What looks like numbers with dots has to be an address: `127.0.0` or `10.0.0.256` are slips, not names.
  return isIP(text) !== 0 || (HOST_PATTERN.test(text) && !/^[\d.]+$/.test(text))
}

function isHostOrCidr(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  if (prefix === undefined) return isHost(text)
  const bitsMax = isIP(address) === 6 ? 128 : 32
  return isIP(address) !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bitsMax && rest.length === 0
}

/** Splits at commas; spaces around entries do not count. */
function listOf<T>(options: {
  placeholder: string
  expected: string
  parseItem: (text: string) => T | null
  showItem: (item: T) => string
  countMin: number
  countMax: number
}): Format<readonly T[]> {
  const { placeholder, expected, parseItem, showItem, countMin, countMax } = options
  return {
    placeholder,
    parse: (text) => {
      const parts = text.trim() === '' ? [] : text.split(',').map((part) => part.trim())
      const value = parts.map(parseItem).filter((item) => item !== null)
      const isFine = value.length === parts.length && value.length >= countMin && value.length <= countMax
      return isFine ? { value } : { expected }
    },
    show: (value) => value.map(showItem).join(','),
  }
}

export const hostList = listOf({
  placeholder: 'list',
  expected: 'hosts and CIDRs with commas between them, such as 127.0.0.0/8,hooks.internal',
  parseItem: (text) => (isHostOrCidr(text) ? text.toLowerCase() : null),
  showItem: (host) => host,
  countMin: 0,
  countMax: 1_000,
})

export const durationList = listOf({
  placeholder: 'durations',
  expected: '1 to 50 durations of at most 30d with commas between them, such as 0s,5s,5m,2h',
  parseItem: (text) => {
    const waitMs = parseDuration(text)
    return waitMs !== null && waitMs <= 30 * DAY ? waitMs : null
  },
  showItem: formatDuration,
  countMin: 1,
  countMax: 50,
})

/** An http or https URL that carries no credential and no query, without the slash at its end. */
export function webUrl(example: string): Format<string> {
  return {
    placeholder: 'url',
    parse: (text) => {
      const isFine = text === '' || (URL.canParse(text) && isBaseUrl(new URL(text)))
      if (isFine) return { value: text.trim().replace(/\/+$/, '') }
      return { expected: `an http or https URL without user, query or fragment, such as ${example}` }
    },
    show: (value) => value,
  }
}

function isBaseUrl(url: URL): boolean {
  const isWeb = url.protocol === 'https:' || url.protocol === 'http:'
  return isWeb && url.username === '' && url.password === '' && url.search === '' && url.hash === ''
}

export const fileUrl: Format<string> = {
  placeholder: 'url',
  parse: (text) => {
    if (/^postgres(ql)?:/i.test(text)) {
      return { expected: 'file:<path>; this version keeps its state in SQLite and cannot use PostgreSQL yet' }
    }
    const path = databasePathOf(text)
    if (path === '' || /[?#\0]/.test(path)) return { expected: 'file:<path>, such as file:./ringback.db' }
    return path.includes(':memory:') ? { expected: 'file:<path> on a disk; memory forgets tasks' } : { value: text }
  },
  show: (value) => value,
}

/** `file:./ringback.db` → `./ringback.db`, `file:///var/lib/ringback.db` → `/var/lib/ringback.db`; '' for anything else. */
export function databasePathOf(url: string): string {
  const path = /^file:(?:\/\/(?=\/))?(.+)$/i.exec(url.trim())?.[1] ?? ''
  return path.startsWith('//') ? '' : path
}

export const plainText = textWhere('text', 'text without spaces or control characters', (value) =>
  /^[\x21-\x7e]+$/.test(value),
)
export const whsecSecret = textWhere(
  'secret',
  'whsec_ followed by base64 of 24 to 64 bytes',
  (value) => parseSecret(value) !== null,
)
export const secretKeyText = textWhere(
  'key',
  'base64 or hexadecimal of 32 bytes (openssl rand -base64 32)',
  (value) => parseSecretKey(value) !== null,
)
export const jsonText = textWhere('json', 'a JSON object or array', (value) => {
  try {
    const parsed: unknown = JSON.parse(value)
    return typeof parsed === 'object' && parsed !== null
  } catch {
    return false
  }
})
export const hostName = textWhere('host', 'an IP address or a host name', isHost)
