/** Events over HTTP: one as it is sent, and all in their order for receivers that come and ask. */

import { AppError } from '../core/errors.ts'
import { type EndpointId, isId } from '../core/ids.ts'
import { shown } from '../core/shown.ts'
import { SECOND, toIso } from '../core/time.ts'
import type { SignedEvent } from '../core/webhook-headers.ts'
import type { Store } from '../store/store.ts'
import { answer, answerText, type HttpContext, jsonContent, problems, type Route } from './route.ts'
import { eventSchema, idParamSchema, pulledPageSchema, pullQuerySchema } from './schemas.ts'
import { queryOf } from './shape.ts'
import { createWaitingRoom, type Wait, type WaitingRoomDeps } from './waiting.ts'

export interface PulledEvent extends SignedEvent {
  readonly position: number
}

/** Hands out what would be sent, oldest first. */
export interface Puller {
  pull(request: {
    readonly endpointId: EndpointId | null
    readonly after: number
    readonly limit: number
  }): Promise<readonly PulledEvent[]>
  /** An endpoint without a URL has what came up to there: it counts as delivered. */
  acknowledge(endpointId: EndpointId, upTo: number): Promise<void>
}

export interface EventsDeps extends WaitingRoomDeps {
  readonly store: Pick<Store, 'getEvent'>
  readonly puller: Puller
}

export function eventsRoutes(deps: EventsDeps): readonly Route[] {
  return [pullPage(deps), showOne(deps)]
}

function pullPage(deps: EventsDeps): Route {
  const { puller } = deps
  const waitingRoom = createWaitingRoom(deps)
  return {
    // It says what has arrived, and hands out signatures.
    isMoreThanALook: true,
    definition: {
      method: 'get',
      path: '/v1/events',
      summary: 'Read events in their order, oldest first',
      description:
        'For receivers that cannot be reached. Each event carries the bytes and the headers that its webhook would have. ' +
        'Asking after a cursor says that everything up to it has arrived: an endpoint without a URL has it delivered then.',
      request: { query: pullQuerySchema },
      responses: {
        200: { description: 'The next events; none when the time was up.', content: jsonContent(pulledPageSchema) },
        ...problems(401, 404, 409, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const { endpointId = null, after, limit, wait } = queryOf(pullQuerySchema, c.req.url)
      const position = Number(after ?? 0)
      const look = () => puller.pull({ endpointId, after: position, limit })
      // Nothing counts as delivered by a cursor, or for an endpoint, that there is not.
      const seen = await look()
      if (endpointId !== null && position > 0) await puller.acknowledge(endpointId, position)
      const isOver = seen.length > 0 || wait === 0
      const events = isOver ? seen : await waitingRoom.until(look, (found) => found.length > 0, waitOf(c, wait))
      const nextCursor = String(events.at(-1)?.position ?? position)
      return answer(c, 200, { items: events.map(pulledOnTheWire), nextCursor })
    },
  }
}

function waitOf(c: HttpContext, seconds: number): Wait {
  return { ms: seconds * SECOND, left: c.req.raw.signal }
}

function pulledOnTheWire({ position, event, headers }: PulledEvent): object {
  const { id, type, createdAt, taskId, body } = event
  return { id, type, createdAt: toIso(createdAt), taskId, cursor: String(position), headers, payload: body }
}

function showOne({ store }: EventsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/events/{id}',
      summary: 'Show an event with the body that is sent',
      request: { params: idParamSchema },
      responses: {
        200: { description: 'The event.', content: jsonContent(eventSchema) },
        ...problems(401, 404, 429),
      },
    },
    async handle(c) {
      const id = c.req.param('id') ?? ''
      const event = isId('evt', id) ? await store.getEvent(id) : null
      if (event === null) throw new AppError('not_found', `There is no event ${shown(id)}; their ids start with evt_.`)
      const { type, createdAt, taskId, body } = event
      const head = JSON.stringify({ id: event.id, type, createdAt: toIso(createdAt), taskId })
      // The body goes in as the text it is: parsed and written anew, large numbers in it would be rounded.
      return answerText(c, 200, `${head.slice(0, -1)},"body":${body}}`)
    },
  }
}
