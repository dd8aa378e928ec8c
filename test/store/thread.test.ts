/** The store behind a thread's two sides keeps the store's contract, and what goes wrong over there is heard here. */

import { join } from 'node:path'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { AppError, ConfigError, DamagedError, LockedError } from '../../src/core/errors.ts'
import type { Log, NewId } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Store } from '../../src/store/store.ts'
import { type FarWorld, serveStore } from '../../src/store/thread/far.ts'
import { type Call, copyError, toError } from '../../src/store/thread/messages.ts'
import { openStoreBehind } from '../../src/store/thread/near.ts'
import { aDirectory, aRegistration, countingIds, START, standingClock } from '../support/store.ts'
import { describeStore } from './contract.ts'
import type { StoreHarness } from './steps.ts'

interface Heard {
  readonly lines: { level: string; event: string; message: string; error?: unknown }[]
  readonly damages: DamagedError[]
}

const heard: Heard = { lines: [], damages: [] }

afterEach(() => {
  heard.lines.splice(0)
  heard.damages.splice(0)
})

const line =
  (level: string): Log['info'] =>
  ({ event, error }, message) =>
    void heard.lines.push({ level, event, message, error })
const log: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
const near = { log, onDamaged: (error: DamagedError) => void heard.damages.push(error) }

/** Both sides in this thread: what they say to one another is copied all the same. */
function openBehind(open: (world: FarWorld) => Store): Promise<Store> {
  const { port1, port2 } = new MessageChannel()
  onTestFinished(() => port1.close())
  const opening = openStoreBehind(port1, near)
  serveStore(port2, open)
  return opening
}

function openAt(path: string, newId: NewId): Promise<Store> {
  return openBehind((world) => openSqliteStore({ ...world, path, newId, clock: standingClock }))
}

async function open(): Promise<StoreHarness> {
  const path = join(aDirectory(), 'test.db')
  const newId = countingIds()
  const start = async (): Promise<StoreHarness> => {
    const store = await openAt(path, newId)
    onTestFinished(() => store.close().catch(() => {}))
    return {
      store,
      reopen: async () => {
        await store.close()
        return start()
      },
    }
  }
  return start()
}

const BEHIND = 'sqlite behind a thread'
describeStore(BEHIND, open)

describe('what goes wrong over there', () => {
  test.each([
    new ConfigError(['the database is of a newer version', 'and another thing']),
    new LockedError('process 7 has it'),
    new DamagedError('no database'),
  ])('$name in opening it is thrown here as what it is', async (error) => {
    const opening = openBehind(() => {
      throw error
    })
    await expect(opening).rejects.toThrow(error.constructor as new () => Error)
    await expect(opening).rejects.toMatchObject({ ...error, message: error.message })
  })

  test.each([
    new AppError('invalid', 'no', { faults: [{ pointer: '/a', code: 'b', message: 'c' }] }),
    new AppError('unavailable', 'later', { retryAfterMs: 5_000 }),
    Object.assign(new Error('constraint'), { code: 'SQLITE_CONSTRAINT' }),
  ])('the error of a step keeps what its readers go by: $message', (error) => {
    const copied = toError(structuredClone(copyError(error)))
    expect(copied).toMatchObject({ ...error, message: error.message, stack: error.stack })
    expect(copied.constructor).toBe(error.constructor)
  })

  test('what is no error becomes one', () => {
    expect(toError(structuredClone(copyError('out of order'))).message).toBe('out of order')
  })

  test('damage raises the alarm here, and a line of the log is written here with its error', async () => {
    await openBehind((world) => {
      const store = openSqliteStore({
        ...world,
        path: join(aDirectory(), 'a.db'),
        newId: countingIds(),
        clock: standingClock,
      })
      world.log.warn({ event: 'store.odd', error: new Error('odd') }, 'odd')
      world.log.info({ event: 'store.even' }, 'even')
      world.onDamaged(new DamagedError('the disk is gone'))
      return store
    })
    expect(heard.lines).toMatchObject([
      { level: 'warn', event: 'store.odd', message: 'odd', error: { name: 'Error', message: 'odd' } },
      { level: 'info', event: 'store.even', message: 'even' },
    ])
    expect(heard.damages).toEqual([new DamagedError('the disk is gone')])
  })

  test('what keeps it from taking more is known here with the next answer', async () => {
    const store = await openBehind((world) => ({
      ...openSqliteStore({ ...world, path: join(aDirectory(), 'a.db'), newId: countingIds(), clock: standingClock }),
      impediments: () => ['the disk is full'],
    }))
    expect(store.impediments()).toEqual(['the disk is full'])
  })
})

