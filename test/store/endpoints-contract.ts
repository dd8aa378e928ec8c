/** What every store promises of endpoints: found or made, changed, and signed for by their own secrets. */

import { describe, expect, test } from 'vitest'
import { DAY, type EpochMs } from '../../src/core/time.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from '../support/store.ts'
import {
  at,
  attempted,
  claimDeliveries,
  FAILED,
  register,
  SECRETS,
  type StoreHarness,
  sameKey,
  settle,
} from './steps.ts'

export function describeEndpoints(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: endpoints and their secrets`, () => {
    const url = 'https://shop.example/hooks'
    const made = async (store: Store, secret = SECRETS[0]!) => {
      const result = await store.createEndpoint({ now: START, url, name: 'shop', secret })
      if (result.kind !== 'kept') throw new Error(result.kind)
      return result.endpoint
    }
    const signersAt = async (store: Store, name: string, now: EpochMs) => {
      const [delivery] = (await claimDeliveries(store, name, now)).deliveries
      if (delivery !== undefined) await store.recordAttempts({ now, records: [attempted(delivery, name, FAILED, now)] })
      return delivery?.signers.map((signer) =>
        signer === 'daemon' ? 'daemon' : SECRETS.findIndex((text) => sameKey(text, signer)),
      )
    }

    test('an endpoint made by hand signs with its own secret, one found by URL with the daemon’s', async () => {
      const { store } = await open()
      await made(store)
      await settle(store)
      await settle(store, { taskId: 'b', callback: { kind: 'url', url: 'https://other.example/' } })
      const { deliveries } = await claimDeliveries(store, 'a')
      const signers = new Map(deliveries.map((delivery) => [delivery.url, delivery.signers]))
      expect(signers.get('https://other.example/')).toEqual(['daemon'])
      expect(signers.get(url)?.map((signer) => signer !== 'daemon' && sameKey(SECRETS[0]!, signer))).toEqual([true])
    })

    test('a URL has one endpoint: a second is told of the first, also when it was made by registering', async () => {
      const { store } = await open()
      const task = await register(store)
      const id = task.subscriptions[0]!.endpointId
      expect(await store.createEndpoint({ now: START, url, name: null, secret: SECRETS[0]! })).toMatchObject({
        kind: 'url_taken',
        endpoint: { id },
      })
      const other = await store.createEndpoint({
        now: START,
        url: 'https://b.example/',
        name: null,
        secret: SECRETS[0]!,
      })
      expect(await store.updateEndpoint({ now: START, id, url: 'https://b.example/' })).toMatchObject({
        kind: 'url_taken',
        endpoint: { id: other.endpoint.id },
      })
      expect(await store.updateEndpoint({ now: START, id: 'ep_none', name: 'x' })).toEqual({ kind: 'not_found' })
    })

    test('while a secret is replaced both sign; after the overlap only the new one', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      const rotated = await store.rotateSecret({ now: at(1_000), id, secret: SECRETS[1]!, overlapMs: 10_000 })
      expect(rotated?.secrets).toEqual([
        { createdAt: at(1_000), expiresAt: null },
        { createdAt: START, expiresAt: at(11_000) },
      ])
      expect(await signersAt(store, 'a', at(2_000))).toEqual([1, 0])
      expect(await signersAt(store, 'b', at(400_000))).toEqual([1])
    })

    test('the first secret of its own overlaps with the daemon’s', async () => {
      const { store } = await open()
      const id = (await settle(store)).subscriptions[0]!.endpointId
      await store.rotateSecret({ now: at(0), id, secret: SECRETS[0]!, overlapMs: 10_000 })
      expect(await signersAt(store, 'a', at(1_000))).toEqual([0, 'daemon'])
      expect(await signersAt(store, 'b', at(400_000))).toEqual([0])
    })

    test('never more than three are live, however often one is replaced', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      for (const [index, secret] of SECRETS.entries()) {
        await store.rotateSecret({ now: at(index), id, secret, overlapMs: DAY })
      }
      expect(await signersAt(store, 'a', at(100))).toEqual([3, 2, 1])
    })

    test('an edited URL takes effect with the next attempt; id and body stay', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await settle(store)
      const [first] = (await claimDeliveries(store, 'a')).deliveries
      await store.recordAttempts({ now: START, records: [attempted(first!, 'a', FAILED)] })
      await store.updateEndpoint({ now: at(1), id, url: 'https://moved.example/hooks' })
      const [second] = (await claimDeliveries(store, 'b', at(6_000))).deliveries
      expect(second).toMatchObject({
        id: first!.id,
        eventId: first!.eventId,
        body: first!.body,
        url: 'https://moved.example/hooks',
      })
    })

    test('a paused endpoint is sent nothing and keeps its backlog, which is due as soon as it is resumed', async () => {
      const { store } = await open()
      const { id } = await made(store)
      await store.setEndpointStatus({ now: START, id, status: 'paused' })
      await settle(store)
      expect((await claimDeliveries(store, 'a', at(DAY))).deliveries).toEqual([])
      expect(await store.setEndpointStatus({ now: at(DAY), id, status: 'enabled' })).toMatchObject({
        status: 'enabled',
      })
      expect((await claimDeliveries(store, 'b', at(DAY))).deliveries).toHaveLength(1)
      expect(await store.setEndpointStatus({ now: START, id: 'ep_none', status: 'paused' })).toBeNull()
    })

    test('endpoints are listed newest first, by status', async () => {
      const { store } = await open()
      const first = await made(store)
      const second = await store.createEndpoint({
        now: START,
        url: 'https://b.example/',
        name: null,
        secret: SECRETS[1]!,
      })
      await store.setEndpointStatus({ now: START, id: first.id, status: 'paused' })
      const ids = async (filter: object) =>
        (await store.listEndpoints({ now: START, limit: 9, ...filter })).items.map(({ id }) => id)
      expect(await ids({})).toEqual([second.endpoint.id, first.id])
      expect(await ids({ status: 'paused' })).toEqual([first.id])
      expect(await store.getEndpoint({ now: START, id: 'ep_none' })).toBeNull()
    })
  })
}
