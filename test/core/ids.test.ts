/** The form of ids, and the event id that survives crashes and restored backups. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ENTROPY_BYTES, encodeId, eventIdOf, type IdPrefix, isId } from '../../src/core/ids.ts'
import { epochMs } from '../../src/core/time.ts'
import { NOW } from './builders.ts'

const PREFIXES: readonly IdPrefix[] = ['task', 'evt', 'ep', 'dlv', 'att', 'lse']

const anInstant = fc.nat(4_102_444_800_000).map(epochMs)
const anEntropy = fc.uint8Array({ minLength: ENTROPY_BYTES, maxLength: ENTROPY_BYTES })
const aPrefix = fc.constantFrom(...PREFIXES)

describe('an id', () => {
  test('has the form of its own prefix and of no other', () => {
    fc.assert(
      fc.property(aPrefix, anInstant, anEntropy, (prefix, at, entropy) => {
        const id = encodeId(prefix, at, entropy)
        expect(PREFIXES.filter((other) => isId(other, id))).toEqual([prefix])
      }),
    )
  })

  test('has no dot and no letter that is read as another, and is always as long', () => {
    fc.assert(
      fc.property(anInstant, anEntropy, (at, entropy) => {
        expect(encodeId('evt', at, entropy)).toMatch(/^evt_[0-9a-hjkmnp-tv-z]{26}$/)
      }),
    )
  })

  test('sorts as text by the time of its making', () => {
    fc.assert(
      fc.property(anInstant, anInstant, anEntropy, anEntropy, (a, b, entropyA, entropyB) => {
        fc.pre(a < b)
        expect(encodeId('task', a, entropyA) < encodeId('task', b, entropyB)).toBe(true)
      }),
    )
  })

  test('differs when the random bytes differ', () => {
    fc.assert(
      fc.property(anEntropy, anEntropy, (a, b) => {
        const isSame = Buffer.compare(a, b) === 0
        expect(encodeId('dlv', NOW, a) === encodeId('dlv', NOW, b)).toBe(isSame)
      }),
    )
  })

  test('spells time and random bytes in base32, the high bits first', () => {
    expect(encodeId('ep', epochMs(33), new Uint8Array(10))).toBe(`ep_0000000011${'0'.repeat(16)}`)
    expect(encodeId('ep', epochMs(0), new Uint8Array(10).fill(255))).toBe(`ep_${'0'.repeat(10)}${'z'.repeat(16)}`)
    expect(encodeId('ep', epochMs(0), Uint8Array.of(0b00001_000, 0b10_00011_0))).toBe(`ep_${'0'.repeat(10)}1230`)
  })

  test('made before 1970 sorts first instead of breaking', () => {
    expect(encodeId('att', epochMs(-5), new Uint8Array(10))).toBe(`att_${'0'.repeat(26)}`)
  })

  test.each([
    '',
    'task',
    'task_',
    'evt_0',
    'task_A',
    'task_a.b',
    'task_a b',
    'task_a\n',
    ' task_a',
    `task_${'a'.repeat(65)}`,
  ])('%j is no task id', (text) => {
    expect(isId('task', text)).toBe(false)
  })
})

describe('an event id', () => {
  const params = { databaseId: 'db_1', taskId: 'task_01jcxk7q4m8f3w6z9t2b5n0hrd', outcome: 'succeeded' } as const

  test('is a pure function of what the event tells', () => {
    expect(eventIdOf(params)).toBe(eventIdOf({ ...params }))
    // Receivers keep these for days to tell repeats: another spelling would make every redelivery look new.
    expect(eventIdOf(params)).toBe('evt_01jcxk7q4myphre183ee32ceqjt4accgsf')
    expect(isId('evt', eventIdOf(params))).toBe(true)
  })

  test('begins with the time of its task, so that events of one time are neighbours in every index', () => {
    expect(eventIdOf(params)).toMatch(/^evt_01jcxk7q4m[0-9a-z]{24}$/)
  })

  test('differs with the database, the task and the outcome', () => {
    const ids = [
      params,
      { ...params, databaseId: 'db_2' },
      { ...params, taskId: 'task_01jcxk7q4m8f3w6z9t2b5n0hre' as const },
      { ...params, outcome: 'failed' },
    ].map(eventIdOf)
    expect(new Set(ids).size).toBe(4)
  })
})
