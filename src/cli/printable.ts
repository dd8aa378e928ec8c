/** Text of other programs, made fit for a terminal: nothing in it can move the cursor, ring, or turn the reading order. */

import { stripVTControlCharacters } from 'node:util'

// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is what it is for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above, but for the ends of lines
const CONTROL_WITHIN_LINES = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g
/** What JSON may hold unescaped although a terminal acts on it. */
const CONTROL_IN_JSON = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g

export function printable(text: string, { keepLines = false } = {}): string {
  return stripVTControlCharacters(text).replace(keepLines ? CONTROL_WITHIN_LINES : CONTROL, ' ')
}

/** The same JSON value, with everything that a terminal could act on written as an escape. */
export function printableJson(json: string): string {
  return json.replace(CONTROL_IN_JSON, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
