/** A roll of what is under way has on it what was entered and not struck out. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRoll } from '../../src/core/roll.ts'

test('whoever is entered is on it until struck out, in whatever order, and striking out again does nothing', () => {
  const steps = fc.array(fc.record({ isEntry: fc.boolean(), pick: fc.nat() }), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (history) => {
      const roll = createRoll<number>()
      const leaves: (() => void)[] = []
      const expected = new Set<number>()
      history.forEach(({ isEntry, pick }, number) => {
        if (isEntry || leaves.length === 0) {
          const leave = roll.enter(number)
          expected.add(number)
          leaves.push(() => {
            leave()
            expected.delete(number)
          })
        } else leaves[pick % leaves.length]?.()
        expect(new Set(roll.members())).toEqual(expected)
        expect(roll.count()).toBe(expected.size)
      })
    }),
  )
})
