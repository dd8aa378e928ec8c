/** The janitor over a scripted store: who is told, when it comes again, and when it stops. */

import { expect, test } from 'vitest'
import { after, DAY, type EpochMs, MINUTE, SECOND } from '../../src/core/time.ts'
import { createJanitor, type JanitorDeps } from '../../src/engine/janitor.ts'
import { START, standingClock } from '../support/store.ts'
import { aDueTask } from './due.ts'

interface Script {
  readonly overdueCount?: number
  readonly nextDeadlineAt?: EpochMs | null
  readonly isLeaseLost?: boolean
  /** How many there are to forget. */
  readonly oldCount?: number
  readonly onDelete?: () => void
  readonly endpointCount?: number
}

function aJanitor(script: Script = {}) {
  const asked: { deadlineBefore: EpochMs; limit: number }[] = []
  const deleted: number[] = []
  const looked: (string | null)[] = []
  let settledCount = 0
  let left = script.oldCount ?? 0
  const store: JanitorDeps['store'] = {
    async claimOverdueTasks({ deadlineBefore, limit }) {
      asked.push({ deadlineBefore, limit })
      const count = Math.min(script.overdueCount ?? 0, limit)
      const tasks = Array.from({ length: count }, (_, index) => aDueTask({ id: `task_${index}` }))
      return { tasks, nextDeadlineAt: script.nextDeadlineAt ?? null }
    },
    async recordPolls({ records }) {
      if (script.isLeaseLost === true) return { applied: 0, settled: [] }
      const settled = records.map(({ task }) => ({ id: task.id, status: 'expired', eventId: 'evt_1' }) as const)
      return { applied: settled.length, settled }
    },
    async deleteSettledTasks({ limit }) {
      const count = Math.min(left, limit)
      left -= count
      deleted.push(count)
      script.onDelete?.()
      return count
    },
    async deleteOperatorEvents() {
      return 0
    },
    async forgetEndpoints({ after: last, limit }) {
      looked.push(last)
      const next = looked.length * limit < (script.endpointCount ?? 0) ? (`ep_${looked.length}` as const) : null
      return { forgottenCount: 0, next }
    },
    async checkpoint() {},
  }
  const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const deps = {
    store,
    clock: standingClock,
    newId: (prefix: string) => `${prefix}_1`,
    log: silent,
    onSettled: () => {
      settledCount += 1
    },
  } as unknown as JanitorDeps
  const options = { retentionMs: 30 * DAY, leaseMs: MINUTE }
  return { janitor: createJanitor(deps, options), asked, deleted, looked, settledCount: () => settledCount }
}

test('whoever delivers is told once when something expired, and not when the lease was lost or nothing was overdue', async () => {
  const told = async (script: Script) => {
    const { janitor, settledCount } = aJanitor(script)
    await janitor.expireOverdue()
    return settledCount()
  }
  expect(await told({ overdueCount: 3 })).toBe(1)
  expect(await told({ overdueCount: 3, isLeaseLost: true })).toBe(0)
  expect(await told({})).toBe(0)
})

test('a task is ended unasked only when its deadline has passed for some seconds', async () => {
  const { janitor, asked } = aJanitor()
  await janitor.expireOverdue()
  expect(START - (asked[0]?.deadlineBefore ?? 0)).toBeGreaterThanOrEqual(5 * SECOND)
})

test('it comes again at once when there are more than it takes at a time, and else for the next deadline', async () => {
  const nextDeadlineAt = after(START, MINUTE)
  const { janitor, asked } = aJanitor({ overdueCount: 100_000, nextDeadlineAt })
  expect(await janitor.expireOverdue()).toBe(START)
  expect(asked[0]?.limit).toBeLessThanOrEqual(1_000)
  const next = await aJanitor({ overdueCount: 1, nextDeadlineAt }).janitor.expireOverdue()
  expect(next).toBeGreaterThan(nextDeadlineAt)
  expect(next).toBeLessThanOrEqual(after(nextDeadlineAt, 6 * SECOND))
  expect(await aJanitor({ overdueCount: 1 }).janitor.expireOverdue()).toBeNull()
})

test('forgetting goes on in small steps until nothing old is left', async () => {
  const { janitor, deleted } = aJanitor({ oldCount: 1_500 })
  await janitor.forgetOld(new AbortController().signal)
  expect(deleted.reduce((sum, count) => sum + count, 0)).toBe(1_500)
  expect(Math.max(...deleted)).toBeLessThanOrEqual(1_000)
  expect(deleted.slice(0, -1)).not.toContain(0)
})

test('forgetting ends at its next step when the daemon stops', async () => {
  const stopping = new AbortController()
  const { janitor, deleted } = aJanitor({ oldCount: 1_000_000, onDelete: () => stopping.abort() })
  await janitor.forgetOld(stopping.signal)
  expect(deleted).toHaveLength(1)
})

test('all endpoints are looked at, each once, a few at a time', async () => {
  const { janitor, looked } = aJanitor({ endpointCount: 200 })
  await janitor.forgetOld(new AbortController().signal)
  expect(looked).toEqual([null, 'ep_1', 'ep_2', 'ep_3'])
})
