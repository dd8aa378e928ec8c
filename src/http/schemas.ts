/**
 * The shapes that travel: one zod schema for each, from which come the check of what arrives, the type of what leaves,
 * and the OpenAPI document. Rules about values (which ids, which URLs) belong to the engine and are only described here.
 */

import { z } from '@hono/zod-openapi'
import { DELIVERY_STATUSES } from '../core/delivery.ts'
import { ENDPOINT_STATUSES } from '../core/endpoint.ts'
import { type IdByPrefix, isId } from '../core/ids.ts'
import { TASK_STATUSES, UPSTREAM_TASK_ID_PATTERN } from '../core/task.ts'

export const instant = z.string().openapi({ format: 'date-time', example: '2026-11-22T14:32:15.120Z' })
export const instantOrNull = instant.nullable()
const object = z.record(z.string(), z.unknown())

export const registrationSchema = z
  .strictObject({
    taskId: z.string().openapi({
      description: 'What Aidge calls the task, exactly as it came.',
      minLength: 1,
      maxLength: 256,
      pattern: UPSTREAM_TASK_ID_PATTERN.source,
      example: '9f2c1e77',
    }),
    callbackUrl: z.string().optional().openapi({
      description: 'Where to call back. Exactly one of callbackUrl and endpointId.',
      format: 'uri',
      example: 'https://example.com/hooks/aidge',
    }),
    endpointId: z.string().optional().openapi({ example: 'ep_01kb0qv4k2x8' }),
    kind: z.string().optional().openapi({ default: 'virtual-model-generation' }),
    // Not a zod record: that would copy the object, and drop a `__proto__` key in silence.
    metadata: z.unknown().optional().openapi({
      type: 'object',
      additionalProperties: true,
      description: 'Comes back in the webhook. At most 16 KiB as JSON and 32 levels.',
    }),
    deadline: z.string().optional().openapi({
      description: 'When to give up: a duration from now, or an ISO 8601 instant with a zone. At most 365 days.',
      example: '2h',
    }),
    submittedAt: z
      .union([z.string(), z.number()], { error: 'expected an ISO 8601 instant or whole milliseconds since 1970' })
      .optional()
      .openapi({ description: 'When the task was given to Aidge: an ISO 8601 instant, or whole milliseconds.' }),
  })
  .openapi('Registration')

export const BULK_COUNT_MAX = 1000

/** Items are checked one by one, so that a bad one does not stop the others. */
export const bulkSchema = z
  .strictObject({
    tasks: z
      .array(z.unknown())
      .min(1, { error: 'the list is empty; send at least one task' })
      .max(BULK_COUNT_MAX, { error: `at most ${BULK_COUNT_MAX} tasks go into one call; send the rest in another` })
      .openapi({ type: 'array', items: { $ref: '#/components/schemas/Registration' }, minItems: 1, maxItems: 1000 }),
  })
  .openapi('BulkRegistration')

export const imageSchema = z
  .object({
    url: z.string(),
    width: z.number().nullable(),
    height: z.number().nullable(),
    expiresAt: instantOrNull,
  })
  .openapi('Image')

export const taskErrorSchema = z
  .object({
    code: z.string().openapi({ example: 'content_rejected' }),
    upstreamCode: z.string().nullable(),
    message: z.string(),
    requestId: z.string().nullable(),
  })
  .openapi('TaskError')

/** Null for an endpoint whose receiver comes and asks. */
const callbackUrl = z.string().nullable()

/** A union, because `nullable()` would make the named schema itself nullable in the document. */
export const taskErrorOrNull = z.union([taskErrorSchema, z.null()])

export const taskSchema = z
  .object({
    id: z.string().openapi({ example: 'task_01kb0qv4k2x8' }),
    taskId: z.string().openapi({ description: 'What Aidge calls it.' }),
    kind: z.string(),
    status: z.enum(TASK_STATUSES),
    metadata: object,
    registeredAt: instant,
    submittedAt: instantOrNull,
    settledAt: instantOrNull,
    deadlineAt: instant,
    nextPollAt: instantOrNull,
    pollCount: z.number().int(),
    lastObservation: z.string().nullable(),
    eventId: z.string().nullable(),
    outcome: z
      .object({ partial: z.boolean(), images: z.array(imageSchema), error: taskErrorOrNull })
      .nullable()
      .openapi({ description: 'How it ended; null while it is pending, and when it was canceled.' }),
    subscriptions: z.array(
      z.object({
        endpointId: z.string(),
        callbackUrl,
        deliveryId: z.string().nullable(),
        deliveryStatus: z.enum(DELIVERY_STATUSES).nullable(),
        endpointStatus: z.enum(ENDPOINT_STATUSES).openapi({ description: 'Only an enabled one is sent to.' }),
      }),
    ),
  })
  .openapi('Task')

