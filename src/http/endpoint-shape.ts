/** Endpoints on the wire: what a person may set, what is wrong with it, and what is shown. */

import { z } from '@hono/zod-openapi'
import { type CustomHeaders, customHeaderFaults } from '../core/custom-headers.ts'
import {
  ENDPOINT_CONCURRENCY_MAX,
  ENDPOINT_RATE_MAX,
  ENDPOINT_RATE_MIN,
  ENDPOINT_STATUSES,
  type Endpoint,
  type EndpointSettings,
} from '../core/endpoint.ts'
import type { Fault } from '../core/errors.ts'
import { CHOOSABLE_EVENT_TYPES } from '../core/event.ts'
import { pointerToken } from '../core/shown.ts'
import { parseSecret } from '../core/signature.ts'
import { type EpochMs, toIso } from '../core/time.ts'
import type { GuardUrl } from '../ports.ts'
import { instant, instantOrNull } from './schemas.ts'
import { invalid } from './shape.ts'

const NAME_LENGTH_MAX = 100

const url = z
  .string()
  .nullable()
  .openapi({ description: 'Null: nothing is sent, its receiver comes and asks, GET /v1/events.', format: 'uri' })
const name = z.string().min(1).max(NAME_LENGTH_MAX).nullable().openapi({ example: 'shop' })
const eventTypes = z
  .array(z.enum(CHOOSABLE_EVENT_TYPES))
  .min(1, { error: 'expected at least one event type, or null for all' })
  .nullable()
  .openapi({ description: 'What it is told of; null: of all.', example: ['task.succeeded'] })
const RATE_WORDS = `expected attempts a second from ${ENDPOINT_RATE_MIN} to ${ENDPOINT_RATE_MAX}, or null`
const rate = z
  .number()
  .min(ENDPOINT_RATE_MIN, { error: RATE_WORDS })
  .max(ENDPOINT_RATE_MAX, { error: RATE_WORDS })
  .nullable()
  .openapi({ description: 'Attempts a second at most; null: as fast as it answers.', example: 20 })
const CONCURRENCY_WORDS = `expected a whole number of attempts at once from 1 to ${ENDPOINT_CONCURRENCY_MAX}, or null`
const concurrency = z
  .number()
  .int({ error: CONCURRENCY_WORDS })
  .min(1, { error: CONCURRENCY_WORDS })
  .max(ENDPOINT_CONCURRENCY_MAX, { error: CONCURRENCY_WORDS })
  .nullable()
  .openapi({ description: 'Attempts at once at most; null: RINGBACK_ENDPOINT_CONCURRENCY.', example: 4 })

/** Not a zod record: what is wrong with one would be told with its value, and that is a credential more often than not. */
const headers = z.unknown().openapi({
  type: ['object', 'null'],
  additionalProperties: { type: 'string' },
  description:
    'Sent with every attempt, in place of all that were set before. At most 20 and 4 KiB; never shown again.',
  example: { authorization: 'Bearer 7f6a…' },
})

const settings = {
  name: name.optional(),
  headers: headers.optional(),
  eventTypes: eventTypes.optional(),
  rate: rate.optional(),
  concurrency: concurrency.optional(),
  asymmetric: z.boolean().optional().openapi({ description: 'Sign with ed25519 (v1a) as well; see publicKeys.' }),
}

export const secretSchema = z
  .string()
  .openapi({ description: 'whsec_ and base64 of 24 to 64 bytes; made when left out.' })

export const newEndpointSchema = z
  .strictObject({ url, ...settings, secret: secretSchema.optional() })
  .openapi('NewEndpoint')

export const endpointChangeSchema = z.strictObject({ url: url.optional(), ...settings }).openapi('EndpointChange')

