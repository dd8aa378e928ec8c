/** Endpoints over HTTP: make, list, show, change, pause, resume, and replace the secret. */

import { z } from '@hono/zod-openapi'
import { ENDPOINT_STATUSES, type Endpoint, OVERLAP_MS_DEFAULT, OVERLAP_MS_MAX } from '../core/endpoint.ts'
import { AppError } from '../core/errors.ts'
import { type EndpointId, isId } from '../core/ids.ts'
import { shown } from '../core/shown.ts'
import { DAY, formatDuration, parseDuration } from '../core/time.ts'
import type { Clock, GuardUrl } from '../ports.ts'
import type { EndpointResult, Store } from '../store/store.ts'
import { readJson, readJsonIfAny, SINGLE_BYTES_MAX } from './body.ts'
import { notEnabled } from './deliveries.ts'
import {
  endpointChangeSchema,
  endpointOnTheWire,
  endpointSchema,
  endpointWithSecretSchema,
  newEndpointSchema,
  secretFaults,
  secretSchema,
  settingsOf,
} from './endpoint-shape.ts'
import { answer, type HttpContext, jsonContent, problems, type Route } from './route.ts'
import { cursor, idParamSchema, limit, pageSchema } from './schemas.ts'
import { invalid, queryOf, shaped } from './shape.ts'

export interface EndpointsDeps {
  readonly store: Pick<
    Store,
    'createEndpoint' | 'updateEndpoint' | 'setEndpointStatus' | 'rotateSecret' | 'getEndpoint' | 'listEndpoints'
  >
  readonly clock: Pick<Clock, 'now'>
  readonly guardUrl: GuardUrl
  /** A new `whsec_…` secret. */
  readonly newSecret: () => string
  /** A new `whsk_…` private key. */
  readonly newPrivateKey: () => string
  /** A backlog may have become due. */
  readonly wakeDispatcher: () => void
}

const rotationSchema = z
  .strictObject({
    secret: secretSchema.optional(),
    overlap: z
      .string()
      .optional()
      .openapi({ example: '24h', description: 'How long the old one signs too: 0s to 7d.' }),
  })
  .openapi('Rotation')

const endpointQuerySchema = z.strictObject({ status: z.enum(ENDPOINT_STATUSES).optional(), limit, cursor })

export function endpointsRoutes(deps: EndpointsDeps): readonly Route[] {
  return [
    createOne(deps),
    listAll(deps),
    showOne(deps),
    changeOne(deps),
    turn(deps, 'pause', 'paused', 'Stop sending to it; its backlog is kept'),
    turn(deps, 'resume', 'enabled', 'Send to it again, its backlog first'),
    rotate(deps),
  ]
}

function createOne({ store, clock, guardUrl, newSecret, newPrivateKey }: EndpointsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/endpoints',
      summary: 'Make an endpoint with a secret of its own',
      request: { body: { required: true, content: jsonContent(newEndpointSchema) } },
      responses: {
        201: { description: 'Made. The secret is shown this once.', content: jsonContent(endpointWithSecretSchema) },
        ...problems(400, 401, 409, 413, 415, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const input = shaped(newEndpointSchema, await readJson(c.req.raw, SINGLE_BYTES_MAX, c.var.hold))
      const settings = settingsOf(input, guardUrl)
      const secret = input.secret ?? newSecret()
      const result = await store.createEndpoint({
        now: clock.now(),
        url: null,
        name: null,
        ...settings,
        secret,
        ...(input.asymmetric === true ? { privateKey: newPrivateKey() } : {}),
      })
      const endpoint = keptOf(result, '')
      const location = `/v1/endpoints/${endpoint.id}`
      return answer(c, 201, { ...endpointOnTheWire(endpoint), secret }, { location })
    },
  }
}

function listAll({ store, clock }: EndpointsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/endpoints',
      summary: 'List endpoints, newest first',
      request: { query: endpointQuerySchema },
      responses: {
        200: { description: 'A page of endpoints.', content: jsonContent(pageSchema(endpointSchema)) },
        ...problems(401, 422, 429),
      },
    },
    async handle(c) {
      const { status, cursor, limit } = queryOf(endpointQuerySchema, c.req.url)
      const filter = { limit, ...(status === undefined ? {} : { status }), ...(cursor === undefined ? {} : { cursor }) }
      const { items, nextCursor } = await store.listEndpoints({ now: clock.now(), ...filter })
      return answer(c, 200, { items: items.map(endpointOnTheWire), nextCursor })
    },
  }
}

function showOne({ store, clock }: EndpointsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/endpoints/{id}',
      summary: 'Show an endpoint',
      request: { params: idParamSchema },
      responses: {
        200: { description: 'The endpoint.', content: jsonContent(endpointSchema) },
        ...problems(401, 404, 429),
      },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      return answer(c, 200, endpointOnTheWire(known(await store.getEndpoint({ now: clock.now(), id }), id)))
    },
  }
}

