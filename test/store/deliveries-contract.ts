/** What every store promises of deliveries: claimed when due, recorded under their lease, sent again when a person asks. */

import { describe, expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import type { DeliveryId } from '../../src/core/ids.ts'
import { DAY, MINUTE } from '../../src/core/time.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from '../support/store.ts'
import {
  at,
  attempted,
  claim,
  claimDeliveries,
  FAILED,
  GONE,
  LEASE_MS,
  OK,
  register,
  type StoreHarness,
  settle,
  settledBy,
} from './steps.ts'

export function describeDeliveries(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: claiming and recording deliveries`, () => {
    test('a due delivery comes with the frozen body and the first attempt’s number', async () => {
      const { store } = await open()
      const task = await settle(store)
      const { deliveries } = await claimDeliveries(store, 'a')
      expect(deliveries).toEqual([
        expect.objectContaining({
          eventId: task.eventId,
          url: 'https://shop.example/hooks',
          attemptNumber: 1,
          isManual: false,
        }),
      ])
      expect(deliveries[0]!.body).toBe((await store.getEvent(task.eventId!))!.body)
      expect((await claimDeliveries(store, 'b')).deliveries).toEqual([])
    })

    test('a claim behind the records sees what a record brings that is not on disk yet', async () => {
      const { store } = await open()
      await register(store)
      const [task] = await claim(store, 'asked')
      const recording = store.recordPolls({ now: START, records: [settledBy(task!, 'asked')], effects: [] })
      const claiming = claimDeliveries(store, 'a', START, { isBehindRecords: true })
      expect((await claiming).deliveries).toHaveLength(1)
      expect((await recording).applied).toBe(1)
    })

    test('what was left behind for want of a slot is told, and what is not due or is under way is not', async () => {
      const { store } = await open()
      for (const taskId of ['a', 'b', 'c']) await settle(store, { taskId })
      const first = await claimDeliveries(store, 'a', START, { limit: 1 })
      expect(first.isMoreDue).toBe(true)
      const inFlight = new Map([[first.deliveries[0]!.endpointId, 1]])
      const full = await claimDeliveries(store, 'b', at(1), { endpointConcurrency: 1, inFlight })
      expect([full.deliveries, full.isMoreDue]).toEqual([[], true])
      expect((await claimDeliveries(store, 'c', at(2), { limit: 2 })).isMoreDue).toBe(false)
      expect((await claimDeliveries(store, 'd', at(3))).isMoreDue).toBe(false)
    })

    test('a delivered one is never claimed again', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      expect(await store.recordAttempts({ now: at(3), records: [attempted(delivery!, 'a', OK)] })).toEqual({
        applied: 1,
      })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'delivered',
        attemptCount: 1,
        settledAt: at(3),
        lastStatusCode: 204,
      })
      expect((await claimDeliveries(store, 'b', at(30 * DAY))).deliveries).toEqual([])
    })

    test('a failed one is due again when the verdict says, with the attempt kept', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED)] })
      expect((await claimDeliveries(store, 'b', at(4_999))).deliveries).toEqual([])
      expect((await claimDeliveries(store, 'b', at(4_999))).nextClaimAt).toBe(at(5_000))
      const [again] = (await claimDeliveries(store, 'c', at(5_000))).deliveries
      expect(again).toMatchObject({
        id: delivery!.id,
        eventId: delivery!.eventId,
        body: delivery!.body,
        attemptNumber: 2,
        scheduledAttemptCount: 1,
      })
      expect(await store.listAttempts([delivery!.id])).toEqual([
        expect.objectContaining({
          attemptNumber: 1,
          verdict: 'retry',
          statusCode: 500,
          responseExcerpt: 'ok',
          remoteAddress: '192.0.2.1',
          timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
          nextAttemptAt: at(5_000),
        }),
      ])
    })

    test('an attempt under a lost lease leaves nothing behind', async () => {
      const { store } = await open()
      await settle(store)
      const [late] = (await claimDeliveries(store, 'a')).deliveries
      const [fresh] = (await claimDeliveries(store, 'b', at(LEASE_MS))).deliveries
      expect(fresh?.id).toBe(late?.id)
      expect(await store.recordAttempts({ now: at(LEASE_MS), records: [attempted(late!, 'a', OK)] })).toEqual({
        applied: 0,
      })
      expect(await store.listAttempts([late!.id])).toEqual([])
      expect(await store.getDelivery(late!.id)).toMatchObject({ status: 'pending', attemptCount: 0 })
    })

    test('a lease that nobody wrote under ends, though the endpoint has had other work since', async () => {
      const { store } = await open()
      await settle(store)
      const [lost] = (await claimDeliveries(store, 'a')).deliveries
      await settle(store, { taskId: 'second' }, at(1_000))
      const [second] = (await claimDeliveries(store, 'b', at(1_000))).deliveries
      await store.recordAttempts({ now: at(1_001), records: [attempted(second!, 'b', OK)] })
      expect((await claimDeliveries(store, 'c', at(2_000))).deliveries).toEqual([])
      const found = (await claimDeliveries(store, 'd', at(2 * LEASE_MS + 1))).deliveries
      expect(found.map((delivery) => delivery.id)).toEqual([lost!.id])
    })

    test('what is given back costs no attempt and is due when the verdict says', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      const fault: AttemptResult = { kind: 'own_fault', reason: 'no_file_handles', detail: 'EMFILE' }
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', fault)] })
      expect(await store.listAttempts([delivery!.id])).toEqual([])
      const [again] = (await claimDeliveries(store, 'b', at(5_000))).deliveries
      expect(again).toMatchObject({ id: delivery!.id, attemptNumber: 1, scheduledAttemptCount: 0 })
    })

    test('the last attempt of the schedule exhausts the delivery', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED, START, [0])] })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'exhausted',
        settledAt: START,
        nextAttemptAt: null,
      })
    })

    test('410 disables the endpoint, which keeps its backlog', async () => {
      const { store } = await open()
      await settle(store)
      await settle(store, { taskId: 'second' })
      const { deliveries } = await claimDeliveries(store, 'a', START, { limit: 1 })
      await store.recordAttempts({ now: START, records: [attempted(deliveries[0]!, 'a', GONE)] })
      expect((await claimDeliveries(store, 'b', at(30 * DAY))).deliveries).toEqual([])
      expect((await store.listDeliveries({ status: 'pending', limit: 10 })).items).toHaveLength(2)
    })

    test('an endpoint with all its slots in use holds up no other', async () => {
      const { store } = await open()
      const url = 'https://dead.example/'
      for (let index = 0; index < 30; index += 1)
        await settle(store, { taskId: `dead${index}`, callback: { kind: 'url', url } })
      await settle(store, { taskId: 'healthy' }, at(1))
      const first = (await claimDeliveries(store, 'a', at(1), { limit: 8, endpointConcurrency: 4 })).deliveries
      expect(first.map((delivery) => delivery.url)).toEqual([url, url, url, url, 'https://shop.example/hooks'])
      const inFlight = new Map([[first[0]!.endpointId, 4]])
      expect((await claimDeliveries(store, 'b', at(2), { endpointConcurrency: 4, inFlight })).deliveries).toEqual([])
      const freed = new Map([[first[0]!.endpointId, 3]])
      expect(
        (await claimDeliveries(store, 'c', at(3), { endpointConcurrency: 4, inFlight: freed })).deliveries,
      ).toHaveLength(1)
    })

    test('endpoints that have nothing more to give hide nobody, however many there are', async () => {
      const { store } = await open()
      for (let index = 0; index < 40; index += 1) {
        await settle(store, {
          taskId: `t${index}`,
          callback: { kind: 'url', url: `https://shop.example/?task=${index}` },
        })
      }
      const seen = new Set<DeliveryId>()
      for (let round = 0; round < 10; round += 1) {
        const { deliveries, nextClaimAt } = await claimDeliveries(store, `r${round}`, at(round), { limit: 8 })
        for (const delivery of deliveries) seen.add(delivery.id)
        if (seen.size < 40) expect(nextClaimAt === null || nextClaimAt <= at(round) || deliveries.length > 0).toBe(true)
      }
      expect(seen.size).toBe(40)
    })

    test('deliveries under a dead daemon’s lease are claimable at once', async () => {
      const harness = await open()
      await settle(harness.store)
      const [delivery] = (await claimDeliveries(harness.store, 'a')).deliveries
      const { store } = await harness.reopen()
      const [again] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(again).toMatchObject({
        id: delivery!.id,
        eventId: delivery!.eventId,
        body: delivery!.body,
        attemptNumber: 1,
      })
    })
  })

  describe(`${name}: redelivering`, () => {
    async function exhausted(store: Store): Promise<DeliveryId> {
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', FAILED, START, [0])] })
      return delivery!.id
    }

    test('an exhausted delivery gets one attempt, and is exhausted again when that fails', async () => {
      const { store } = await open()
      const deliveryId = await exhausted(store)
      expect(await store.redeliver({ now: at(1), deliveryId })).toMatchObject({
        kind: 'queued',
        delivery: { status: 'pending' },
      })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(manual).toMatchObject({
        isManual: true,
        attemptNumber: 2,
        scheduledAttemptCount: 1,
        statusBefore: 'exhausted',
      })
      await store.recordAttempts({ now: at(2), records: [attempted(manual!, 'b', FAILED)] })
      expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'exhausted', attemptCount: 2 })
      expect((await store.listAttempts([deliveryId])).map((one) => one.isManual)).toEqual([false, true])
    })

    test('a delivered one that is sent again stays delivered when the receiver fails', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', OK)] })
      await store.redeliver({ now: at(1), deliveryId: delivery!.id })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      await store.recordAttempts({ now: at(2), records: [attempted(manual!, 'b', FAILED)] })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({
        status: 'delivered',
        attemptCount: 2,
        settledAt: START,
        lastStatusCode: 204,
      })
    })

    test('while an attempt is under way there is nothing to ask for', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      expect(await store.redeliver({ now: at(1), deliveryId: delivery!.id })).toMatchObject({ kind: 'under_way' })
    })

    test('asking five times before the attempt was made is one attempt', async () => {
      const { store } = await open()
      const deliveryId = await exhausted(store)
      for (let index = 0; index < 5; index += 1) await store.redeliver({ now: at(index), deliveryId })
      const [manual] = (await claimDeliveries(store, 'b', at(9))).deliveries
      await store.redeliver({ now: at(9), deliveryId })
      await store.recordAttempts({ now: at(10), records: [attempted(manual!, 'b', OK)] })
      expect(await store.getDelivery(deliveryId)).toMatchObject({ status: 'delivered', attemptCount: 2 })
      expect((await claimDeliveries(store, 'c', at(DAY))).deliveries).toEqual([])
    })

    test('a waiting delivery is attempted now, and its schedule is not used up', async () => {
      const { store } = await open()
      await settle(store)
      const [first] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(first!, 'a', FAILED)] })
      await store.redeliver({ now: at(1), deliveryId: first!.id })
      const [manual] = (await claimDeliveries(store, 'b', at(1))).deliveries
      expect(manual).toMatchObject({ isManual: true, attemptNumber: 2, statusBefore: 'pending' })
      await store.recordAttempts({ now: at(1), records: [attempted(manual!, 'b', FAILED, at(1))] })
      const [next] = (await claimDeliveries(store, 'c', at(10 * MINUTE))).deliveries
      expect(next).toMatchObject({ isManual: false, attemptNumber: 3, scheduledAttemptCount: 1 })
    })

    test('an endpoint that is not enabled is refused with its state', async () => {
      const { store } = await open()
      await settle(store)
      const [delivery] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(delivery!, 'a', GONE)] })
      expect(await store.redeliver({ now: at(1), deliveryId: delivery!.id })).toMatchObject({
        kind: 'endpoint_not_enabled',
        endpoint: { status: 'disabled', disabledReason: 'gone' },
      })
      expect(await store.redeliver({ now: at(1), deliveryId: 'dlv_none' })).toEqual({ kind: 'not_found' })
    })
  })
}
