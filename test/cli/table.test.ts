/** Rows and fields: whatever other programs put into them, nothing of it acts on the terminal. */

import { expect, test } from 'vitest'
import { printFields, printJsonText, printTable } from '../../src/cli/table.ts'

const WILD = 'a\u001b[31mb\u202ec\u0007d\u009b2Je'

function printed(print: (io: { stdout: { write(text: string): unknown } }) => void): string {
  let text = ''
  const write = (part: string) => {
    text += part
  }
  print({ stdout: { write } })
  return text
}

test.each([
  ['a table', (io: Parameters<typeof printTable>[0]) => printTable(io, [{ title: 'x', value: String }], [WILD])],
  ['fields', (io: Parameters<typeof printFields>[0]) => printFields(io, [['x', WILD]])],
  ['JSON', (io: Parameters<typeof printJsonText>[0]) => printJsonText(io, JSON.stringify({ x: WILD }))],
])('%s holds no control character but the ends of its lines', (_what, print) => {
  const text = printed(print)
  expect(text).toContain('e')
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
})
