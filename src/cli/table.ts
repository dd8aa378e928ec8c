/** Rows of data on stdout: aligned columns for people, one JSON object a line for programs. */

import type { Io } from './io.ts'
import { printable, printableJson } from './printable.ts'

export interface Column<T> {
  readonly title: string
  readonly value: (row: T) => string
}

const GAP = '  '

/** Nothing at all for no rows, so that a script sees an empty answer; the reason why goes to stderr. */
export function printTable<T>(
  io: Pick<Io, 'stdout'>,
  columns: readonly Column<T>[],
  rows: readonly T[],
  { hasTitles = true } = {},
): void {
  if (rows.length === 0) return
  const cells = rows.map((row) => columns.map(({ value }) => printable(value(row))))
  const lines = hasTitles ? [columns.map(({ title }) => title.toUpperCase()), ...cells] : cells
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)))
  const text = lines.map((line) =>
    line
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join(GAP)
      .trimEnd(),
  )
  io.stdout.write(`${text.join('\n')}\n`)
}

export function printFields(io: Pick<Io, 'stdout'>, fields: readonly (readonly [string, string])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length))
  const lines = fields.map(([name, value]) => `${name.padEnd(width)}${GAP}${printable(value)}`.trimEnd())
  io.stdout.write(`${lines.join('\n')}\n`)
}

/** One object a line. */
export function printJsonLines(io: Pick<Io, 'stdout'>, rows: readonly unknown[]): void {
  for (const row of rows) printJsonText(io, JSON.stringify(row))
}

/** JSON as it came: parsing and writing it again would round long numbers. */
export function printJsonText(io: Pick<Io, 'stdout'>, json: string): void {
  io.stdout.write(`${printableJson(json).trimEnd()}\n`)
}