export const deliverySchema = z
  .object({
    id: z.string().openapi({ example: 'dlv_01kb0qv4k2x8' }),
    eventId: z.string(),
    eventType: z.string(),
    taskId: z
      .string()
      .nullable()
      .openapi({ description: 'Our id of the task (task_…); null when we tell of ourselves.' }),
    endpointId: z.string(),
    callbackUrl,
    status: z.enum(DELIVERY_STATUSES),
    attemptCount: z.number().int(),
    nextAttemptAt: instantOrNull,
    createdAt: instant,
    settledAt: instantOrNull,
    lastStatusCode: z.number().int().nullable(),
    lastFailure: z.string().nullable(),
  })
  .openapi('Delivery')

const milliseconds = z.number().int().nullable()

export const timingsSchema = z
  .object({ dnsMs: milliseconds, connectMs: milliseconds, tlsMs: milliseconds, answerMs: milliseconds })
  .openapi('Timings', { description: 'Null where the attempt did not get, or had no need to: connections are reused.' })

const timingsOrNull = z.union([timingsSchema, z.null()])

export const attemptSchema = z
  .object({
    id: z.string(),
    deliveryId: z.string(),
    attemptNumber: z.number().int(),
    isManual: z.boolean(),
    isProbe: z.boolean().openapi({ description: 'It tried whether a disabled endpoint works again.' }),
    verdict: z.string(),
    startedAt: instant,
    durationMs: z.number(),
    statusCode: z.number().int().nullable(),
    failure: z.string().nullable(),
    detail: z.string().nullable(),
    responseExcerpt: z.string().nullable(),
    responseTruncated: z.boolean(),
    responseHeaders: z.record(z.string(), z.string()),
    remoteAddress: z.string().nullable(),
    timings: timingsOrNull,
    nextAttemptAt: instantOrNull,
  })
  .openapi('Attempt')

export const deliveryDetailSchema = deliverySchema
  .extend({ attempts: z.array(attemptSchema) })
  .openapi('DeliveryWithAttempts')

export const taskDetailSchema = taskSchema
  .extend({ deliveries: z.array(deliveryDetailSchema) })
  .openapi('TaskWithDeliveries')

export const eventSchema = z
  .object({
    id: z.string().openapi({ example: 'evt_01kb0qv4k2x8', description: 'The webhook-id.' }),
    type: z.string().openapi({ example: 'task.succeeded' }),
    createdAt: instant,
    taskId: z
      .string()
      .nullable()
      .openapi({ description: 'Our id of the task (task_…); null when we tell of ourselves.' }),
    body: object.openapi({ description: 'What the webhook carries, byte for byte.' }),
  })
  .openapi('Event')

export const problemSchema = z
  .object({
    type: z.string().openapi({ example: 'urn:ringback:problem:invalid' }),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    instance: z.string().openapi({ description: 'The request id, also in x-request-id and in the log.' }),
    errors: z.array(
      z.object({
        pointer: z.string().openapi({
          description: 'RFC 6901 pointer into the body; /query/<name> for a query parameter.',
          example: '/callbackUrl',
        }),
        code: z.string().openapi({ example: 'unknown_field' }),
        message: z.string(),
      }),
    ),
  })
  .openapi('Problem')

export const bulkResultSchema = z
  .object({
    results: z.array(
      z.object({ status: z.number().int(), task: taskSchema.optional(), problem: problemSchema.optional() }),
    ),
  })
  .openapi('BulkResult')

export function pageSchema<T extends z.ZodType>(items: T) {
  return z.object({
    items: z.array(items),
    nextCursor: z.string().nullable().openapi({ description: 'Where the next page starts; null on the last.' }),
  })
}

export const LIMIT_DEFAULT = 50
export const LIMIT_MAX = 500
export const WAIT_SECONDS_MAX = 60

/** A larger limit is read as the largest: the cursor says that there is more. */
export const limit = z
  .string()
  .regex(/^0*[1-9]\d{0,15}$/, { error: `expected a whole number from 1 to ${LIMIT_MAX}` })
  .optional()
  .transform((text) => (text === undefined ? LIMIT_DEFAULT : Math.min(Number(text), LIMIT_MAX)))
  .openapi({ type: 'integer', minimum: 1, maximum: LIMIT_MAX, default: LIMIT_DEFAULT })

