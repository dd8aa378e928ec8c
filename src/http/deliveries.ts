/** Deliveries over HTTP: list, show with their attempts, redeliver. */

import { type Endpoint, unreadableInWords } from '../core/endpoint.ts'
import { AppError } from '../core/errors.ts'
import { type DeliveryId, type EndpointId, isId } from '../core/ids.ts'
import { shown } from '../core/shown.ts'
import { toIso } from '../core/time.ts'
import type { Clock } from '../ports.ts'
import type { RedeliverResult, Store } from '../store/store.ts'
import { answer, type HttpContext, jsonContent, problems, type Route } from './route.ts'
import { deliveryDetailSchema, deliveryQuerySchema, deliverySchema, idParamSchema, pageSchema } from './schemas.ts'
import { queryOf } from './shape.ts'
import { deliveryOnTheWire, withAttempts } from './wire.ts'

export interface DeliveriesDeps {
  readonly store: Pick<Store, 'getDelivery' | 'listDeliveries' | 'listAttempts' | 'redeliver'>
  readonly clock: Pick<Clock, 'now'>
  /** A delivery has become due. */
  readonly wakeDispatcher: () => void
}

export function deliveriesRoutes(deps: DeliveriesDeps): readonly Route[] {
  return [listAll(deps), showOne(deps), redeliverOne(deps)]
}

function listAll({ store }: DeliveriesDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/deliveries',
      summary: 'List deliveries, newest first',
      request: { query: deliveryQuerySchema },
      responses: {
        200: { description: 'A page of deliveries.', content: jsonContent(pageSchema(deliverySchema)) },
        ...problems(401, 422, 429),
      },
    },
    async handle(c) {
      const query = queryOf(deliveryQuerySchema, c.req.url)
      const status = query.status ?? query.state
      const { items, nextCursor } = await store.listDeliveries({
        limit: query.limit,
        ...(status === undefined ? {} : { status }),
        ...(query.endpointId === undefined ? {} : { endpointId: query.endpointId }),
        ...(query.taskId === undefined ? {} : { taskId: query.taskId }),
        ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
      })
      return answer(c, 200, { items: items.map(deliveryOnTheWire), nextCursor })
    },
  }
}

function showOne({ store }: DeliveriesDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/deliveries/{id}',
      summary: 'Show a delivery with its attempts',
      request: { params: idParamSchema },
      responses: {
        200: { description: 'The delivery.', content: jsonContent(deliveryDetailSchema) },
        ...problems(401, 404, 429),
      },
    },
    async handle(c) {
      const id = deliveryIdOf(c)
      const delivery = await store.getDelivery(id)
      if (delivery === null) throw unknownDelivery(id)
      const [shownDelivery] = withAttempts([delivery], await store.listAttempts([id]), c.var.access)
      return answer(c, 200, shownDelivery)
    },
  }
}

function redeliverOne({ store, clock, wakeDispatcher }: DeliveriesDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/deliveries/{id}/redeliver',
      summary: 'Send it once more, now',
      description: 'One attempt, whatever the state of the delivery. Asking again before it was made changes nothing.',
      request: { params: idParamSchema },
      responses: {
        202: { description: 'Queued.', content: jsonContent(deliverySchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = deliveryIdOf(c)
      const result = await store.redeliver({ now: clock.now(), deliveryId: id })
      if (result.kind === 'not_found') throw unknownDelivery(id)
      if (result.kind !== 'queued') throw new AppError('conflict', notRedelivered(result).reason)
      wakeDispatcher()
      return answer(c, 202, deliveryOnTheWire(result.delivery))
    },
  }
}

/** Why a delivery cannot be sent now, and what to do. */
export function notRedelivered(result: Exclude<RedeliverResult, { kind: 'queued' | 'not_found' }>): {
  readonly endpointId: string
  readonly reason: string
} {
  switch (result.kind) {
    case 'under_way': {
      const { id, endpointId } = result.delivery
      return { endpointId, reason: `An attempt of ${id} is under way: see how it ends, then ask again.` }
    }
    case 'endpoint_deleted': {
      const remedy = 'Register the task again with another callbackUrl: that is told at once.'
      const { endpointId } = result
      return { endpointId, reason: `Endpoint ${endpointId} was deleted: nothing is sent to it any more. ${remedy}` }
    }
    case 'endpoint_without_url':
      return { endpointId: result.endpointId, reason: readsAgain(result.endpointId) }
    case 'endpoint_not_enabled':
      return { endpointId: result.endpoint.id, reason: notEnabled(result.endpoint).message }
  }
}

/** For an endpoint whose receiver comes and asks. */
export function readsAgain(id: EndpointId): string {
  return `Nothing is sent to ${id}: it has no URL. Its receiver reads again with GET /v1/events?endpointId=${id}&after=…`
}

export function notEnabled(endpoint: Endpoint): AppError {
  if (endpoint.disabledReason === 'secret_unreadable') return unreadable(endpoint)
  const why = endpoint.disabledReason === 'gone' ? ', because it answered 410 Gone' : ''
  const remedy = `Resume it with POST /v1/endpoints/${endpoint.id}/resume and ask again.`
  return new AppError(
    'conflict',
    `Endpoint ${endpoint.id} is ${endpoint.status}${why}: nothing is sent to it. ${remedy}`,
  )
}

function unreadable({ id, secrets }: Endpoint): AppError {
  // Of those that end, the newest ends last.
  const overlapEnd = secrets.find(({ expiresAt }) => expiresAt !== null)?.expiresAt ?? null
  const until = overlapEnd === null ? '' : ` Its old secret signs until ${toIso(overlapEnd)}.`
  return new AppError('conflict', `${unreadableInWords(id)}${until}`)
}

function deliveryIdOf(c: HttpContext): DeliveryId {
  const id = c.req.param('id') ?? ''
  if (!isId('dlv', id)) throw unknownDelivery(id)
  return id
}

function unknownDelivery(id: string): AppError {
  const remedy = id.startsWith('dlv_') ? 'it may be past its retention' : 'the ids of deliveries start with dlv_'
  return new AppError('not_found', `There is no delivery ${shown(id)}; ${remedy}.`)
}
