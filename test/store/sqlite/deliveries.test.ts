/** Leases, slots and turns of deliveries: each fence of a claim and of a record, tried alone. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { AttemptResult, DueDelivery } from '../../../src/core/delivery.ts'
import type { DeliveryId } from '../../../src/core/ids.ts'
import { HOUR } from '../../../src/core/time.ts'
import type { Store } from '../../../src/store/store.ts'
import { aDirectory, openAt, START } from '../../support/store.ts'
import { at, attempted, claimDeliveries, FAILED, GONE, LEASE_MS, OK, settle } from '../steps.ts'

const open = () => openAt(join(aDirectory(), 'deliveries.db'))
const OWN_FAULT: AttemptResult = { kind: 'own_fault', reason: 'no_file_handles', detail: 'EMFILE' }
const NO_SCHEDULE_LEFT = [0]

async function claimOne(store: Store, name: string, now = START): Promise<DueDelivery> {
  const { deliveries } = await claimDeliveries(store, name, now, { limit: 1 })
  if (deliveries[0] === undefined) throw new Error('nothing is due')
  return deliveries[0]
}

async function exhausted(store: Store): Promise<DeliveryId> {
  await settle(store)
  const delivery = await claimOne(store, 'first')
  await store.recordAttempts({ now: START, records: [attempted(delivery, 'first', FAILED, START, NO_SCHEDULE_LEFT)] })
  return delivery.id
}

test('what is given back under a lost lease stays with whoever has taken over', async () => {
  const store = open()
  await settle(store)
  const late = await claimOne(store, 'a')
  await claimOne(store, 'b', at(LEASE_MS))
  const records = [attempted(late, 'a', OWN_FAULT, at(LEASE_MS))]
  expect(await store.recordAttempts({ now: at(LEASE_MS), records })).toEqual({ applied: 0 })
  expect((await claimDeliveries(store, 'c', at(LEASE_MS + 10_000))).deliveries).toEqual([])
})

test('a person’s attempt that failed under a lost lease ends nothing', async () => {
  const store = open()
  const deliveryId = await exhausted(store)
  await store.redeliver({ now: at(1), deliveryId })
  const late = await claimOne(store, 'a', at(1))
  await claimOne(store, 'b', at(1 + LEASE_MS))
  const now = at(2 + LEASE_MS)
  expect(await store.recordAttempts({ now, records: [attempted(late, 'a', FAILED, now)] })).toEqual({ applied: 0 })
  expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'pending', attemptCount: 1 })
})

test('a person’s attempt at what waits for its next turn changes nothing under a lost lease', async () => {
  const store = open()
  await settle(store)
  const first = await claimOne(store, 'first')
  await store.recordAttempts({ now: START, records: [attempted(first, 'first', FAILED)] })
  await store.redeliver({ now: at(1), deliveryId: first.id })
  const late = await claimOne(store, 'a', at(1))
  await claimOne(store, 'b', at(1 + LEASE_MS))
  const now = at(2 + LEASE_MS)
  expect(await store.recordAttempts({ now, records: [attempted(late, 'a', FAILED, now)] })).toEqual({ applied: 0 })
  expect(await store.listAttempts([first.id])).toHaveLength(1)
  expect((await claimDeliveries(store, 'c', at(3 + LEASE_MS))).deliveries).toEqual([])
})

test('a probe that failed under a lost lease leaves nothing behind', async () => {
  const store = open()
  await settle(store)
  const late = { ...(await claimOne(store, 'a')), isProbe: true }
  await claimOne(store, 'b', at(LEASE_MS))
  const record = { ...attempted(late, 'a', FAILED, at(LEASE_MS)), verdict: { kind: 'unchanged' } as const }
  expect(await store.recordAttempts({ now: at(LEASE_MS), records: [record] })).toEqual({ applied: 0 })
  expect(await store.getDelivery(late.id)).toMatchObject({ status: 'pending', attemptCount: 0 })
  expect((await claimDeliveries(store, 'c', at(LEASE_MS + 1))).deliveries).toEqual([])
})

test('an exhausted delivery can be sent again and again, and is exhausted again each time', async () => {
  const store = open()
  const deliveryId = await exhausted(store)
  for (const [turn, name] of ['a', 'b', 'c'].entries()) {
    const now = at(1 + turn)
    expect(await store.redeliver({ now, deliveryId })).toMatchObject({ kind: 'queued' })
    const manual = await claimOne(store, name, now)
    expect(manual).toMatchObject({ isManual: true, statusBefore: 'exhausted' })
    await store.recordAttempts({ now, records: [attempted(manual, name, FAILED, now)] })
    expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'exhausted', attemptCount: 2 + turn })
  }
})

test('who asks twice before the attempt was made has not made the delivery forget what it was', async () => {
  const store = open()
  const deliveryId = await exhausted(store)
  await store.redeliver({ now: at(1), deliveryId })
  await store.redeliver({ now: at(2), deliveryId })
  expect(await claimOne(store, 'a', at(3))).toMatchObject({ isManual: true, statusBefore: 'exhausted' })
})

test('of one endpoint only what is due is claimed, the longest due first', async () => {
  const store = open()
  await settle(store, { taskId: 'first' })
  const first = await claimOne(store, 'a')
  await store.recordAttempts({ now: START, records: [attempted(first, 'a', FAILED)] })
  await settle(store, { taskId: 'third' }, at(4_000))
  await settle(store, { taskId: 'second' }, at(3_000))
  const order = [await claimOne(store, 'b', at(4_500)), await claimOne(store, 'c', at(4_500))]
  expect(order.map(({ body }) => JSON.parse(body).data.taskId)).toEqual(['second', 'third'])
  expect((await claimDeliveries(store, 'd', at(4_999))).deliveries).toEqual([])
  expect((await claimOne(store, 'e', at(5_000))).id).toBe(first.id)
})

test('a claim never hands out more than its limit, however many endpoints are due', async () => {
  const store = open()
  for (const host of ['a', 'b', 'c'])
    for (const taskId of ['1', '2'])
      await settle(store, { taskId: host + taskId, callback: { kind: 'url', url: `https://${host}.example/` } })
  const { deliveries } = await claimDeliveries(store, 'x', START, { limit: 3, endpointConcurrency: 2 })
  expect(deliveries).toHaveLength(3)
})

test('the endpoint that has been due for longest has its turn first', async () => {
  const store = open()
  await settle(store, { taskId: 'young', callback: { kind: 'url', url: 'https://a.example/' } }, at(20))
  await settle(store, { taskId: 'old', callback: { kind: 'url', url: 'https://b.example/' } }, at(10))
  expect((await claimOne(store, 'x', at(30))).url).toBe('https://b.example/')
})

test('an endpoint with all its slots in use does not stand in front of one that is due later', async () => {
  const store = open()
  await settle(store, { taskId: 'dead', callback: { kind: 'url', url: 'https://dead.example/' } })
  await settle(store, { taskId: 'dead too', callback: { kind: 'url', url: 'https://dead.example/' } })
  const { endpointId } = await claimOne(store, 'a')
  await settle(store, { taskId: 'alive' }, at(1))
  const inFlight = new Map([[endpointId, 1]])
  const { deliveries } = await claimDeliveries(store, 'b', at(2), { limit: 1, endpointConcurrency: 1, inFlight })
  expect(deliveries.map(({ url }) => url)).toEqual(['https://shop.example/hooks'])
})

test('when all of an endpoint are taken, nothing is worth a claim before their leases end', async () => {
  const store = open()
  for (const taskId of ['a', 'b']) await settle(store, { taskId })
  const { deliveries, nextClaimAt } = await claimDeliveries(store, 'x', START, { endpointConcurrency: 2 })
  expect(deliveries).toHaveLength(2)
  expect(nextClaimAt).toBe(at(LEASE_MS))
})

test('endpoints that wait for a later instant are not worth a claim before it', async () => {
  const store = open()
  for (const host of ['a', 'b'])
    await settle(store, { taskId: host, callback: { kind: 'url', url: `https://${host}.example/` } })
  const { deliveries } = await claimDeliveries(store, 'x')
  await store.recordAttempts({ now: START, records: deliveries.map((one) => attempted(one, 'x', FAILED)) })
  expect(await claimDeliveries(store, 'y', at(1), { limit: 2 })).toEqual({
    deliveries: [],
    nextClaimAt: at(5_000),
    isMoreDue: false,
  })
})

test('pages full of endpoints that turn out to have nothing are followed by another look at once', async () => {
  const store = open()
  for (const host of ['a', 'b', 'c', 'd', 'e'])
    await settle(store, { taskId: host, callback: { kind: 'url', url: `https://${host}.example/` } })
  const { deliveries } = await claimDeliveries(store, 'x')
  await store.recordAttempts({ now: START, records: deliveries.map((one) => attempted(one, 'x', OK)) })
  const now = at(LEASE_MS + 1)
  await settle(store, { taskId: 'f' }, now)
  expect(await claimDeliveries(store, 'y', now, { limit: 1 })).toEqual({
    deliveries: [],
    nextClaimAt: now,
    isMoreDue: true,
  })
  expect((await claimDeliveries(store, 'z', now, { limit: 1 })).deliveries).toHaveLength(1)
})

test('a retry that is due later does not hide what is due now', async () => {
  const store = open()
  for (const taskId of ['a', 'b']) await settle(store, { taskId })
  const first = await claimOne(store, 'x')
  await store.recordAttempts({ now: START, records: [attempted(first, 'x', FAILED)] })
  expect((await claimDeliveries(store, 'y', at(1))).deliveries).toHaveLength(1)
})

test('an endpoint that is gone already is not disabled once more by the attempts that were under way', async () => {
  const store = open()
  for (const taskId of ['a', 'b']) await settle(store, { taskId })
  const { deliveries } = await claimDeliveries(store, 'x')
  const id = deliveries[0]!.endpointId
  await store.recordAttempts({ now: at(1), records: [attempted(deliveries[0]!, 'x', GONE, at(1))] })
  await store.recordAttempts({ now: at(2), records: [attempted(deliveries[1]!, 'x', GONE, at(2))] })
  const gone = { status: 'disabled', disabledReason: 'gone', updatedAt: at(1) }
  expect(await store.getEndpoint({ now: at(3), id })).toMatchObject(gone)
  const resumed = await store.setEndpointStatus({ now: at(4), id, status: 'enabled' })
  expect(resumed).toMatchObject({ status: 'enabled', disabledReason: null })
})

test('what waits to be sent has not settled: neither after a failure, nor when it had and a person wants it again', async () => {
  const path = join(aDirectory(), 'deliveries.db')
  const store = openAt(path)
  const db = new Database(path, { readonly: true })
  onTestFinished(() => void db.close())
  const inSql = () => db.prepare('select settled_at from deliveries').pluck().get()
  await settle(store)
  const { id } = await claimOne(store, 'a').then(async (delivery) => {
    await store.recordAttempts({ now: START, records: [attempted(delivery, 'a', FAILED)] })
    return delivery
  })
  expect(await store.getDelivery(id)).toMatchObject({ status: 'pending', settledAt: null })
  expect(inSql()).toBeNull()
  const again = await claimOne(store, 'b', at(HOUR))
  await store.recordAttempts({ now: at(HOUR), records: [attempted(again, 'b', OK, at(HOUR))] })
  expect(await store.getDelivery(id)).toMatchObject({ status: 'delivered', settledAt: at(HOUR) })
  await store.redeliver({ now: at(2 * HOUR), deliveryId: id })
  expect(await store.getDelivery(id)).toMatchObject({ status: 'pending', settledAt: null })
  expect(inSql()).toBeNull()
})

test('once its lease has ended no claim goes before the record of what was delivered: nobody sends it again', async () => {
  const store = open()
  await settle(store)
  const delivery = await claimOne(store, 'a')
  // The machine slept between the two: both are asked for in one turn.
  const record = store.recordAttempts({ now: at(1), records: [attempted(delivery, 'a', OK, at(1))] })
  const claim = claimDeliveries(store, 'b', at(LEASE_MS))
  expect(await record).toEqual({ applied: 1 })
  expect((await claim).deliveries).toEqual([])
})