const CURSOR_ERROR = 'expected the nextCursor of an earlier page'
const CURSOR_DESCRIPTION = 'The nextCursor of the page before.'

export const cursor = z
  .string()
  .refine((text) => isId('task', text) || isId('ep', text) || isId('job', text), {
    error: CURSOR_ERROR,
  })
  .optional()
  .openapi({ description: CURSOR_DESCRIPTION })

/** A place in the order of the commits. */
export const position = z
  .string()
  .regex(/^\d{1,15}$/, { error: CURSOR_ERROR })
  .optional()
  .openapi({ description: CURSOR_DESCRIPTION })

const taskStatus = z.enum(TASK_STATUSES, { error: `expected one of ${TASK_STATUSES.join(', ')}` }).optional()
const deliveryStatus = z
  .enum(DELIVERY_STATUSES, { error: `expected one of ${DELIVERY_STATUSES.join(', ')}` })
  .optional()

const visible = /^[\x21-\x7e]{1,256}$/

function idOf<P extends 'ep' | 'task'>(prefix: P, error: string) {
  const isOurs = (value: unknown) => typeof value === 'string' && isId(prefix, value)
  return z.custom<IdByPrefix[P]>(isOurs, { error }).optional().openapi({ type: 'string' })
}

export const taskQuerySchema = z.strictObject({
  status: taskStatus,
  kind: z.string().regex(visible, { error: 'expected the name of a kind' }).optional(),
  taskId: z
    .string()
    .regex(UPSTREAM_TASK_ID_PATTERN, { error: 'expected 1–256 printable ASCII characters without spaces' })
    .optional()
    .openapi({ description: 'What Aidge calls the task.' }),
  limit,
  cursor,
})

export const deliveryQuerySchema = z
  .strictObject({
    state: deliveryStatus.openapi({ description: 'The same as status.' }),
    status: deliveryStatus,
    endpointId: idOf('ep', 'expected the id of an endpoint (ep_…)'),
    taskId: idOf('task', 'expected our id of a task (task_…)'),
    limit,
    cursor: position,
  })
  .refine(({ state, status }) => state === undefined || status === undefined || state === status, {
    path: ['state'],
    error: 'state and status mean the same and differ; send one of them',
  })

function waitSeconds(description: string) {
  return z
    .string()
    .regex(/^([0-9]|[1-5][0-9]|60)$/, { error: `expected whole seconds from 0 to ${WAIT_SECONDS_MAX}` })
    .optional()
    .transform((text) => Number(text ?? 0))
    .openapi({ type: 'integer', minimum: 0, maximum: WAIT_SECONDS_MAX, description })
}

export const waitQuerySchema = z.strictObject({
  wait: waitSeconds('Answers when the task has settled, or after so many seconds.'),
})

/** The bodies of a page are held in memory together. */
export const PULL_LIMIT_MAX = 100

export const pullQuerySchema = z.strictObject({
  endpointId: idOf('ep', 'expected the id of an endpoint (ep_…)').openapi({
    description: 'Only what this endpoint is told of, signed as for it. Left out: all events, signed by the daemon.',
  }),
  after: position.openapi({ description: 'The nextCursor of the page before; left out, or 0: from the first.' }),
  limit: limit.transform((count) => Math.min(count, PULL_LIMIT_MAX)),
  wait: waitSeconds('Answers when there is an event, or after so many seconds with an empty page.'),
})

export const pulledEventSchema = z
  .object({
    id: z.string().openapi({ example: 'evt_01kb0qv4k2x8', description: 'The webhook-id.' }),
    type: z.string().openapi({ example: 'task.succeeded' }),
    createdAt: instant,
    taskId: z.string().nullable(),
    cursor: z.string().openapi({ description: 'Asking after it continues with the next event.' }),
    headers: z.object({
      'webhook-id': z.string(),
      'webhook-timestamp': z.string(),
      'webhook-signature': z.string(),
    }),
    payload: z
      .string()
      .openapi({ description: 'The body of the webhook, byte for byte: verify this text, then parse it.' }),
  })
  .openapi('PulledEvent')

export const pulledPageSchema = z.object({
  items: z.array(pulledEventSchema),
  nextCursor: z.string().openapi({ description: 'Ask after it next time, also when the page is empty.' }),
})

export const idParamSchema = z.object({ id: z.string() })

export type RegistrationInput = z.infer<typeof registrationSchema>
export type TaskWire = z.infer<typeof taskSchema>
export type DeliveryWire = z.infer<typeof deliverySchema>
export type AttemptWire = z.infer<typeof attemptSchema>
