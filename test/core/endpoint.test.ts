/** Whether we may send to an endpoint. */

import { expect, test } from 'vitest'
import { ENDPOINT_STATUSES, ENDPOINT_TRANSITIONS, expiriesAfterRotation, hearsOf } from '../../src/core/endpoint.ts'
import { epochMs } from '../../src/core/time.ts'

test('an endpoint is enabled, paused or disabled, and never stays so for ever unless it is deleted', () => {
  expect(ENDPOINT_STATUSES).toEqual(['enabled', 'paused', 'disabled', 'deleted'])
  for (const status of ENDPOINT_STATUSES) {
    const ways: readonly string[] = ENDPOINT_TRANSITIONS[status]
    expect(ways).not.toContain(status)
    expect(ways.every((way) => (ENDPOINT_STATUSES as readonly string[]).includes(way))).toBe(true)
    expect(status === 'deleted' || status === 'enabled' || ways.includes('enabled')).toBe(true)
  }
})

test('a rotation ends no live secret later than it was to end, and leaves no more than three', () => {
  const at = (ms: number) => epochMs(1_767_225_600_000 + ms)
  const live = [
    { createdAt: at(0), expiresAt: null },
    { createdAt: at(0), expiresAt: at(5_000) },
    { createdAt: at(0), expiresAt: at(9_000) },
  ]
  expect(expiriesAfterRotation(live, at(1_000), 60_000)).toEqual([at(61_000), at(5_000), at(1_000)])
})

test('an endpoint hears of what it chose, and of all when it chose nothing', () => {
  const chosen = ['task.failed', 'task.expired']
  expect(['task.failed', 'task.expired', 'task.succeeded'].map((type) => hearsOf(chosen, type))).toEqual([
    true,
    true,
    false,
  ])
  expect([hearsOf(null, 'task.succeeded'), hearsOf([], 'task.succeeded')]).toEqual([true, false])
})
