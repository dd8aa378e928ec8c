/** What the engine puts together: a store that refuses, one that is silent, and who watches over the loops. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createEngine, type EngineDeps, type EngineOptions } from '../../src/engine/engine.ts'
import type { Log } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Store } from '../../src/store/store.ts'
import { aDirectory, countingIds } from '../support/store.ts'
import { createVirtualClock } from '../support/virtual-clock.ts'
import { KEY, OPTIONS } from '../support/world.ts'
import { aDueDelivery, aDueTask } from './due.ts'

const TICKING: Partial<EngineOptions> = { idleMs: SECOND, probeEveryMs: SECOND }

/** An engine over a real store of which a part answers as the test says. */
function anEngine(part: Partial<Store> = {}, options: Partial<EngineOptions> = {}, world: Partial<EngineDeps> = {}) {
  const clock = createVirtualClock()
  const newId = countingIds()
  const onDamaged = (error: Error) => {
    throw error
  }
  const store = openSqliteStore({ path: join(aDirectory(), 'engine.db'), clock, newId, onDamaged })
  onTestFinished(() => store.close())
  const events: string[] = []
  const stalls: string[] = []
  const note = ({ event }: { event: string }) => void events.push(event)
  const log: Log = { debug: note, info: note, warn: note, error: note }
  const deps: EngineDeps = {
    store: { ...store, ...part },
    upstream: {
      idsPerQuery: () => 1,
      kinds: () => ['a-kind'],
      credentialOf: () => 'aidge',
      query: async () => ({ answers: [], queryCount: 0 }),
    },
    post: () => new Promise(() => {}),
    guardUrl: (url) => ({ isAllowed: true, url }),
    clock,
    newId,
    random: () => 0.5,
    log,
    signingKeys: [KEY],
    watch: { cpuMs: () => 0, onStalled: (what) => void stalls.push(what), silentMsMax: 30 * SECOND },
    ...world,
  }
  const engine = createEngine(deps, { ...OPTIONS, ...TICKING, ...options })
  return { engine, clock, events, stalls }
}

const never = () => new Promise<never>(() => {})
const refused = () => Promise.reject(new AppError('unavailable', 'Another program holds the database.'))

test('a lease that would end before the longest attempt is refused', () => {
  const lease = { deliveryDeadlineMs: 20 * SECOND, deliveryLeaseMs: 20 * SECOND }
  expect(() => anEngine({}, lease)).toThrow('a lease outlives the longest attempt')
})

test('a store that refuses claims is asked again a second later, and that is no failure of a loop', async () => {
  let claimCount = 0
  const claimDueTasks = () => {
    claimCount += 1
    return refused()
  }
  const { engine, clock, events } = anEngine({ claimDueTasks }, { idleMs: MINUTE })
  engine.start()
  await clock.runFor(10 * SECOND)
  expect(claimCount).toBe(11)
  expect(events).not.toContain('loop.failed')
  await engine.stop(0)
})

test('a loop that hangs makes the daemon lifeless, and is told once as the end of the process', async () => {
  const { engine, clock, stalls } = anEngine({ claimDueTasks: never })
  engine.start()
  await clock.runFor(20 * SECOND)
  expect(engine.health.isLive()).toBe(false)
  expect(engine.health.isReady().reasons).toContain('the scheduler does not tick')
  expect(stalls).toEqual([])
  await clock.runFor(MINUTE)
  expect(stalls).toEqual(['the scheduler has not ticked for 30 s'])
})

test('a loop that waits for a store that is held for a reason is excused, for a fault of our own it is not', async () => {
  const held = anEngine({ claimDueTasks: never, probe: refused })
  held.engine.start()
  await held.clock.runFor(5 * MINUTE)
  expect(held.stalls).toEqual([])
  const broken = anEngine({ claimDueTasks: never, probe: () => Promise.reject(new Error('a bug')) })
  broken.engine.start()
  await broken.clock.runFor(5 * MINUTE)
  expect(broken.stalls).toHaveLength(1)
})

test('an engine that was stopped is not watched any more', async () => {
  const { engine, clock, stalls } = anEngine()
  engine.start()
  await clock.runFor(MINUTE)
  await engine.stop(0)
  await clock.runFor(10 * MINUTE)
  expect(stalls).toEqual([])
})

test('a task that expired unasked wakes the dispatcher, however long that would sleep', async () => {
  let claimCount = 0
  const task = aDueTask()
  const part: Partial<Store> = {
    claimOverdueTasks: async () => ({ tasks: [task], nextDeadlineAt: null }),
    recordPolls: async () => ({ applied: 1, settled: [{ id: task.id, status: 'expired', eventId: 'evt_1' }] }),
    async claimDueDeliveries() {
      claimCount += 1
      return { deliveries: [], nextClaimAt: null, isMoreDue: false }
    },
  }
  const { engine, clock } = anEngine(part, { idleMs: HOUR })
  engine.start()
  await clock.settle()
  expect(claimCount).toBe(2)
  await engine.stop(0)
})

test('a stop ends when the queries and the attempts that were under way have been told to end, and have', async () => {
  const ended: string[] = []
  /** Goes on until it is told to end, and then a little longer. */
  const untilTold = <T>(name: string, signal: AbortSignal, value: T) =>
    new Promise<T>((resolve) =>
      signal.addEventListener('abort', () =>
        setImmediate(() => {
          ended.push(name)
          resolve(value)
        }),
      ),
    )
  const none = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null }
  const shutdown = { kind: 'own_fault', reason: 'shutdown', detail: 'stopping' } as const
  const exchange = { result: shutdown, durationMs: 1, ...none } as Awaited<ReturnType<EngineDeps['post']>>
  const part: Partial<Store> = {
    claimDueTasks: async () => ({ tasks: [aDueTask()], nextClaimAt: null, isMoreDue: false }),
    claimDueDeliveries: async () => ({ deliveries: [aDueDelivery()], nextClaimAt: null, isMoreDue: false }),
    recordPolls: async () => ({ applied: 1, settled: [] }),
    recordAttempts: async () => ({ applied: 1 }),
  }
  const { engine, clock } = anEngine(
    part,
    { pollConcurrency: 1, deliveryConcurrency: 1, idleMs: HOUR },
    {
      upstream: {
        idsPerQuery: () => 1,
        kinds: () => ['a-kind'],
        credentialOf: () => 'aidge',
        query: (_tasks, signal) => untilTold('query', signal, { answers: [], queryCount: 1 }),
      },
      post: (_request, signal) => untilTold('attempt', signal, exchange),
    },
  )
  engine.start()
  await clock.settle()
  await engine.stop(0)
  expect(ended.toSorted()).toEqual(['attempt', 'query'])
})
