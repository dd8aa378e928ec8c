/** The guarantees of the README are held by tests: each names some, and each that is named is in the file it is said to be in. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isTestIn, proofsOf } from './support/proofs.ts'

const root = join(import.meta.dirname, '..')
const section = readFileSync(join(root, 'README.md'), 'utf8')
  .split('\n## ')
  .find((part) => part.startsWith('Guarantees\n'))!
const [promised = '', notPromised = ''] = section.split('Not promised:')

const linesOf = (text: string) => text.split(/^- /m).slice(1)

test.each(linesOf(promised).map((line) => [/\*\*(.*?)\*\*/.exec(line)?.[1], line]))('%s', (_promise, line) => {
  expect(proofsOf(line).length).toBeGreaterThan(0)
  expect(proofsOf(line).filter((proof) => !isTestIn(proof))).toEqual([])
})

test('what is not promised is said, and what it names is there', () => {
  expect(linesOf(notPromised).length).toBeGreaterThanOrEqual(4)
  expect(proofsOf(notPromised).filter((proof) => !isTestIn(proof))).toEqual([])
})

test('there is a line for each of the promises that people ask about', () => {
  expect(linesOf(promised).length).toBeGreaterThanOrEqual(11)
})

test('a name that no test has is noticed, and so is a file that is not there', () => {
  expect(isTestIn({ name: 'nothing ever goes wrong at all', file: 'test/e2e/path.test.ts' })).toBe(false)
  expect(isTestIn({ name: 'a second signal ends at once', file: 'test/e2e/nowhere.test.ts' })).toBe(false)
  expect(isTestIn({ name: 'a second signal ends at once', file: 'test/e2e/path.test.ts' })).toBe(true)
})
