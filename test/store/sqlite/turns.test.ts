/**
 * Turns: what a claim returns of endpoints with rates, allowances and hosts that are full, and that it says the instant at
 * which there will be more; also after a restart, a pause and a change of the limits.
 */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import type { AttemptResult, DueDelivery } from '../../../src/core/delivery.ts'
import type { EndpointId } from '../../../src/core/ids.ts'
import { type EpochMs, MINUTE, SECOND } from '../../../src/core/time.ts'
import type { Store } from '../../../src/store/store.ts'
import { ANY_HOST, aDirectory, openAt, START } from '../../support/store.ts'
import { at, attempted, claimDeliveries, FAILED, LEASE_MS, OK, settle } from '../steps.ts'

const A = 'https://a.example/hooks'
const B = 'https://b.example/hooks'

interface Stage {
  readonly path: string
  readonly store: Store
}

/** Deliveries that wait for these URLs, one for each mention. */
async function aStage(...urls: readonly string[]): Promise<Stage> {
  const path = join(aDirectory(), 'turns.db')
  const store = openAt(path)
  for (const [index, url] of urls.entries())
    await settle(store, { taskId: `t${index}`, callback: { kind: 'url', url } })
  return { path, store }
}

function setRow({ path }: Stage, url: string, values: Readonly<Record<string, number | string | null>>): void {
  const db = new Database(path)
  for (const [name, value] of Object.entries(values))
    db.prepare(`update _endpoints set ${name} = ? where url = ?`).run(value, url)
  db.close()
}

function rowOf({ path }: Stage, url: string): { slots: number | null; failing_since: number } {
  const db = new Database(path, { readonly: true })
  const row = db.prepare('select slots, failing_since from _endpoints where url = ?').get(url) as never
  db.close()
  return row
}

const REFUSED: AttemptResult = { kind: 'no_response', reason: 'connect', detail: 'ECONNREFUSED' }
const OVERLOADED: AttemptResult = { kind: 'response', status: 503, retryAfter: null }

async function record(
  store: Store,
  deliveries: readonly DueDelivery[],
  name: string,
  result: AttemptResult,
  now: EpochMs,
) {
  const records = deliveries.map((one) => attempted(one, name, result, now))
  await store.recordAttempts({ now, records })
}

const urlsOf = (deliveries: readonly DueDelivery[]) => deliveries.map(({ url }) => url)
const times = (count: number, url: string) => Array.from({ length: count }, () => url)
const ROOMY = { limit: 100, endpointConcurrency: 100, recoveringMax: 100, unhurriedMax: 100 }

test('a rate grants one, and the claim says when it will grant the next', async () => {
  const stage = await aStage(...times(5, A))
  setRow(stage, A, { rate_max: 1 })
  const first = await claimDeliveries(stage.store, 'a', START, ROOMY)
  expect(first.deliveries).toHaveLength(1)
  expect(first.nextClaimAt).toBe(at(900))
  expect((await claimDeliveries(stage.store, 'b', at(899), ROOMY)).deliveries).toEqual([])
  expect((await claimDeliveries(stage.store, 'c', at(900), ROOMY)).deliveries).toHaveLength(1)
})

test('a rate is kept across a restart', async () => {
  const stage = await aStage(...times(5, A))
  setRow(stage, A, { rate_max: 1 })
  await claimDeliveries(stage.store, 'a', START, ROOMY)
  await stage.store.close()
  const again = openAt(stage.path)
  const { deliveries, nextClaimAt } = await claimDeliveries(again, 'b', at(10), ROOMY)
  expect(deliveries).toEqual([])
  expect(nextClaimAt).toBe(at(900))
})

test('a new delivery does not bring forward what the rate has not granted yet', async () => {
  const stage = await aStage(A)
  setRow(stage, A, { rate_max: 0.1 })
  await claimDeliveries(stage.store, 'a', START, ROOMY)
  await settle(stage.store, { taskId: 'new', callback: { kind: 'url', url: A } }, at(5))
  expect(await claimDeliveries(stage.store, 'b', at(6), ROOMY)).toEqual({
    deliveries: [],
    nextClaimAt: at(9_900),
    isMoreDue: false,
  })
})

