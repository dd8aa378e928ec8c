/** The life of a task. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ageMs,
  isFinal,
  TASK_STATUSES,
  TASK_TRANSITIONS,
  type TaskStatus,
  UPSTREAM_TASK_ID_PATTERN,
} from '../../src/core/task.ts'
import { at, NOW } from './builders.ts'

describe('the life of a task', () => {
  test('begins pending and ends in one of four ways, none of which it leaves', () => {
    expect(TASK_STATUSES).toEqual(['pending', 'succeeded', 'failed', 'expired', 'canceled'])
    expect(TASK_TRANSITIONS.pending).toEqual(['succeeded', 'failed', 'expired', 'canceled'])
    expect(TASK_STATUSES.filter(isFinal)).toEqual(['succeeded', 'failed', 'expired', 'canceled'])
  })

  test('is at most one step long, whichever way it is walked', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat()), (choices) => {
        let status: TaskStatus = 'pending'
        let stepCount = 0
        while (!isFinal(status)) {
          const ways: readonly TaskStatus[] = TASK_TRANSITIONS[status]
          status = ways[choices.next().value % ways.length]!
          stepCount += 1
          expect(stepCount).toBe(1)
        }
      }),
    )
  })
})

describe('the age of a task', () => {
  test('counts from its submission where that is known', () => {
    expect(ageMs({ registeredAt: NOW, submittedAt: at(-60_000) }, at(5_000))).toBe(65_000)
  })

  test('counts from its registration otherwise', () => {
    expect(ageMs({ registeredAt: NOW, submittedAt: null }, at(5_000))).toBe(5_000)
  })

  test('is never negative, whatever clock the submission was read from', () => {
    expect(ageMs({ registeredAt: NOW, submittedAt: at(60_000) }, at(5_000))).toBe(0)
  })
})

describe("the upstream's id of a task", () => {
  test.each(['1', '4dcfa662-d5b3-48d5-842e-a87f70ac1522', '12345678901234567890', '"<&?%/\\', 'x'.repeat(256)])(
    'may be %j',
    (text) => {
      expect(UPSTREAM_TASK_ID_PATTERN.test(text)).toBe(true)
    },
  )

  test.each(['', ' 1', '1 ', 'a b', '1\n', 'a\tb', 'ünï', '\u0000', 'x'.repeat(257)])('may not be %j', (text) => {
    expect(UPSTREAM_TASK_ID_PATTERN.test(text)).toBe(false)
  })
})
