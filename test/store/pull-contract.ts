/** What every store promises to receivers that come and ask: each event once, in one order, whatever happens meanwhile. */

import { describe, expect, test } from 'vitest'
import type { EndpointId } from '../../src/core/ids.ts'
import type { PlacedEvent } from '../../src/store/pull.ts'
import type { Store } from '../../src/store/store.ts'
import { START } from '../support/store.ts'
import { at, attempted, claimDeliveries, OK, SECRETS, type StoreHarness, settle } from './steps.ts'

async function anEndpoint(store: Store, url: string | null): Promise<EndpointId> {
  const made = await store.createEndpoint({ now: START, url, name: null, secret: SECRETS[0]! })
  return made.endpoint.id
}

async function eventsAfter(store: Store, after: number, endpointId: EndpointId | null = null, limit = 100) {
  const pulled = await store.pullEvents({ now: START, endpointId, after, limit })
  if (pulled.kind !== 'events') throw new Error(`no events: ${pulled.kind}`)
  return pulled.events
}

const taskIdsOf = (events: readonly PlacedEvent[]) =>
  events.map(({ event }) => (JSON.parse(event.body) as { data: { taskId: string } }).data.taskId)

export function describePulling(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: pulling`, () => {
    test('events come in the order they were committed, page by page, none twice and none left out', async () => {
      const { store } = await open()
      const taskIds = ['a', 'b', 'c', 'd', 'e']
      for (const taskId of taskIds) await settle(store, { taskId })
      const seen: PlacedEvent[] = []
      for (let page = await eventsAfter(store, 0, null, 2); page.length > 0; ) {
        seen.push(...page)
        page = await eventsAfter(store, page.at(-1)!.position, null, 2)
      }
      expect(taskIdsOf(seen)).toEqual(taskIds)
      const positions = seen.map(({ position }) => position)
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b))
    })

    test('a position stays what it is when the daemon starts anew, and what comes later has a higher one', async () => {
      const harness = await open()
      await settle(harness.store, { taskId: 'before' })
      const [before] = await eventsAfter(harness.store, 0)
      const { store } = await harness.reopen()
      expect(await eventsAfter(store, 0)).toEqual([before])
      await settle(store, { taskId: 'after' })
      expect(taskIdsOf(await eventsAfter(store, before!.position))).toEqual(['after'])
    })

    test('a position is not used again when all events have been forgotten', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'old' })
      const [{ position }] = (await eventsAfter(store, 0)) as [PlacedEvent]
      const { deliveries } = await claimDeliveries(store, 'x')
      await store.recordAttempts({ now: START, records: deliveries.map((one) => attempted(one, 'x', OK)) })
      expect(await store.deleteSettledTasks({ settledBefore: at(1), limit: 10 })).toBe(1)
      expect(await eventsAfter(store, 0)).toEqual([])
      await settle(store, { taskId: 'new' })
      expect(taskIdsOf(await eventsAfter(store, position))).toEqual(['new'])
    })

    test('an endpoint reads only what it is told of, and is told late of what it subscribed to late', async () => {
      const { store } = await open()
      const mine = await anEndpoint(store, null)
      const callback = { kind: 'endpoint', endpointId: mine } as const
      await settle(store, { taskId: 'others' })
      await settle(store, { taskId: 'mine', callback })
      const [first] = await eventsAfter(store, 0, mine)
      expect(taskIdsOf(await eventsAfter(store, 0, mine))).toEqual(['mine'])
      // It settled before the one that was read; the subscription came after.
      await settle(store, { taskId: 'others', callback })
      expect(taskIdsOf(await eventsAfter(store, first!.position, mine))).toEqual(['others'])
    })

    test('its own secret signs what it reads, and the daemon signs what is read of all', async () => {
      const { store } = await open()
      const id = await anEndpoint(store, 'https://shop.example/own')
      const own = await store.pullEvents({ now: START, endpointId: id, after: 0, limit: 1 })
      expect(own).toMatchObject({ kind: 'events', signers: [expect.not.stringMatching('daemon')] })
      const all = await store.pullEvents({ now: START, endpointId: null, after: 0, limit: 1 })
      expect(all).toMatchObject({ kind: 'events', signers: ['daemon'] })
    })

    test('an endpoint that does not exist is said to be unknown', async () => {
      const { store } = await open()
      const pulled = await store.pullEvents({ now: START, endpointId: 'ep_nowhere', after: 0, limit: 1 })
      expect(pulled).toEqual({ kind: 'unknown_endpoint' })
    })

    test('nothing is sent to an endpoint without a URL; what it has asked beyond is delivered', async () => {
      const { store } = await open()
      const id = await anEndpoint(store, null)
      const callback = { kind: 'endpoint', endpointId: id } as const
      await settle(store, { taskId: 'one', callback })
      await settle(store, { taskId: 'two', callback })
      const claimed = await claimDeliveries(store, 'x', at(60_000))
      expect(claimed).toMatchObject({ deliveries: [], nextClaimAt: null })
      const [one] = await eventsAfter(store, 0, id)
      expect(await store.acknowledgeEvents({ now: at(5), endpointId: id, upTo: one!.position, limit: 9 })).toBe(1)
      expect(await store.acknowledgeEvents({ now: at(6), endpointId: id, upTo: one!.position, limit: 9 })).toBe(0)
      const { items } = await store.listDeliveries({ endpointId: id, limit: 10 })
      expect(items.map(({ status, settledAt, callbackUrl }) => [status, settledAt, callbackUrl])).toEqual([
        ['pending', null, null],
        ['delivered', at(5), null],
      ])
      // What was read can be read again.
      expect(taskIdsOf(await eventsAfter(store, 0, id))).toEqual(['one', 'two'])
    })

    test('what was read is acknowledged in pieces, and of a long backlog no more than was read', async () => {
      const { store } = await open()
      const id = await anEndpoint(store, null)
      for (const taskId of ['a', 'b', 'c', 'd', 'e']) {
        await settle(store, { taskId, callback: { kind: 'endpoint', endpointId: id } })
      }
      const upTo = (await eventsAfter(store, 0, id))[3]!.position
      const piece = () => store.acknowledgeEvents({ now: START, endpointId: id, upTo, limit: 3 })
      expect([await piece(), await piece(), await piece()]).toEqual([3, 1, 0])
      const { items } = await store.listDeliveries({ endpointId: id, limit: 10 })
      expect(items.map(({ status }) => status)).toEqual(['pending', ...Array(4).fill('delivered')])
    })

    test('a position that was never given out is refused, of all events and of those of one endpoint', async () => {
      const { store } = await open()
      const id = await anEndpoint(store, null)
      const askAfter = (position: number, endpointId: EndpointId | null) =>
        store.pullEvents({ now: START, endpointId, after: position, limit: 9 })
      expect(await askAfter(1, null)).toEqual({ kind: 'beyond_the_last', lastPosition: 0 })
      await settle(store, { taskId: 'one', callback: { kind: 'endpoint', endpointId: id } })
      await settle(store, { taskId: 'one', callback: { kind: 'url', url: 'https://shop.example/too' } })
      expect(await askAfter(1, null)).toMatchObject({ kind: 'events', events: [] })
      expect(await askAfter(2, null)).toEqual({ kind: 'beyond_the_last', lastPosition: 1 })
      expect(await askAfter(2, id)).toMatchObject({ kind: 'events', events: [] })
      expect(await askAfter(3, id)).toEqual({ kind: 'beyond_the_last', lastPosition: 2 })
    })

    test('what is asked for cannot be sent again: an endpoint without a URL reads it again itself', async () => {
      const { store } = await open()
      const id = await anEndpoint(store, null)
      const { id: taskId } = await settle(store, { taskId: 'one', callback: { kind: 'endpoint', endpointId: id } })
      const [event] = await eventsAfter(store, 0, id)
      await store.acknowledgeEvents({ now: START, endpointId: id, upTo: event!.position, limit: 9 })
      const { items } = await store.listDeliveries({ endpointId: id, limit: 1 })
      const refused = { kind: 'endpoint_without_url', endpointId: id }
      expect(await store.redeliver({ now: START, deliveryId: items[0]!.id })).toEqual(refused)
      expect(await store.redeliverTask({ now: START, id: taskId })).toEqual({ kind: 'done', results: [refused] })
      expect(await store.getDelivery(items[0]!.id)).toMatchObject({ status: 'delivered' })
    })

    test('asking does not take from an endpoint what it is to be sent', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'pushed' })
      const { items } = await store.listDeliveries({ limit: 1 })
      const endpointId = items[0]!.endpointId
      const [event] = await eventsAfter(store, 0, endpointId)
      expect(await store.acknowledgeEvents({ now: START, endpointId, upTo: event!.position, limit: 9 })).toBe(0)
      expect((await claimDeliveries(store, 'x')).deliveries).toHaveLength(1)
    })

    test('an endpoint is reached at its URL with all that signs; one without a URL, or unknown, is said to be so', async () => {
      const { store } = await open()
      const pushed = await anEndpoint(store, 'https://shop.example/own')
      const pulled = await anEndpoint(store, null)
      const reached = await store.reachEndpoint({ now: START, id: pushed })
      expect(reached).toMatchObject({ kind: 'reachable', url: 'https://shop.example/own', headers: {} })
      expect(reached.kind === 'reachable' && reached.signers).toHaveLength(1)
      expect(await store.reachEndpoint({ now: START, id: pulled })).toEqual({ kind: 'no_url' })
      expect(await store.reachEndpoint({ now: START, id: 'ep_nowhere' })).toEqual({ kind: 'not_found' })
    })
  })
}
