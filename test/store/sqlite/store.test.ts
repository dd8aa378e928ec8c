/** The store as a whole: how long each of its steps waits for a foreign lock, and what it leaves when it closes. */

import { closeSync, copyFileSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { AppError, DamagedError } from '../../../src/core/errors.ts'
import type { EndpointId } from '../../../src/core/ids.ts'
import { HOUR, SECOND } from '../../../src/core/time.ts'
import { openSqliteStore, type SqliteStoreOptions } from '../../../src/store/sqlite/store.ts'
import type { Store } from '../../../src/store/store.ts'
import { aDirectory, aRegistration, countingIds, START, standingClock } from '../../support/store.ts'
import { at, claim, claimDeliveries, register, SECRETS, settledBy } from '../steps.ts'

function open(options: Partial<SqliteStoreOptions> = {}) {
  const path = options.path ?? join(aDirectory(), 'store.db')
  const time = { now: START, wakeUps: 0 }
  const clock = {
    ...standingClock,
    now: () => time.now,
    wakeAt(...[at, wake]: Parameters<typeof standingClock.wakeAt>) {
      time.wakeUps += 1
      return standingClock.wakeAt(at, wake)
    },
  }
  const onDamaged = (error: Error) => {
    throw error
  }
  const store = openSqliteStore({ path, clock, newId: countingIds(), onDamaged, ...options })
  onTestFinished(() => store.close())
  return { path, store, time }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('behind a foreign lock each step waits as long as it may: claims least, chores more, records for ever', async () => {
  const { path, store, time } = open()
  await register(store)
  const [task] = await claim(store, 'a')
  await register(store, { taskId: 'other' })
  const foreign = new Database(path)
  onTestFinished(() => void foreign.close())
  foreign.exec('begin immediate')
  const endings = new Map<string, string>()
  const begin = (name: string, step: Promise<unknown>) =>
    step.then(
      () => void endings.set(name, 'done'),
      (error: AppError) => void endings.set(name, error.code),
    )
  const steps = [
    begin('claimDueTasks', claim(store, 'b')),
    begin('claimDueDeliveries', claimDeliveries(store, 'c')),
    begin('probe', store.probe({ now: START })),
    begin('registerTasks', store.registerTasks({ now: START, registrations: [aRegistration({ taskId: 'c' })] })),
    begin('cancelTask', store.cancelTask({ now: START, id: 'task_x' })),
    begin('createEndpoint', store.createEndpoint({ now: START, url: 'https://a/', name: null, secret: SECRETS[0]! })),
    begin('deleteSettledTasks', store.deleteSettledTasks({ settledBefore: START, limit: 1 })),
    begin('recordPolls', store.recordPolls({ now: START, records: [settledBy(task!, 'a')], effects: [] })),
  ]
  const endedAfter = async (ms: number) => {
    time.now = at(ms)
    const tries = time.wakeUps
    while (time.wakeUps < tries + 3) await turn()
    return [...endings.keys()].toSorted()
  }
  expect(await endedAfter(2 * SECOND)).toEqual([])
  expect(await endedAfter(3 * SECOND)).toEqual(['claimDueDeliveries', 'claimDueTasks', 'probe'])
  expect(await endedAfter(6 * SECOND)).toHaveLength(6)
  expect(await endedAfter(14 * SECOND)).not.toContain('deleteSettledTasks')
  expect(await endedAfter(16 * SECOND)).toHaveLength(7)
  expect(await endedAfter(HOUR)).not.toContain('recordPolls')
  foreign.exec('commit')
  await Promise.all(steps)
  expect(endings.get('recordPolls')).toBe('done')
  endings.delete('recordPolls')
  expect(new Set(endings.values())).toEqual(new Set(['unavailable']))
})

test('what is on its way when the store closes is kept', async () => {
  const { path, store } = open()
  const registering = register(store)
  await store.close()
  const { id } = await registering
  expect(await open({ path }).store.getTask(id)).toMatchObject({ id, status: 'pending' })
})

test('closing twice is closing once', async () => {
  const { path, store } = open()
  await store.close()
  await store.close()
  await expect(store.registerTasks({ now: START, registrations: [aRegistration()] })).rejects.toThrow('closed')
  await open({ path }).store.close()
})

test('after closing all is in the one file, though somebody still has the database open', async () => {
  const { path, store } = open()
  await register(store)
  const foreign = new Database(path, { readonly: true })
  onTestFinished(() => void foreign.close())
  foreign.prepare('select count(*) from _tasks').get()
  await store.close()
  const copy = join(aDirectory(), 'copy.db')
  copyFileSync(path, copy)
  const copied = new Database(copy, { readonly: true })
  onTestFinished(() => void copied.close())
  expect(copied.prepare('select count(*) from _tasks').pluck().get()).toBe(1)
})

test('the log beside the database stays smaller than the ballast that has to hold it', async () => {
  const ballastBytesMax = 512 * 1024
  const { path, store } = open({ disk: { ballastBytesMax, lowBytesMax: 0 } })
  let largest = 0
  for (let count = 0; count < 150; count += 1) {
    await register(store, { taskId: `t${count}`, metadata: JSON.stringify({ text: 'x'.repeat(8_000) }) })
    largest = Math.max(largest, statSync(`${path}-wal`).size)
  }
  expect(largest).toBeGreaterThan(0)
  expect(largest).toBeLessThanOrEqual(ballastBytesMax)
})

test('whoever looks and is the first to meet a damaged page ends the daemon, and nothing is written after it', async () => {
  const damages: DamagedError[] = []
  const { path, store } = open({ onDamaged: (error) => void damages.push(error) })
  const metadata = JSON.stringify({ text: 'x'.repeat(2_000) })
  for (let count = 0; count < 60; count += 1) await register(store, { taskId: `t${count}`, metadata })
  await store.checkpoint()
  const bytes = readFileSync(path)
  bytes.fill(0xa5, 4_096 * 20)
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 4_096 * 20, bytes.length - 4_096 * 20, 4_096 * 20)
  closeSync(file)
  await expect(store.listTasks({ limit: 60 })).rejects.toThrow()
  expect(damages.map(({ exitCode }) => exitCode)).toEqual([74])
  await expect(register(store, { taskId: 'later' })).rejects.toThrow('closed')
})

test.each([
  ['one endpoint', (store: Store, id: EndpointId) => store.getEndpoint({ now: START, id })],
  ['the endpoints', (store: Store) => store.listEndpoints({ now: START, limit: 60 })],
])('whoever looks at %s may be the first to meet a damaged page too', async (_what, look) => {
  const damages: DamagedError[] = []
  const { path, store } = open({ onDamaged: (error) => void damages.push(error) })
  const ids: EndpointId[] = []
  for (let count = 0; count < 60; count += 1) {
    const url = `https://shop.example/${count}?${'x'.repeat(1_900)}`
    const { endpoint } = await store.createEndpoint({ now: START, url, name: null, secret: SECRETS[0]! })
    ids.push(endpoint.id)
  }
  // What another connection has written is read anew from the file, and not from what is remembered of it.
  const other = new Database(path)
  other.exec('update _meta set value = value')
  other.pragma('wal_checkpoint(truncate)')
  const pageOf = other.prepare<[string], number>('select rootpage from sqlite_schema where name = ?').pluck()
  const endpointsPage = pageOf.get('_endpoints')!
  other.close()
  const bytes = readFileSync(path)
  bytes.fill(0xa5, (endpointsPage - 1) * 4_096, endpointsPage * 4_096)
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, 0)
  closeSync(file)
  await expect(look(store, ids[0]!)).rejects.toThrow()
  expect(damages.map(({ exitCode }) => exitCode)).toEqual([74])
})

test('closing what is closed changes nothing', async () => {
  const { path, store } = open()
  await register(store)
  await store.close()
  const { store: next } = open({ path })
  await store.close()
  expect((await next.listTasks({ limit: 9 })).items).toHaveLength(1)
  await next.checkpoint()
  expect(() => open({ path })).toThrow('in use by another ringback')
})
