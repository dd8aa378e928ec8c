/** The scheduler's slots, over a scripted store and upstream: whatever fails, a slot comes back and nothing ends. */

import { expect, test } from 'vitest'
import { after, type EpochMs, SECOND } from '../../src/core/time.ts'
import { createCadences } from '../../src/engine/cadences.ts'
import { createScheduler, type SchedulerDeps } from '../../src/engine/scheduler.ts'
import type { PollRecord, Store } from '../../src/store/store.ts'
import { SUCCEEDED } from '../store/steps.ts'
import { START, standingClock } from '../support/store.ts'
import { aDueTask } from './due.ts'

type Query = SchedulerDeps['upstream']['query']
type Effects = Parameters<Store['recordPolls']>[0]['effects']

const CADENCE = { intervalMinMs: SECOND, intervalMaxMs: SECOND, pollCostMs: SECOND }

/** Every claim hands out as much as it is asked for, or `perClaim`. */
function aScheduler(
  query: Query,
  differences: {
    nextClaimAts?: Record<string, EpochMs>
    isRecording?: boolean
    perClaim?: number
    isMoreDue?: boolean
    /** When the claims after the first are. */
    answered?: Promise<void>
    idsPerQuery?: number
  } = {},
) {
  const {
    nextClaimAts = { aidge: START },
    isRecording = true,
    perClaim = Number.POSITIVE_INFINITY,
    isMoreDue = true,
    answered = Promise.resolve(),
    idsPerQuery = 1,
  } = differences
  const claimed: number[] = []
  const records: PollRecord[] = []
  const effects: Effects[number][] = []
  const events: string[] = []
  const woken: EpochMs[] = []
  const settling: Promise<unknown>[] = []
  let count = 0
  const store: SchedulerDeps['store'] = {
    async claimDueTasks({ limit, credential }) {
      claimed.push(limit)
      if (claimed.length > 1) await answered
      const tasks = Array.from({ length: Math.min(limit, perClaim) }, () => {
        count += 1
        return aDueTask({ id: `task_${count}`, taskId: String(count), submittedAt: START })
      })
      return { tasks, nextClaimAt: nextClaimAts[credential] ?? null, isMoreDue }
    },
    async recordPolls(params) {
      if (!isRecording) throw new Error('the store is gone')
      records.push(...params.records)
      effects.push(...params.effects)
      return { applied: params.records.length, settled: [] }
    },
  }
  const note = ({ event }: { event: string }) => void events.push(event)
  const log = { debug: note, info: note, warn: note, error: note }
  const scheduler = createScheduler(
    {
      store,
      upstream: {
        idsPerQuery: () => idsPerQuery,
        kinds: () => Object.keys(nextClaimAts),
        credentialOf: (kind: string) => kind,
        query,
      },
      clock: standingClock,
      newId: (prefix: string) => `${prefix}_1`,
      random: () => 0.5,
      log,
      cadences: createCadences({ store: { listCadences: async () => [] }, log }, CADENCE),
      wakeBy: (at: EpochMs) => void woken.push(at),
      onSettling: (recording: Promise<unknown>) => void settling.push(recording),
    } as unknown as SchedulerDeps,
    {
      concurrency: 2,
      budget: { rate: 10 },
      cadence: CADENCE,
      leaseMs: 90_000,
    },
  )
  return { scheduler, claimed, records, effects, events, woken, settling }
}

const aTurn = () => new Promise((resolve) => setImmediate(resolve))

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await aTurn()
}

test('no more is claimed than there are slots, and nothing when none is free', async () => {
  const { scheduler, claimed } = aScheduler(() => new Promise(() => {}))
  expect(await scheduler.tick()).toBe(START)
  expect(await scheduler.tick()).toBeNull()
  expect(claimed).toEqual([2])
})

test('a query that throws frees its slot, is logged, and the next tick claims again', async () => {
  const { scheduler, claimed, events, woken } = aScheduler(async () => {
    throw new Error('a bug in the adapter')
  })
  await scheduler.tick()
  await turns()
  expect(events).toEqual(['query.failed', 'query.failed'])
  expect(woken).toEqual([START, START])
  await scheduler.tick()
  expect(claimed).toEqual([2, 2])
  await scheduler.drain(0)
})

/** Each answer is that its task is running, and when it was asked. */
const stillRunning: Query = async (tasks) => {
  await aTurn()
  const answers = tasks.map((task) => {
    const observation = { kind: 'running', status: 'running', isKnownWord: true } as const
    return { task, observation, askedAt: START, answeredAt: START, httpStatus: 200, requestId: null }
  })
  return { answers, queryCount: 1 }
}

/** A poll is due again after `intervalMinMs`. */
const AGAIN = after(START, SECOND)

test.each<[string, Parameters<typeof aScheduler>[1], EpochMs[]]>([
  ['left nothing behind', { isMoreDue: false }, [AGAIN, AGAIN]],
  ['left something behind for want of slots', { isMoreDue: true }, [START, AGAIN, START, AGAIN]],
  ['left something behind for want of budget', { isMoreDue: true, perClaim: 1 }, [AGAIN, START]],
])('when the last claim %s, this is when the next is worth it', async (_what, differences, woken) => {
  const { scheduler, woken: actual } = aScheduler(stillRunning, differences)
  await scheduler.tick()
  await turns()
  expect(actual).toEqual(woken)
})

test('what is accepted while a claim is under way is worth another: that one may not have seen the end of a pause', async () => {
  let answer = () => {}
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const { scheduler, woken } = aScheduler(stillRunning, { isMoreDue: false, perClaim: 1, answered })
  await scheduler.tick()
  const ticking = scheduler.tick()
  await turns()
  expect(woken).toEqual([START, AGAIN, START])
  answer()
  await ticking
})

