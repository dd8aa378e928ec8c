/**
 * What every store promises of how an endpoint is sent to: whose signatures, which headers, and of which events at all. A
 * setting takes effect with the next attempt, and never changes what an attempt tells.
 */

import { describe, expect, test } from 'vitest'
import type { EndpointSettings } from '../../src/core/endpoint.ts'
import type { EndpointId } from '../../src/core/ids.ts'
import { formatPrivateKey, formatPublicKey, parsePrivateKey, type SigningKey } from '../../src/core/signature.ts'
import { DAY, type EpochMs } from '../../src/core/time.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from '../support/store.ts'
import { at, attempted, claimDeliveries, FAILED, SECRETS, type StoreHarness, settle } from './steps.ts'

const URL = 'https://shop.example/hooks'
const PRIVATE_KEYS = [1, 2, 3, 4, 5].map((byte) => formatPrivateKey(Buffer.alloc(32, byte)))
const PUBLIC_KEYS = PRIVATE_KEYS.map((text) => formatPublicKey(parsePrivateKey(text)!))

async function made(
  store: Store,
  settings: Partial<EndpointSettings> & { secret?: string; privateKey?: string } = {},
): Promise<EndpointId> {
  const result = await store.createEndpoint({ now: START, url: URL, name: null, secret: SECRETS[0]!, ...settings })
  if (result.kind !== 'kept') throw new Error(result.kind)
  return result.endpoint.id
}

/** The one delivery that is due; its attempt fails, so that it is due again. */
async function nextAttempt(store: Store, name: string, now: EpochMs) {
  const [delivery] = (await claimDeliveries(store, name, now)).deliveries
  if (delivery === undefined) throw new Error('nothing is due')
  await store.recordAttempts({ now, records: [attempted(delivery, name, FAILED, now)] })
  return delivery
}

function nameOf(signer: SigningKey | 'daemon'): string {
  if (signer === 'daemon') return signer
  if (signer.algorithm === 'ed25519') return `v1a ${PUBLIC_KEYS.indexOf(formatPublicKey(signer))}`
  return `v1 ${SECRETS.indexOf(`whsec_${Buffer.from(signer.secret).toString('base64')}`)}`
}

async function signersAt(store: Store, name: string, now: EpochMs): Promise<readonly string[]> {
  return (await nextAttempt(store, name, now)).signers.map(nameOf)
}

