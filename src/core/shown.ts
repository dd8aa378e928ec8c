/** How messages show what they were given: never more of it than helps, and nothing that could pass for something else. */

const SHOWN_LENGTH_MAX = 100

/** A value as a message shows it: cut, and with everything that is not printable written as an escape. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value !== 'string') return String(value)
  return escaped(JSON.stringify(cut(value)))
}

/** Text of another program, made fit for a message. */
export function printable(text: string): string {
  return escaped(cut(text))
}

/** Control, format and bidirectional characters, line separators, halves of surrogate pairs. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

function cut(text: string): string {
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text
}

/** All of it, with everything that is not printable written as an escape. */
export function escaped(text: string): string {
  return text.replaceAll(UNPRINTABLE, asEscape)
}

function asEscape(char: string): string {
  const units = char.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return units.join('')
}

/** A name as a part of a pointer (RFC 6901 §3), cut so that a long one cannot make a long answer. */
export function pointerToken(key: string): string {
  return key.slice(0, SHOWN_LENGTH_MAX).replaceAll('~', '~0').replaceAll('/', '~1')
}