test('a probe that waits for what is still under way at its endpoint was left behind', async () => {
  const stage = await aStage(A, A)
  const { deliveries } = await claimDeliveries(stage.store, 'a', START, { limit: 1 })
  const inFlight = new Map([[deliveries[0]!.endpointId, 1]])
  setRow(stage, A, { status: 'disabled', disabled_reason: 'failing', probe_at: at(10) })
  await stage.store.close()
  const store = openAt(stage.path)
  expect((await claimDeliveries(store, 'b', at(9), { inFlight })).isMoreDue).toBe(false)
  expect((await claimDeliveries(store, 'c', at(10), { inFlight })).isMoreDue).toBe(true)
  const probe = await claimDeliveries(store, 'd', at(11))
  expect([probe.deliveries.map(({ isProbe }) => isProbe), probe.isMoreDue]).toEqual([[true], false])
})

test('an endpoint that was forgotten leaves no turn behind', async () => {
  const { store } = await aStage(A)
  const { deliveries } = await claimDeliveries(store, 'a')
  await record(store, deliveries, 'a', OK, at(1))
  const later = at(LEASE_MS + 1)
  await store.deleteSettledTasks({ settledBefore: later, limit: 10 })
  expect(await store.forgetEndpoints({ usedBefore: later, after: null, limit: 10 })).toMatchObject({
    forgottenCount: 1,
  })
  expect(await claimDeliveries(store, 'b', later)).toEqual({ deliveries: [], nextClaimAt: null, isMoreDue: false })
})

test('a page is never filled with what cannot be sent', async () => {
  const urls = Array.from({ length: 6 }, (_, index) => `https://slow-${index}.example/`)
  const stage = await aStage(...urls, ...urls, B)
  for (const url of urls) setRow(stage, url, { rate_max: 0.001 })
  await claimDeliveries(stage.store, 'a', START, { ...ROOMY, limit: 6 })
  const { deliveries } = await claimDeliveries(stage.store, 'b', at(1), { ...ROOMY, limit: 1 })
  expect(urlsOf(deliveries)).toEqual([B])
})

test('an endpoint’s own maximum holds, be it more or less than that of the settings', async () => {
  const stage = await aStage(...times(20, A), ...times(20, B))
  setRow(stage, A, { concurrency_max: 2 })
  setRow(stage, B, { concurrency_max: 12 })
  const { deliveries } = await claimDeliveries(stage.store, 'a', START, { ...ROOMY, endpointConcurrency: 8 })
  expect(deliveries.filter(({ url }) => url === A)).toHaveLength(2)
  expect(deliveries.filter(({ url }) => url === B)).toHaveLength(12)
})

test('an answer that is no success changes nothing, an overloaded one halves and needs no rest', async () => {
  const stage = await aStage(...times(3, A))
  setRow(stage, A, { failing_since: START })
  const first = (await claimDeliveries(stage.store, 'a', at(MINUTE), { ...ROOMY, limit: 1 })).deliveries
  await record(stage.store, first, 'a', FAILED, at(MINUTE))
  expect(rowOf(stage, A).slots).toBeNull()
  setRow(stage, A, { slots: 1 })
  const second = (await claimDeliveries(stage.store, 'b', at(MINUTE), ROOMY)).deliveries
  await record(stage.store, second, 'b', OVERLOADED, at(MINUTE))
  expect(rowOf(stage, A).slots).toBe(1)
  expect((await claimDeliveries(stage.store, 'c', at(MINUTE), ROOMY)).deliveries).toHaveLength(1)
})

