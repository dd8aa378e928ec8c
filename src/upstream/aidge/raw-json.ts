/**
 * Members of a JSON text as they were written.
 *
 * `JSON.parse` loses what a receiver may need: the digits of integers beyond 2^53 (9007199254740993 becomes …992), the
 * order and repetition of members, how numbers and strings were spelled. Node 20 has no access to the source text in a
 * reviver, so this scanner finds where a member lies. It trusts that `JSON.parse` has accepted the text and therefore
 * only has to know where things end. It holds no stack: 10^5 levels of nesting cost a counter.
 */

export interface RawValue {
  /** Exactly as written, without the white space around it. */
  readonly text: string
  /** Levels of arrays and objects: 0 for a scalar, 1 for `{}` and `[1]`. */
  readonly depth: number
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/**
 * The member `name` of the object that `json` is; null when it has none, or is no object. Of repeated members the last,
 * as `JSON.parse` reads it. `json` must be a text that `JSON.parse` accepts.
 */
export function sliceMember(json: string, name: string): RawValue | null {
  let found: RawValue | null = null
  let at = skipSpace(json, 0)
  if (json.charCodeAt(at) !== OPEN_BRACE) return null
  do {
    const keyStart = skipSpace(json, at + 1)
    if (json.charCodeAt(keyStart) !== QUOTE) return found
    const keyEnd = endOfString(json, keyStart)
    const colon = skipSpace(json, keyEnd)
    const valueStart = skipSpace(json, colon + 1)
    const { end, depth } = endOfValue(json, valueStart)
    if (isKey(json.slice(keyStart, keyEnd), name)) found = { text: json.slice(valueStart, end), depth }
    at = skipSpace(json, end)
  } while (json.charCodeAt(at) === COMMA)
  return found
}

function isKey(quoted: string, name: string): boolean {
  return quoted.includes('\\') ? JSON.parse(quoted) === name : quoted === `"${name}"`
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}

function skipSpace(json: string, start: number): number {
  let at = start
  while (isSpace(json.charCodeAt(at))) at += 1
  return at
}

/** The position after the closing quote of the string that opens at `start`. */
function endOfString(json: string, start: number): number {
  let quote = json.indexOf('"', start + 1)
  while (quote !== -1 && isEscaped(json, quote)) quote = json.indexOf('"', quote + 1)
  return quote === -1 ? json.length : quote + 1
}

/** An odd number of backslashes before it. Each run of them is counted once, so the scan stays linear. */
function isEscaped(json: string, quote: number): boolean {
  let start = quote
  while (json.charCodeAt(start - 1) === BACKSLASH) start -= 1
  return (quote - start) % 2 === 1
}

function endOfValue(json: string, start: number): { end: number; depth: number } {
  const first = json.charCodeAt(start)
  if (first === QUOTE) return { end: endOfString(json, start), depth: 0 }
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return endOfContainer(json, start)
  let end = start
  while (end < json.length && !isAfterScalar(json.charCodeAt(end))) end += 1
  return { end, depth: 0 }
}

function isAfterScalar(code: number): boolean {
  return code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || isSpace(code)
}

function endOfContainer(json: string, start: number): { end: number; depth: number } {
  let level = 0
  let depth = 0
  let at = start
  while (at < json.length) {
    const code = json.charCodeAt(at)
    if (code === QUOTE) {
      at = endOfString(json, at)
      continue
    }
    at += 1
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      level += 1
      depth = Math.max(depth, level)
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      level -= 1
      if (level === 0) return { end: at, depth }
    }
  }
  return { end: json.length, depth }
}
