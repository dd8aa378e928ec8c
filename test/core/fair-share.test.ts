/** Whose turn it is: rounds in which every queue has one turn, carried on from claim to claim. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Queue, type Served, shareOut } from '../../src/core/fair-share.ts'
import { at } from './builders.ts'

function aQueue(kind: string, dueAtMs = 0, isNew = false): Queue {
  return { kind, isNew, dueAt: at(dueAtMs) }
}

function countsOf({ shares }: ReturnType<typeof shareOut>): Record<string, number> {
  return Object.fromEntries(shares.map(({ queue: { kind, isNew }, count }) => [`${kind}${isNew ? ' new' : ''}`, count]))
}

/** Claims of one turn each, as with a slow rate. */
function inTurn(queues: readonly Queue[], count: number, served: Served = []): readonly string[] {
  const names: string[] = []
  let state = served
  for (let turn = 0; turn < count; turn += 1) {
    const next = shareOut(queues, state, 1)
    names.push(...Object.keys(countsOf(next)))
    state = next.served
  }
  return names
}

describe('the turns of one claim', () => {
  test('are shared out evenly, the rest to those that have been due for longest', () => {
    const queues = [aQueue('a', 30), aQueue('b', 10), aQueue('c', 20)]
    expect(countsOf(shareOut(queues, [], 8))).toEqual({ a: 2, b: 3, c: 3 })
  })

  test('are all of one queue when nobody else waits', () => {
    expect(countsOf(shareOut([aQueue('a')], [], 64))).toEqual({ a: 64 })
  })

  test('are none where nobody waits, and none are none', () => {
    expect(shareOut([], ['known a'], 5)).toEqual({ shares: [], served: ['known a'] })
    expect(shareOut([aQueue('a')], ['known b'], 0)).toEqual({ shares: [], served: ['known b'] })
  })

  test('go to the new and to the others of one kind alike', () => {
    expect(countsOf(shareOut([aQueue('a', 0), aQueue('a', 5, true)], [], 10))).toEqual({ a: 5, 'a new': 5 })
  })
})

describe('one turn at a time', () => {
  test('each queue has its own, the longest due first', () => {
    expect(inTurn([aQueue('a', 3), aQueue('b', 1), aQueue('c', 2)], 6)).toEqual(['b', 'c', 'a', 'b', 'c', 'a'])
  })

  test('who comes late has its turn in the round that is under way, and no more', () => {
    const { served } = shareOut([aQueue('a', 0), aQueue('b', 1)], [], 1)
    expect(inTurn([aQueue('a', 0), aQueue('b', 1), aQueue('late', 2)], 5, served)).toEqual([
      'b',
      'late',
      'a',
      'b',
      'late',
    ])
  })

  test('who has gone away holds up no round', () => {
    expect(inTurn([aQueue('a'), aQueue('b', 1)], 4, ['known gone', 'known a'])).toEqual(['b', 'a', 'b', 'a'])
  })
})

const someQueues = fc
  .uniqueArray(fc.record({ kind: fc.constantFrom('a', 'b', 'c', 'd', 'e'), isNew: fc.boolean(), dueAt: fc.nat(9) }), {
    selector: ({ kind, isNew }) => `${kind} ${isNew}`,
    minLength: 1,
  })
  .map((queues) => queues.map(({ kind, isNew, dueAt }) => aQueue(kind, dueAt, isNew)))

test('while the same queues wait, no two differ by more than one turn, however the turns are cut into claims', () => {
  fc.assert(
    fc.property(someQueues, fc.array(fc.nat(40)), (queues, claims) => {
      const turns = new Map(queues.map((queue) => [queue, 0]))
      let served: Served = []
      for (const count of claims) {
        const next = shareOut(queues, served, count)
        served = next.served
        for (const { queue, count: given } of next.shares) turns.set(queue, turns.get(queue)! + given)
        expect(next.shares.reduce((sum, share) => sum + share.count, 0)).toBe(count)
        expect(Math.max(...turns.values()) - Math.min(...turns.values())).toBeLessThanOrEqual(1)
      }
    }),
  )
})

test('whatever was served before, nobody who waits is passed over for more than one round', () => {
  fc.assert(
    fc.property(someQueues, fc.array(fc.constantFrom('known a', 'new b', 'known z')), (queues, served) => {
      const names = inTurn(queues, 2 * queues.length, served)
      expect(new Set(names).size).toBe(queues.length)
    }),
  )
})

test('what is kept never grows beyond the queues there are', () => {
  fc.assert(
    fc.property(someQueues, fc.array(fc.integer({ min: 1, max: 40 })), (queues, claims) => {
      let served: Served = []
      for (const count of claims) served = shareOut(queues, served, count).served
      expect(served.length).toBeLessThan(queues.length)
    }),
  )
})