test('who says when to come again is sent nothing before, of whatever waits for it; its neighbours are', async () => {
  const stage = await aStage(...times(3, A), B)
  const asked: AttemptResult = { kind: 'response', status: 429, retryAfter: '40' }
  const first = (await claimDeliveries(stage.store, 'a', START, { ...ROOMY, limit: 1 })).deliveries
  expect(urlsOf(first)).toEqual([A])
  await record(stage.store, first, 'a', asked, START)
  const { deliveries, nextClaimAt } = await claimDeliveries(stage.store, 'b', at(40 * SECOND - 1), ROOMY)
  expect([urlsOf(deliveries), nextClaimAt]).toEqual([[B], at(40 * SECOND)])
  await settle(stage.store, { taskId: 'late', callback: { kind: 'url', url: A } })
  expect((await claimDeliveries(stage.store, 'c', at(40 * SECOND - 1), ROOMY)).deliveries).toEqual([])
  const inTime = await claimDeliveries(stage.store, 'd', at(40 * SECOND), ROOMY)
  expect(urlsOf(inTime.deliveries)).toContain(A)
})

test('silence halves what an endpoint gets at once, successes double it', async () => {
  const stage = await aStage(...times(40, A))
  const room = { ...ROOMY, endpointConcurrency: 8 }
  const all = (await claimDeliveries(stage.store, 'a', START, room)).deliveries
  await record(stage.store, all.slice(0, 2), 'a', REFUSED, at(1))
  expect(rowOf(stage, A).slots).toBe(2)
  const inFlight = new Map([[all[0]!.endpointId, 6]])
  expect((await claimDeliveries(stage.store, 'b', at(2), { ...room, inFlight })).deliveries).toEqual([])
  await record(stage.store, all.slice(2), 'a', OK, at(3))
  expect(rowOf(stage, A).slots).toBeNull()
  expect((await claimDeliveries(stage.store, 'c', at(4), room)).deliveries).toHaveLength(8)
})

test('what fails with one slot rests for a quarter of the time for which it has been failing', async () => {
  const stage = await aStage(...times(3, A))
  setRow(stage, A, { concurrency_max: 1, failing_since: START })
  const now = at(MINUTE)
  const { deliveries } = await claimDeliveries(stage.store, 'a', now, ROOMY)
  await record(stage.store, deliveries, 'a', REFUSED, now)
  const { deliveries: none, nextClaimAt } = await claimDeliveries(stage.store, 'b', at(MINUTE + 14 * SECOND), ROOMY)
  expect(none).toEqual([])
  expect(nextClaimAt).toBe(at(MINUTE + 15 * SECOND))
  expect((await claimDeliveries(stage.store, 'c', at(MINUTE + 15 * SECOND), ROOMY)).deliveries).toHaveLength(1)
})

test('a person’s redelivery does not wait until a failing endpoint has rested', async () => {
  const stage = await aStage(A)
  setRow(stage, A, { concurrency_max: 1, failing_since: START })
  const now = at(MINUTE)
  const { deliveries } = await claimDeliveries(stage.store, 'a', now, ROOMY)
  await record(stage.store, deliveries, 'a', REFUSED, now)
  await stage.store.redeliver({ now: at(MINUTE + 1), deliveryId: deliveries[0]!.id })
  expect((await claimDeliveries(stage.store, 'b', at(MINUTE + 1), ROOMY)).deliveries).toHaveLength(1)
})

test('all that failed lately share a part of the slots, and the others have the rest', async () => {
  const urls = Array.from({ length: 10 }, (_, index) => `https://ill-${index}.example/`)
  const stage = await aStage(...urls, B)
  for (const url of urls) setRow(stage, url, { slots: 1 })
  const room = { ...ROOMY, limit: 8, recoveringMax: 4 }
  const first = await claimDeliveries(stage.store, 'a', START, room)
  expect(first.deliveries).toHaveLength(5)
  expect(urlsOf(first.deliveries)).toContain(B)
  const inFlight = new Map(first.deliveries.map(({ endpointId }): [EndpointId, number] => [endpointId, 1]))
  await settle(stage.store, { taskId: 'new', callback: { kind: 'url', url: B } })
  const second = await claimDeliveries(stage.store, 'b', START, { ...room, limit: 3, inFlight })
  expect(urlsOf(second.deliveries)).toEqual([B])
})