test('a slot that frees while a claim is under way, or after a tick that had none, is worth another', async () => {
  const end: (() => void)[] = []
  const query: Query = (tasks, signal) =>
    new Promise<void>((resolve) => void end.push(resolve)).then(() => stillRunning(tasks, signal))
  const { scheduler, claimed, woken } = aScheduler(query, { isMoreDue: false })
  await scheduler.tick()
  // Nothing was left behind then, but who looks now has no slot to look for.
  await scheduler.tick()
  expect(claimed).toEqual([2])
  end[0]?.()
  await turns()
  expect(woken[0]).toBe(START)

  const { scheduler: other, woken: wokenOther } = aScheduler(query, {
    isMoreDue: false,
    perClaim: 1,
    answered: new Promise<void>(() => {}),
  })
  await other.tick()
  void other.tick()
  end.at(-1)?.()
  await turns()
  expect(wokenOther[0]).toBe(START)
})

test('what is given back is claimed again at once, also when nothing else was left behind', async () => {
  const query: Query = async () => {
    await aTurn()
    return { answers: [], queryCount: 1 }
  }
  const { scheduler, woken } = aScheduler(query, { isMoreDue: false })
  await scheduler.tick()
  await turns()
  expect(woken).toEqual([START, START])
})

test('who delivers hears of a record that settles a task as soon as the store has been handed it', async () => {
  const finished: Query = async ([task]) => {
    const observation = { kind: 'finished', outcome: SUCCEEDED } as const
    const answer = { task: task!, observation, askedAt: START, answeredAt: START, httpStatus: 200, requestId: null }
    return { answers: [answer], queryCount: 1 }
  }
  const { scheduler, settling } = aScheduler(finished, { perClaim: 1 })
  await scheduler.tick()
  await turns()
  expect(settling).toHaveLength(1)
  expect(await settling[0]).toMatchObject({ applied: 1 })

  const { scheduler: other, settling: none } = aScheduler(stillRunning)
  await other.tick()
  await turns()
  expect(none).toEqual([])
})

test('an answer that cannot be recorded is logged and ends nothing', async () => {
  const query: Query = async () => ({ answers: [], queryCount: 1 })
  const { scheduler, claimed, events } = aScheduler(query, { isRecording: false })
  await scheduler.tick()
  await turns()
  expect(events).toEqual(['query.failed', 'query.failed'])
  await scheduler.tick()
  expect(claimed).toEqual([2, 2])
})

test('a task about which nothing was heard is given back, and a query that was asked twice is paid for twice', async () => {
  const { scheduler, records, effects } = aScheduler(async () => ({ answers: [], queryCount: 2 }))
  await scheduler.tick()
  await turns()
  expect(records.map(({ decision, poll }) => [decision.kind, poll])).toEqual([
    ['give_back', null],
    ['give_back', null],
  ])
  expect(effects.map(({ effect }) => effect)).toEqual([
    { kind: 'spent', queryCount: 1 },
    { kind: 'spent', queryCount: 1 },
  ])
})

test('what was learned last and cannot be recorded keeps nobody from stopping', async () => {
  const later = after(START, 10 * SECOND)
  const observation = { kind: 'running', status: 'running', isKnownWord: true } as const
  const query: Query = async (tasks) => ({
    answers: tasks.map((task) => {
      return { task, observation, askedAt: later, answeredAt: later, httpStatus: 200, requestId: null }
    }),
    queryCount: 1,
  })
  const { scheduler, events } = aScheduler(query, { isRecording: false })
  await scheduler.tick()
  await turns()
  await scheduler.drain(0)
  expect(events).toEqual(['query.failed', 'query.failed', 'cadence.unrecorded'])
})

test('a query that was never sent costs nothing more', async () => {
  const { scheduler, effects } = aScheduler(async () => ({ answers: [], queryCount: 0 }))
  await scheduler.tick()
  await turns()
  expect(effects).toEqual([])
})

test('of several credentials the one that may ask first says when to come again', async () => {
  const [sooner, later] = [after(START, SECOND), after(START, 9 * SECOND)]
  for (const nextClaimAts of [
    { first: sooner, second: later },
    { first: later, second: sooner },
  ]) {
    const { scheduler } = aScheduler(async () => ({ answers: [], queryCount: 1 }), { nextClaimAts, perClaim: 1 })
    expect(await scheduler.tick()).toBe(sooner)
  }
})

test('what does not end within the grace is told to, and is given back', async () => {
  const query: Query = (_tasks, signal) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve({ answers: [], queryCount: 1 })))
  const { scheduler, records } = aScheduler(query)
  await scheduler.tick()
  await scheduler.drain(0)
  expect(records.map(({ decision }) => decision.kind)).toEqual(['give_back', 'give_back'])
})

test('of a query about several tasks each is recorded with its own answer, in whatever order they come', async () => {
  const query: Query = async (tasks) => {
    const answers = tasks.toReversed().map((task) => {
      const observation = { kind: 'running', status: `state of ${task.taskId}`, isKnownWord: true } as const
      return { task, observation, askedAt: START, answeredAt: START, httpStatus: 200, requestId: null }
    })
    return { answers, queryCount: 1 }
  }
  const { scheduler, records } = aScheduler(query, { idsPerQuery: 2 })
  await scheduler.tick()
  await turns()
  const said = records.map(({ task, poll }) => [task.taskId, poll?.detail])
  expect(said).toEqual([
    ['1', 'running (state of 1)'],
    ['2', 'running (state of 2)'],
  ])
})
