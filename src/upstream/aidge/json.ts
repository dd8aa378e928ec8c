/** JSON from outside, where nothing is promised: reading without exceptions. */

/**
 * More objects, lists and members than any answer has. Parsing costs by their number and not by the bytes: 8 MiB of
 * opening brackets, or of empty objects, held up the event loop for a second; this many cost some 60 ms.
 */
export const VALUES_MAX = 250_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b

/** Undefined when the text is not JSON, which no JSON text parses to, or when it holds too many values. */
export function parseJson(text: string): unknown {
  if (hasTooManyValues(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export interface Member {
  /** Which of the spellings it was. */
  readonly name: string
  readonly value: unknown
}

/** The first of the spellings that the object has with a value; null when it has none. */
export function firstMember(object: Readonly<Record<string, unknown>>, names: readonly string[]): Member | null {
  for (const name of names) {
    if (Object.hasOwn(object, name) && object[name] !== null && object[name] !== '')
      return { name, value: object[name] }
  }
  return null
}

/** Every value but the first follows an opening bracket or a comma, so that a short text needs no look. */
function hasTooManyValues(text: string): boolean {
  if (text.length <= VALUES_MAX) return false
  let count = 0
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = closingQuote(text, at)
    else if (code === COMMA || code === OPEN_BRACKET || code === OPEN_BRACE) count += 1
    if (count > VALUES_MAX) return true
  }
  return false
}

function closingQuote(text: string, opening: number): number {
  for (let at = opening + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at
    if (code === BACKSLASH) at += 1
  }
  return text.length
}