export const endpointSchema = z
  .object({
    id: z.string().openapi({ example: 'ep_01kb0qv4k2x8' }),
    url,
    name,
    status: z.enum(ENDPOINT_STATUSES),
    disabledReason: z.string().nullable(),
    isOperator: z.boolean().openapi({ description: 'What the daemon tells of itself goes there too.' }),
    failingSince: instantOrNull.openapi({ description: 'Since when nothing but failures.' }),
    probeAt: instantOrNull.openapi({
      description: 'When it is tried again, if something waits for it, after it was disabled for failing.',
    }),
    headerNames: z.array(z.string()).openapi({ description: 'Of its own headers; their values are never shown.' }),
    eventTypes: z.array(z.string()).nullable(),
    rate: z.number().nullable(),
    concurrency: z.number().int().nullable(),
    secrets: z.array(z.object({ createdAt: instant, expiresAt: instantOrNull })).openapi({
      description: 'The live secrets of its own, newest first. None: the secret of the daemon signs.',
    }),
    asymmetric: z.boolean(),
    publicKeys: z.array(z.string()).openapi({
      description: 'What verifies v1a signatures, newest first: each of them is good until it is no longer here.',
      example: ['whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4='],
    }),
    createdAt: instant,
    updatedAt: instant,
  })
  .openapi('Endpoint')

export const endpointWithSecretSchema = endpointSchema
  .extend({ secret: z.string().openapi({ description: 'Shown this once.' }) })
  .openapi('EndpointWithSecret')

export function endpointOnTheWire(endpoint: Endpoint): z.infer<typeof endpointSchema> {
  const { id, url, name, status, disabledReason, headerNames, eventTypes, secrets, publicKeys } = endpoint
  return {
    id,
    url,
    name,
    status,
    disabledReason,
    isOperator: endpoint.isOperator,
    failingSince: isoOrNull(endpoint.health.failingSince),
    probeAt: isoOrNull(endpoint.health.probeAt),
    headerNames: [...headerNames],
    eventTypes: eventTypes === null ? null : [...eventTypes],
    rate: endpoint.rateMax,
    concurrency: endpoint.concurrencyMax,
    secrets: secrets.map(({ createdAt, expiresAt }) => ({
      createdAt: toIso(createdAt),
      expiresAt: isoOrNull(expiresAt),
    })),
    asymmetric: publicKeys.length > 0,
    publicKeys: [...publicKeys],
    createdAt: toIso(endpoint.createdAt),
    updatedAt: toIso(endpoint.updatedAt),
  }
}

function isoOrNull(at: EpochMs | null): string | null {
  return at === null ? null : toIso(at)
}

type SettingsInput = z.infer<typeof endpointChangeSchema> & { readonly secret?: string | undefined }

/** What is given and allowed, the rest left out. Throws `invalid` (422) with all that is wrong. */
export function settingsOf(input: SettingsInput, guardUrl: GuardUrl): Partial<EndpointSettings> {
  const verdict = typeof input.url === 'string' ? guardUrl(input.url) : null
  const faults = [
    ...(verdict?.isAllowed === false ? [{ pointer: '/url', code: verdict.code, message: verdict.message }] : []),
    ...secretFaults(input.secret),
    ...headerFaults(input.headers),
  ]
  if (faults.length > 0) throw invalid(faults)
  const { name, eventTypes, rate, concurrency } = input
  return {
    ...(input.url === undefined ? {} : { url: verdict?.isAllowed === true ? verdict.url : null }),
    ...(name === undefined ? {} : { name }),
    ...(input.headers === undefined ? {} : { headers: (input.headers ?? {}) as CustomHeaders }),
    ...(eventTypes === undefined ? {} : { eventTypes: eventTypes === null ? null : [...new Set(eventTypes)] }),
    ...(rate === undefined ? {} : { rateMax: rate }),
    ...(concurrency === undefined ? {} : { concurrencyMax: concurrency }),
  }
}

export function secretFaults(text: string | undefined): readonly Fault[] {
  if (text === undefined || parseSecret(text) !== null) return []
  // Not shown: it may be somebody's secret with a slip of the pen.
  const message = 'expected whsec_ followed by base64 of 24 to 64 bytes; leave it out and one is made'
  return [{ pointer: '/secret', code: 'invalid_secret', message }]
}

function headerFaults(given: unknown): readonly Fault[] {
  if (given === undefined || given === null) return []
  if (typeof given !== 'object' || Array.isArray(given)) {
    return [{ pointer: '/headers', code: 'invalid_type', message: 'expected an object of names and values, or null' }]
  }
  return customHeaderFaults(given as Readonly<Record<string, unknown>>).map(({ name, code, message }) => ({
    pointer: name === null ? '/headers' : `/headers/${pointerToken(name)}`,
    code,
    message,
  }))
}