function changeOne({ store, clock, guardUrl, newPrivateKey, wakeDispatcher }: EndpointsDeps): Route {
  return {
    definition: {
      method: 'patch',
      path: '/v1/endpoints/{id}',
      summary: 'Change what is set of it',
      description: 'From the next attempt on; ids and bodies of what is under way stay. What is left out stays too.',
      request: { params: idParamSchema, body: { required: true, content: jsonContent(endpointChangeSchema) } },
      responses: {
        200: { description: 'Changed.', content: jsonContent(endpointSchema) },
        ...problems(400, 401, 404, 409, 413, 415, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      const change = shaped(endpointChangeSchema, await readJson(c.req.raw, SINGLE_BYTES_MAX, c.var.hold))
      const result = await store.updateEndpoint({
        now: clock.now(),
        id,
        ...settingsOf(change, guardUrl),
        ...(change.asymmetric === undefined ? {} : { privateKey: change.asymmetric ? newPrivateKey() : null }),
      })
      const endpoint = keptOf(result, id)
      // It may be sent more at once now, or sooner.
      wakeDispatcher()
      return answer(c, 200, endpointOnTheWire(endpoint))
    },
  }
}

function turn(
  { store, clock, wakeDispatcher }: EndpointsDeps,
  verb: 'pause' | 'resume',
  status: 'paused' | 'enabled',
  summary: string,
): Route {
  return {
    definition: {
      method: 'post',
      path: `/v1/endpoints/{id}/${verb}`,
      summary,
      request: { params: idParamSchema },
      responses: {
        200: { description: 'Done.', content: jsonContent(endpointSchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      const endpoint = known(await store.setEndpointStatus({ now: clock.now(), id, status }), id)
      if (endpoint.disabledReason === 'secret_unreadable') throw notEnabled(endpoint)
      wakeDispatcher()
      return answer(c, 200, endpointOnTheWire(endpoint))
    },
  }
}

function rotate({ store, clock, newSecret, newPrivateKey, wakeDispatcher }: EndpointsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/endpoints/{id}/rotate-secret',
      summary: 'Replace its secret, and its key pair if it has one',
      description:
        'Until the overlap has passed each webhook carries a signature under the old and under the new one. An endpoint ' +
        'that is disabled because a secret cannot be opened is enabled again when none of those is left that sign.',
      request: { params: idParamSchema, body: { content: jsonContent(rotationSchema) } },
      responses: {
        200: {
          description: 'Replaced. The new secret is shown this once.',
          content: jsonContent(endpointWithSecretSchema),
        },
        ...problems(400, 401, 404, 413, 415, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      const body = await readJsonIfAny(c.req.raw, SINGLE_BYTES_MAX, c.var.hold)
      const input = body === null ? {} : shaped(rotationSchema, body)
      const faults = secretFaults(input.secret)
      if (faults.length > 0) throw invalid(faults)
      const secret = input.secret ?? newSecret()
      const keys = { secret, privateKey: newPrivateKey() }
      const overlapMs = overlapOf(input.overlap)
      const endpoint = known(await store.rotateSecret({ now: clock.now(), id, ...keys, overlapMs }), id)
      // One whose secret could not be opened is enabled by this.
      wakeDispatcher()
      return answer(c, 200, { ...endpointOnTheWire(endpoint), secret })
    },
  }
}

function overlapOf(text: string | undefined): number {
  const overlapMs = text === undefined ? OVERLAP_MS_DEFAULT : parseDuration(text)
  if (overlapMs !== null && overlapMs <= OVERLAP_MS_MAX) return overlapMs
  const message = `expected a duration from 0s to ${formatDuration(OVERLAP_MS_MAX)} such as ${formatDuration(DAY)}, got ${shown(text)}`
  throw invalid([{ pointer: '/overlap', code: 'out_of_range', message }])
}

function keptOf(result: EndpointResult, id: string): Endpoint {
  if (result.kind === 'kept') return result.endpoint
  if (result.kind === 'not_found') throw unknownEndpoint(id)
  if (result.kind === 'way_fixed') throw fixedWay(result.endpoint)
  const { endpoint } = result
  throw new AppError('conflict', `Endpoint ${endpoint.id} has this URL already: change it, or replace its secret.`)
}

function fixedWay({ url }: Endpoint): AppError {
  const message =
    url === null
      ? 'is null and stays so: its receiver comes and asks; make another endpoint with a URL'
      : 'cannot become null: it is sent to; make another endpoint without a URL'
  return invalid([{ pointer: '/url', code: 'fixed', message }])
}

function known(endpoint: Endpoint | null, id: EndpointId): Endpoint {
  if (endpoint === null) throw unknownEndpoint(id)
  return endpoint
}

export function endpointIdOf(c: HttpContext): EndpointId {
  const id = c.req.param('id') ?? ''
  if (!isId('ep', id)) throw unknownEndpoint(id)
  return id
}

export function unknownEndpoint(id: string): AppError {
  return new AppError('not_found', `There is no endpoint ${shown(id)}; the ids of endpoints start with ep_.`)
}
