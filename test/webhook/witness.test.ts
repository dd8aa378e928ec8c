/** The memory of what worked for other hosts. */

import { expect, test } from 'vitest'
import { createWitness } from '../../src/webhook/witness.ts'

test('only another host counts, and only for a minute', () => {
  let nowMs = 0
  const witness = createWitness(() => nowMs)
  expect(witness.sawAnotherThan('a')).toBe(false)
  witness.saw('a')
  expect([witness.sawAnotherThan('a'), witness.sawAnotherThan('b')]).toEqual([false, true])
  witness.saw('b')
  witness.saw('b')
  expect([witness.sawAnotherThan('a'), witness.sawAnotherThan('b')]).toEqual([true, true])
  nowMs = 60_000
  expect(witness.sawAnotherThan('b')).toBe(true)
  nowMs = 60_001
  expect(witness.sawAnotherThan('b')).toBe(false)
})
