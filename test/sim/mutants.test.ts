/** The mutants themselves: each applies to the sources as they are. Whether it is caught is `npm run test:mutants`. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { plant } from './mutant-plugin.ts'
import { MUTANTS } from './mutants.ts'

const ROOT = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

test('every mutant has a name of its own, and every number of the catalogue has one', () => {
  const names = MUTANTS.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  const numbers = new Set(MUTANTS.flatMap(({ number }) => number ?? []))
  expect([...numbers].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1))
})

test.each(MUTANTS)('$name can be planted', ({ name, changes }) => {
  const planted = new Map<string, string>()
  for (const { file, find, replace } of changes) {
    const before = planted.get(file) ?? read(`src/${file}`)
    const after = plant(before, find, replace, name)
    expect(after).not.toBe(before)
    planted.set(file, after)
  }
})
