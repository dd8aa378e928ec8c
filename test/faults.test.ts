/**
 * Holds docs/faults.md: each fault of the catalogue stands there once and in order, each line names a test or says why
 * there is none, and each test that is named is in the file that is named.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const FAULT_COUNT = 84
/** "Not yet" and nothing more would be no reason. */
const REASON_CHARS_MIN = 30

interface Row {
  readonly id: string
  readonly fault: string
  readonly shown: string
}

interface Proof {
  readonly file: string
  readonly sentence: string
}

const root = join(import.meta.dirname, '..')
const page = readFileSync(join(root, 'docs/faults.md'), 'utf8')

function rowsOf(text: string): readonly Row[] {
  return [...text.matchAll(/^\| (F\d+) \| (.*?) \| (.*) \|$/gm)].map(([, id = '', fault = '', shown = '']) => ({
    id,
    fault,
    shown: shown.replaceAll('\\|', '|'),
  }))
}

function proofsOf({ shown }: Row): readonly Proof[] {
  return [...shown.matchAll(/`(test\/[^`]+)` "(.*?)"(?=<br>|$)/g)].map(([, file = '', sentence = '']) => ({
    file,
    sentence,
  }))
}

/** What a line says beside the tests it names. */
function reasonOf({ shown }: Row): string {
  return shown
    .split('<br>')
    .filter((part) => !/^`test\/[^`]+` ".*"$/.test(part))
    .join(' ')
    .trim()
}

/** A sentence of a template or of a table stands in the source as it is quoted; quotation marks may be escaped there. */
function isNamedIn(source: string, sentence: string): boolean {
  return source.includes(sentence) || source.includes(sentence.replaceAll("'", "\\'"))
}

function problemsOf(row: Row, read: (file: string) => string | null): readonly string[] {
  const proofs = proofsOf(row)
  const reason = reasonOf(row)
  const unproved = proofs.flatMap(({ file, sentence }) => {
    const source = read(file)
    if (source === null) return [`${row.id}: ${file} is not there`]
    return isNamedIn(source, sentence) ? [] : [`${row.id}: ${file} has no test "${sentence}"`]
  })
  const isEmpty = row.fault.trim() === '' || (proofs.length === 0 && reason.length < REASON_CHARS_MIN)
  const isVague = reason !== '' && reason.length < REASON_CHARS_MIN
  return [
    ...unproved,
    ...(isEmpty ? [`${row.id}: names no test and gives no reason`] : []),
    ...(isVague ? [`${row.id}: "${reason}" is no reason`] : []),
    ...(reason.includes('"test/') || /`test\/[^`]+`/.test(reason) ? [`${row.id}: cannot be read: ${reason}`] : []),
  ]
}

const readSource = (file: string) => (existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : null)
const rows = rowsOf(page)

describe('the page of the faults', () => {
  test('has every fault once, in order', () => {
    const ids = Array.from({ length: FAULT_COUNT }, (_, index) => `F${String(index + 1).padStart(2, '0')}`)
    expect(rows.map(({ id }) => id)).toEqual(ids)
  })

  test('names tests that exist, and gives a reason where there is none', () => {
    expect(rows.flatMap((row) => problemsOf(row, readSource))).toEqual([])
  })

  test('names a test for most of them', () => {
    expect(rows.filter((row) => proofsOf(row).length > 0).length).toBeGreaterThanOrEqual(70)
  })
})

describe('this check sees', () => {
  const lineOf = (shown: string) => rowsOf(`| F01 | a fault | ${shown} |`)[0]!
  const read = (file: string) => (file === 'test/a.test.ts' ? `test('it holds', () => {})` : null)

  test.each([
    ['a test that is not there', '`test/a.test.ts` "it does not hold"'],
    ['a file that is not there', '`test/b.test.ts` "it holds"'],
    ['an empty line', ''],
    ['a line without a reason', 'Not yet.'],
    ['a file without a sentence', '`test/a.test.ts`, which holds more or less all of this'],
  ])('%s', (_what, shown) => {
    expect(problemsOf(lineOf(shown), read)).not.toEqual([])
  })

  test('that a line is in order', () => {
    expect(problemsOf(lineOf('`test/a.test.ts` "it holds"'), read)).toEqual([])
    expect(problemsOf(lineOf('Does not apply: there is nothing of that kind here.'), read)).toEqual([])
  })
})