export function describeSigning(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: signing with key pairs`, () => {
    test('an endpoint that asks for it is signed for by its secret and by its key, and shows the public half', async () => {
      const { store } = await open()
      const id = await made(store, { privateKey: PRIVATE_KEYS[0]! })
      await settle(store)
      expect(await store.getEndpoint({ now: START, id })).toMatchObject({ publicKeys: [PUBLIC_KEYS[0]] })
      expect(await signersAt(store, 'a', START)).toEqual(['v1 0', 'v1a 0'])
    })

    test('it can be asked for later, also by one that the daemon’s secret signs for; asking again changes nothing', async () => {
      const { store } = await open()
      const id = (await settle(store)).subscriptions[0]!.endpointId
      const first = await store.updateEndpoint({ now: START, id, privateKey: PRIVATE_KEYS[0]! })
      const second = await store.updateEndpoint({ now: at(1), id, privateKey: PRIVATE_KEYS[1]! })
      expect(first).toMatchObject({ kind: 'kept', endpoint: { publicKeys: [PUBLIC_KEYS[0]] } })
      expect(second).toMatchObject({ kind: 'kept', endpoint: { publicKeys: [PUBLIC_KEYS[0]] } })
      expect(await signersAt(store, 'a', at(2))).toEqual(['daemon', 'v1a 0'])
    })

    test('ending it ends it at once, whatever overlaps', async () => {
      const { store } = await open()
      const id = await made(store, { privateKey: PRIVATE_KEYS[0]! })
      await settle(store)
      await store.rotateSecret({ now: at(1), id, secret: SECRETS[1]!, privateKey: PRIVATE_KEYS[1]!, overlapMs: DAY })
      const ended = await store.updateEndpoint({ now: at(2), id, privateKey: null })
      expect(ended).toMatchObject({ kind: 'kept', endpoint: { publicKeys: [] } })
      expect(await signersAt(store, 'a', at(3))).toEqual(['v1 1', 'v1 0'])
    })

    test('replacing replaces both, with the same overlap and at most three of each', async () => {
      const { store } = await open()
      const id = await made(store, { privateKey: PRIVATE_KEYS[0]! })
      await settle(store)
      const rotate = (index: number, overlapMs: number) =>
        store.rotateSecret({
          now: at(index),
          id,
          secret: SECRETS[index]!,
          privateKey: PRIVATE_KEYS[index]!,
          overlapMs,
        })
      expect(await rotate(1, 10_000)).toMatchObject({ publicKeys: [PUBLIC_KEYS[1], PUBLIC_KEYS[0]] })
      expect(await signersAt(store, 'a', at(2_000))).toEqual(['v1 1', 'v1 0', 'v1a 1', 'v1a 0'])
      expect(await signersAt(store, 'b', at(400_000))).toEqual(['v1 1', 'v1a 1'])
      for (const index of [2, 3]) await rotate(index, DAY)
      const { publicKeys, secrets } = (await store.getEndpoint({ now: at(3), id }))!
      expect(publicKeys).toEqual([PUBLIC_KEYS[3], PUBLIC_KEYS[2], PUBLIC_KEYS[1]])
      expect(secrets).toHaveLength(3)
    })

    test('replacing makes no key pair for one that never asked for it', async () => {
      const { store } = await open()
      const id = await made(store)
      const params = { secret: SECRETS[1]!, privateKey: PRIVATE_KEYS[1]!, overlapMs: DAY }
      expect(await store.rotateSecret({ now: at(1), id, ...params })).toMatchObject({ publicKeys: [] })
    })

    test('keys survive the end of the daemon', async () => {
      const harness = await open()
      await made(harness.store, { privateKey: PRIVATE_KEYS[0]!, headers: { 'x-shop': '7' } })
      await settle(harness.store)
      const { store } = await harness.reopen()
      const delivery = await nextAttempt(store, 'a', START)
      expect(delivery.signers.map(nameOf)).toEqual(['v1 0', 'v1a 0'])
      expect(delivery.headers).toEqual({ 'x-shop': '7' })
    })

    // Row numbers of deleted secrets are given out again, and what was opened is remembered: a new endpoint was signed for
    // with the secret of a deleted one.
    test('an endpoint that comes after a deleted one is signed for with its own secret', async () => {
      const { store } = await open()
      const first = await made(store, { privateKey: PRIVATE_KEYS[0]! })
      await settle(store)
      expect(await signersAt(store, 'a', START)).toEqual(['v1 0', 'v1a 0'])
      await store.deleteEndpoint({ now: at(1), id: first, doesDropBacklog: true })
      await made(store, { secret: SECRETS[1]!, privateKey: PRIVATE_KEYS[1]! })
      await settle(store, { taskId: 'b' })
      expect(await signersAt(store, 'b', at(2))).toEqual(['v1 1', 'v1a 1'])
    })
  })

  describe(`${name}: headers`, () => {
    test('they go with every attempt, and only their names are shown', async () => {
      const { store } = await open()
      const headers = { Authorization: 'Bearer canary', 'X-Shop': '7' }
      const id = await made(store, { headers })
      await settle(store)
      expect((await nextAttempt(store, 'a', START)).headers).toEqual(headers)
      expect((await nextAttempt(store, 'b', at(6_000))).headers).toEqual(headers)
      const endpoint = await store.getEndpoint({ now: START, id })
      expect(endpoint?.headerNames).toEqual(['Authorization', 'X-Shop'])
      expect(JSON.stringify(endpoint)).not.toContain('canary')
    })

    test('those that are set replace all that were; other changes leave them as they are', async () => {
      const { store } = await open()
      const id = await made(store, { headers: { a: '1', b: '2' } })
      await settle(store)
      await store.updateEndpoint({ now: at(1), id, name: 'shop' })
      expect((await nextAttempt(store, 'a', at(1))).headers).toEqual({ a: '1', b: '2' })
      await store.updateEndpoint({ now: at(2), id, headers: { b: '3' } })
      expect((await nextAttempt(store, 'b', at(6_000))).headers).toEqual({ b: '3' })
      expect(await store.updateEndpoint({ now: at(3), id, headers: {} })).toMatchObject({
        endpoint: { headerNames: [] },
      })
      expect((await nextAttempt(store, 'c', at(400_000))).headers).toEqual({})
    })

    test('an endpoint that has none is sent none', async () => {
      const { store } = await open()
      await settle(store)
      expect((await nextAttempt(store, 'a', START)).headers).toEqual({})
    })
  })

  describe(`${name}: settings of an endpoint`, () => {
    test('they read back as they were set, and what a change leaves out stays', async () => {
      const { store } = await open()
      const settings = { name: 'shop', eventTypes: ['task.failed'], rateMax: 0.5, concurrencyMax: 3 } as const
      const id = await made(store, settings)
      expect(await store.getEndpoint({ now: START, id })).toMatchObject(settings)
      await store.updateEndpoint({ now: at(1), id, concurrencyMax: null })
      expect(await store.getEndpoint({ now: START, id })).toMatchObject({ ...settings, concurrencyMax: null })
      await store.updateEndpoint({ now: at(1), id, rateMax: null, eventTypes: null, name: null })
      const none = { name: null, eventTypes: null, rateMax: null, concurrencyMax: null }
      expect(await store.getEndpoint({ now: START, id })).toMatchObject(none)
    })

    test('an endpoint is told of the types that it chose, and of no others', async () => {
      const { store } = await open()
      await made(store, { eventTypes: ['task.failed'] })
      const other = 'https://other.example/'
      await settle(store, { taskId: 'a' })
      await settle(store, { taskId: 'b', callback: { kind: 'url', url: other } })
      const { items } = await store.listDeliveries({ limit: 9 })
      expect(items.map(({ callbackUrl }) => callbackUrl)).toEqual([other])
      expect((await claimDeliveries(store, 'a')).deliveries).toHaveLength(1)
    })

    test('the choice holds for late subscribers too, and a new choice for what comes after it', async () => {
      const { store } = await open()
      const id = await made(store, { eventTypes: ['task.expired', 'task.failed'] })
      const callback = { kind: 'endpoint', endpointId: id } as const
      await settle(store, { taskId: 'a', callback: { kind: 'url', url: 'https://other.example/' } })
      await settle(store, { taskId: 'a', callback })
      expect((await store.listDeliveries({ limit: 9, endpointId: id })).items).toEqual([])
      await store.updateEndpoint({ now: START, id, eventTypes: ['task.failed', 'task.succeeded'] })
      await settle(store, { taskId: 'b', callback })
      await store.updateEndpoint({ now: START, id, eventTypes: ['task.failed'] })
      expect((await store.listDeliveries({ limit: 9, endpointId: id })).items).toHaveLength(1)
      expect((await claimDeliveries(store, 'x')).deliveries.filter(({ endpointId }) => endpointId === id)).toHaveLength(
        1,
      )
    })

    test('many endpoints may have no URL, and none turns from the one kind into the other', async () => {
      const { store } = await open()
      const id = await made(store, { url: null })
      expect(await made(store, { url: null })).not.toBe(id)
      const sentTo = await made(store)
      const way = async (endpointId: EndpointId, url: string | null) =>
        (await store.updateEndpoint({ now: START, id: endpointId, url })).kind
      expect(await way(id, 'https://b.example/')).toBe('way_fixed')
      expect(await way(sentTo, null)).toBe('way_fixed')
      expect(await way(id, null)).toBe('kept')
      expect(await way(sentTo, 'https://b.example/')).toBe('kept')
      expect(await store.getEndpoint({ now: START, id })).toMatchObject({ url: null })
      await settle(store, { callback: { kind: 'endpoint', endpointId: id } })
      expect((await claimDeliveries(store, 'a')).deliveries).toEqual([])
    })

    test('a URL, a secret, a header edited between two attempts is that of the second, whose id and body stay', async () => {
      const { store } = await open()
      const id = await made(store)
      await settle(store)
      const first = await nextAttempt(store, 'a', START)
      const url = 'https://moved.example/hooks'
      await store.updateEndpoint({ now: at(1), id, url, headers: { 'x-new': '1' } })
      await store.rotateSecret({ now: at(1), id, secret: SECRETS[1]!, overlapMs: 0 })
      const second = await nextAttempt(store, 'b', at(6_000))
      const { id: deliveryId, eventId, body } = first
      expect(second).toMatchObject({ id: deliveryId, eventId, body, url, headers: { 'x-new': '1' } })
      expect([first, second].map(({ signers }) => signers.map(nameOf))).toEqual([['v1 0'], ['v1 1']])
    })
  })
}