test('many URLs of one host do not hide the others behind them', async () => {
  const urls = Array.from({ length: 10 }, (_, index) => `https://one.example/${index}`)
  const stage = await aStage(...urls, B)
  const hosts = { max: 10, left: new Map([['one.example', 1]]), slow: new Set<string>() }
  const { deliveries } = await claimDeliveries(stage.store, 'a', START, {
    ...ROOMY,
    limit: 4,
    hosts,
  })
  expect(urlsOf(deliveries)).toEqual(['https://one.example/0', B])
})

test('a full host is passed by, and one with some room gets that much', async () => {
  const stage = await aStage('https://one.example/1', 'https://one.example/2', 'https://one.example/3', B)
  const hosts = { max: 10, left: new Map([['one.example', 2]]), slow: new Set<string>() }
  const some = await claimDeliveries(stage.store, 'a', START, { ...ROOMY, hosts })
  expect(urlsOf(some.deliveries).toSorted()).toEqual([B, 'https://one.example/1', 'https://one.example/2'])
  const full = { max: 0, left: new Map([['one.example', 0]]), slow: new Set<string>() }
  expect((await claimDeliveries(stage.store, 'b', START, { ...ROOMY, hosts: full })).deliveries).toEqual([])
})

test('slow hosts leave a part to the quick ones, and what they hold counts', async () => {
  const urls = Array.from({ length: 6 }, (_, index) => `https://slow-${index}.example/hooks`)
  const stage = await aStage(...urls, B)
  const hosts = { ...ANY_HOST, slow: new Set(urls.map((url) => new URL(url).host)) }
  const room = { ...ROOMY, hosts, recoveringMax: 0 }
  const first = await claimDeliveries(stage.store, 'a', START, { ...room, unhurriedMax: 2 })
  expect(urlsOf(first.deliveries)).toEqual([...urls.slice(0, 2), B])
  const inFlight = new Map(first.deliveries.map(({ endpointId }) => [endpointId, 1]))
  const again = await claimDeliveries(stage.store, 'b', START, { ...room, inFlight, unhurriedMax: 2 })
  expect(again.deliveries).toEqual([])
  const later = await claimDeliveries(stage.store, 'c', START, { ...room, inFlight, unhurriedMax: 3 })
  expect(urlsOf(later.deliveries)).toEqual([urls[2]])
})

test('an endpoint that is resumed with a backlog begins with one at a time; without, with all it may have', async () => {
  const stage = await aStage(...times(9, A), B)
  const { deliveries } = await claimDeliveries(stage.store, 'a', START, { ...ROOMY, endpointConcurrency: 1 })
  const byUrl = new Map(deliveries.map((one) => [one.url, one]))
  await record(stage.store, deliveries, 'a', OK, START)
  for (const status of ['paused', 'enabled'] as const)
    for (const url of [A, B])
      await stage.store.setEndpointStatus({ now: START, id: byUrl.get(url)!.endpointId, status })
  expect(rowOf(stage, A).slots).toBe(1)
  expect(rowOf(stage, B).slots).toBeNull()
  expect((await claimDeliveries(stage.store, 'b', at(1), ROOMY)).deliveries).toHaveLength(1)
})

test('resuming what is enabled already slows nothing down', async () => {
  const stage = await aStage(...times(9, A))
  const { items } = await stage.store.listEndpoints({ now: START, limit: 10 })
  await stage.store.setEndpointStatus({ now: START, id: items[0]!.id, status: 'enabled' })
  expect((await claimDeliveries(stage.store, 'a', START, ROOMY)).deliveries).toHaveLength(9)
})
