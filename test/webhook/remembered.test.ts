/** Answers about a text: given once, and forgotten before they are too many. */

import { expect, test } from 'vitest'
import { remembered } from '../../src/webhook/remembered.ts'

test('an answer is found once and given again, null too, until there are too many of them', () => {
  const asked: string[] = []
  const answer = remembered(2, (text) => {
    asked.push(text)
    return text === 'none' ? null : text.length
  })
  expect([answer('one'), answer('none'), answer('one'), answer('none')]).toEqual([3, null, 3, null])
  expect(asked).toEqual(['one', 'none'])
  expect([answer('three'), answer('three'), answer('one')]).toEqual([5, 5, 3])
  expect(asked).toEqual(['one', 'none', 'three', 'one'])
})
