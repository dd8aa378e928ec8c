/** The packing of due tasks into queries. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { packQueries } from '../../src/core/batch.ts'

const KINDS = ['a', 'b', 'c', '__proto__']

const tasksAndSizes = fc.record({
  kinds: fc.array(fc.constantFrom(...KINDS), { maxLength: 60 }),
  sizes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: KINDS.length, maxLength: KINDS.length }),
})

test('queries partition the tasks: each in exactly one, one kind in each, none too large, as few as can be', () => {
  fc.assert(
    fc.property(tasksAndSizes, ({ kinds, sizes }) => {
      const tasks = kinds.map((kind, position) => ({ kind, position }))
      const sizeOf = (kind: string) => sizes[KINDS.indexOf(kind)]!
      const queries = packQueries(tasks, sizeOf)

      expect(queries.flat().toSorted((a, b) => a.position - b.position)).toEqual(tasks)
      for (const query of queries) {
        expect(new Set(query.map((task) => task.kind)).size).toBe(1)
        expect(query.length).toBeLessThanOrEqual(sizeOf(query[0]!.kind))
      }
      for (const kind of KINDS) {
        const taskCount = kinds.filter((other) => other === kind).length
        const queryCount = queries.filter((query) => query[0]!.kind === kind).length
        expect(queryCount).toBe(Math.ceil(taskCount / sizeOf(kind)))
      }
    }),
  )
})

test('the longest due task is in the first query, and order is kept within a kind', () => {
  const tasks = ['a', 'b', 'a', 'b', 'a'].map((kind, position) => ({ kind, position }))
  const positions = packQueries(tasks, () => 2).map((query) => query.map((task) => task.position))
  expect(positions).toEqual([[0, 2], [1, 3], [4]])
})

test('one id a query makes one query a task', () => {
  const tasks = [{ kind: 'a' }, { kind: 'a' }]
  expect(packQueries(tasks, () => 1)).toEqual([[{ kind: 'a' }], [{ kind: 'a' }]])
})

test('no task makes no query', () => {
  expect(packQueries([], () => 1)).toEqual([])
})