describe('the end', () => {
  test('a store that was closed takes no more, and says so', async () => {
    const { store } = await open()
    await store.close()
    await expect(store.registerTasks({ now: START, registrations: [aRegistration()] })).rejects.toThrow('is closed')
  })

  test('a thread that ends leaves nobody waiting: neither for a step nor for the opening', async () => {
    const { port1, port2 } = new MessageChannel()
    const opening = openStoreBehind(port1, near)
    port2.close()
    await expect(opening).rejects.toThrow('ended before it was open')

    const other = new MessageChannel()
    const opened = openStoreBehind(other.port1, near)
    other.port2.postMessage({ kind: 'opened', databaseId: 'x', impediments: [] })
    const store = await opened
    const step = store.getTask('task_1')
    other.port2.close()
    await expect(step).rejects.toThrow('is closed')
  })
})

test('the calls of one turn leave in one message, in their order', async () => {
  const { port1, port2 } = new MessageChannel()
  onTestFinished(() => port1.close())
  const opened = openStoreBehind(port1, near)
  port2.postMessage({ kind: 'opened', databaseId: 'x', impediments: [] })
  const store = await opened
  const message = new Promise<{ step: string }[]>((resolve) => port2.once('message', resolve))
  const steps = [store.getTask('task_1'), store.checkpoint(), store.getEvent('evt_1')]
  expect((await message).map(({ step }) => step)).toEqual(['getTask', 'checkpoint', 'getEvent'])
  port2.close()
  for (const step of steps) await expect(step).rejects.toThrow('is closed')
})

/** Nobody is there to answer. */
function unanswered(call: Promise<unknown>): void {
  call.catch(() => {})
}

test('a claim leaves at once and takes along what was called before it; other calls leave together', async () => {
  const { port1, port2 } = new MessageChannel()
  onTestFinished(() => port1.close())
  const opening = openStoreBehind(port1, near)
  port2.postMessage({ kind: 'opened', databaseId: 'db', impediments: [] })
  const store = await opening
  const steps = () => (receiveMessageOnPort(port2)?.message as Call[] | undefined)?.map(({ step }) => step)
  const claim = {
    now: START,
    lease: { token: 'lse_a', expiresAt: START },
    credential: 'aidge',
    settings: { rate: 1 },
    limit: 1,
  } as const
  unanswered(store.probe({ now: START }))
  unanswered(store.checkpoint())
  expect(steps()).toBeUndefined()
  unanswered(store.claimDueTasks(claim))
  expect(steps()).toEqual(['probe', 'checkpoint', 'claimDueTasks'])
  unanswered(store.checkpoint())
  unanswered(store.probe({ now: START }))
  await new Promise((resolve) => setImmediate(resolve))
  expect(steps()).toEqual(['checkpoint', 'probe'])
})

test('each caller gets its own answer, however many are asked at once and whoever asked before', async () => {
  const { store } = await open()
  for (let round = 0; round < 3; round += 1) {
    const ids = Array.from({ length: 40 }, (_, nth) => `task-${round}-${nth}`)
    const registered = await Promise.all(
      ids.map((taskId) => store.registerTasks({ now: START, registrations: [aRegistration({ taskId })] })),
    )
    expect(registered.map(([one]) => (one?.kind === 'registered' ? one.task.taskId : one?.kind))).toEqual(ids)
  }
})
