/** Deliveries and events over HTTP. */

import { describe, expect, test } from 'vitest'
import type { Endpoint } from '../../src/core/endpoint.ts'
import { epochMs } from '../../src/core/time.ts'
import type { DeliveryFilter } from '../../src/store/store.ts'
import { aDelivery, anApp, anAttempt, anEndpoint, NOW, problemOf } from './fakes.ts'

const ON_THE_WIRE = {
  id: 'dlv_1',
  eventId: 'evt_1',
  eventType: 'task.succeeded',
  taskId: 'task_01',
  endpointId: 'ep_1',
  callbackUrl: 'https://example.com/hook',
  status: 'pending',
  attemptCount: 1,
  nextAttemptAt: '2026-11-22T12:00:00.000Z',
  createdAt: '2026-11-22T12:00:00.000Z',
  settledAt: null,
  lastStatusCode: 503,
  lastFailure: null,
}

describe('listing', () => {
  const listing = () => {
    const filters: DeliveryFilter[] = []
    const app = anApp({
      store: {
        async listDeliveries(filter) {
          filters.push(filter)
          return { items: [aDelivery()], nextCursor: null }
        },
      },
    })
    return { ...app, filters }
  }

  test('answers a page', async () => {
    expect(await (await listing().get('/v1/deliveries')).json()).toEqual({ items: [ON_THE_WIRE], nextCursor: null })
  })

  test.each(['state', 'status', 'state=exhausted&status'])('filters by %s', async (name) => {
    const { get, filters } = listing()
    await get(`/v1/deliveries?${name}=exhausted&endpointId=ep_1&taskId=task_01&limit=5&cursor=17`)
    expect(filters).toEqual([{ status: 'exhausted', endpointId: 'ep_1', taskId: 'task_01', limit: 5, cursor: '17' }])
  })

  test.each([
    ['state=sent', '/query/state', 'invalid_value'],
    ['state=pending&status=delivered', '/query/state', 'invalid_value'],
    ['endpointId=task_1', '/query/endpointId', 'invalid_value'],
    ['taskId=9f2c1e77', '/query/taskId', 'invalid_value'],
    ['limit=many', '/query/limit', 'invalid_value'],
    ['eventId=evt_1', '/query/eventId', 'unknown_field'],
  ])('?%s is 422', async (query, pointer, code) => {
    const { get, filters } = listing()
    expect((await problemOf(await get(`/v1/deliveries?${query}`), 422)).errors).toMatchObject([{ pointer, code }])
    expect(filters).toEqual([])
  })
})

describe('showing', () => {
  test('a delivery comes with its attempts', async () => {
    const { get } = anApp({
      store: {
        getDelivery: async (id) => (id === 'dlv_1' ? aDelivery() : null),
        listAttempts: async () => [anAttempt(), anAttempt({ id: 'att_2', attemptNumber: 2 })],
      },
    })
    const body = await (await get('/v1/deliveries/dlv_1')).json()
    expect(body).toMatchObject({ ...ON_THE_WIRE, attempts: [{ id: 'att_1' }, { id: 'att_2', attemptNumber: 2 }] })
    await problemOf(await get('/v1/deliveries/dlv_2'), 404)
    await problemOf(await get('/v1/deliveries/task_1'), 404)
  })
})

describe('redelivering', () => {
  const redelivering = (endpoint?: Partial<Endpoint>) => {
    const woken: string[] = []
    const app = anApp({
      wakeDispatcher: () => void woken.push('dispatcher'),
      store: {
        redeliver: async ({ deliveryId }) => {
          if (deliveryId !== 'dlv_1') return { kind: 'not_found' }
          if (endpoint === undefined) return { kind: 'queued', delivery: aDelivery() }
          const known: Endpoint = anEndpoint({ url: 'https://example.com', status: 'paused', disabledReason: null })
          return { kind: 'endpoint_not_enabled', endpoint: { ...known, ...endpoint } }
        },
      },
    })
    return { ...app, woken }
  }

  test('is 202 with the delivery, and wakes the dispatcher', async () => {
    const { post, woken } = redelivering()
    const response = await post('/v1/deliveries/dlv_1/redeliver')
    expect([response.status, await response.json()]).toEqual([202, ON_THE_WIRE])
    expect(woken).toEqual(['dispatcher'])
  })

  test.each([
    [{ status: 'paused' }, /ep_1 is paused.*Resume it/],
    [{ status: 'disabled', disabledReason: 'gone' }, /ep_1 is disabled, because it answered 410 Gone.*Resume it/],
    [
      {
        status: 'disabled',
        disabledReason: 'secret_unreadable',
        secrets: [
          { createdAt: NOW, expiresAt: null },
          { createdAt: NOW, expiresAt: epochMs(NOW + 60_000) },
        ],
      },
      /ep_1 was sealed with another key.*overlap of 0s.*signs until 2026-11-22T12:01:00\.000Z/,
    ],
  ] satisfies [Partial<Endpoint>, RegExp][])('to an endpoint that is %j is 409', async (endpoint, said) => {
    const { post, woken } = redelivering(endpoint)
    expect((await problemOf(await post('/v1/deliveries/dlv_1/redeliver'), 409)).detail).toMatch(said)
    expect(woken).toEqual([])
  })

  test('one that is under way is 409, and the dispatcher is left alone', async () => {
    let wakeCount = 0
    const { post } = anApp({
      store: { redeliver: async () => ({ kind: 'under_way', delivery: aDelivery() }) },
      wakeDispatcher: () => {
        wakeCount += 1
      },
    })
    expect((await problemOf(await post('/v1/deliveries/dlv_1/redeliver'), 409)).detail).toContain('under way')
    expect(wakeCount).toBe(0)
  })

  test('an unknown one is 404', async () => {
    const { post, woken } = redelivering()
    await problemOf(await post('/v1/deliveries/dlv_2/redeliver'), 404)
    await problemOf(await post('/v1/deliveries/evt_2/redeliver'), 404)
    expect(woken).toEqual([])
  })
})

describe('events', () => {
  test('show the body that is sent, byte for byte', async () => {
    const body = '{"type":"task.succeeded","data":{"n":9007199254740993,"url":"http:\\/\\/x"}}'
    const { get } = anApp({
      store: {
        getEvent: async (id) =>
          id === 'evt_1' ? { id, taskId: 'task_01', type: 'task.succeeded', createdAt: NOW, body } : null,
      },
    })
    const response = await get('/v1/events/evt_1')
    expect(response.status).toBe(200)
    expect(await response.text()).toBe(
      `{"id":"evt_1","type":"task.succeeded","createdAt":"2026-11-22T12:00:00.000Z","taskId":"task_01","body":${body}}`,
    )
    await problemOf(await get('/v1/events/evt_2'), 404)
    await problemOf(await get('/v1/events/task_1'), 404)
  })
})
