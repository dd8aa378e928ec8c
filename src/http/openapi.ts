/** The OpenAPI 3.1 document, made from the routes and schemas that are really served. */

import { OpenAPIHono, z } from '@hono/zod-openapi'
import type { EventType } from '../core/event.ts'
import { isForLooking, problems, type Route } from './route.ts'
import { imageSchema, registrationSchema, taskErrorOrNull, taskErrorSchema } from './schemas.ts'

const ABOUT = `Hand over a task id and a callback URL; when Aidge has a result or an error, one signed webhook comes.
Errors are RFC 9457 problems. Webhooks are signed by Standard Webhooks 1.0.0.`

export function openApiDocument(routes: readonly Route[], version: string): object {
  // Used for its registry and generator only: the routes themselves are served by the app.
  const described = new OpenAPIHono()
  const registry = described.openAPIRegistry
  registry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' })
  const description =
    'RINGBACK_API_READ_TOKEN: to look, at all but what receivers answered, which is null or empty then.'
  registry.registerComponent('securitySchemes', 'readToken', { type: 'http', scheme: 'bearer', description })
  registry.register('Registration', registrationSchema)
  registry.register('Image', imageSchema)
  registry.register('TaskError', taskErrorSchema)
  for (const route of routes) registry.registerPath(definitionFor(route))
  for (const type of ['task.succeeded', 'task.failed', 'task.expired'] as const) {
    registry.registerWebhook({
      method: 'post',
      path: type,
      summary: `A task has ended: ${type}`,
      security: [],
      request: {
        headers: webhookHeadersSchema,
        body: { required: true, content: { 'application/json': { schema: webhookSchema(type) } } },
      },
      responses: { '2XX': { description: 'Received. Everything else is sent again by the retry schedule.' } },
    })
  }
  return described.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'Ringback', version, description: ABOUT, license: { name: 'Apache-2.0' } },
    security: [{ token: [] }],
  })
}

function definitionFor(route: Route): Route['definition'] {
  const { definition } = route
  if (definition.security !== undefined) return definition
  if (isForLooking(route)) return { ...definition, security: [{ token: [] }, { readToken: [] }] }
  return { ...definition, responses: { ...definition.responses, ...problems(403) } }
}

const webhookHeadersSchema = z.object({
  'webhook-id': z.string().openapi({ description: 'The event id; the same on every attempt. De-duplicate by it.' }),
  'webhook-timestamp': z.string().openapi({ description: 'Seconds since 1970, of this attempt.' }),
  'webhook-signature': z
    .string()
    .openapi({ description: 'v1,<base64 HMAC-SHA256 of "id.timestamp.body">, one per secret.' }),
})

function webhookSchema(type: EventType) {
  const instant = z.string().openapi({ format: 'date-time' })
  return z.object({
    type: z.literal(type),
    timestamp: instant,
    data: z.object({
      id: z.string().openapi({ description: 'Our id of the task (task_…).' }),
      taskId: z.string().openapi({ description: 'What Aidge calls it.' }),
      kind: z.string(),
      status: z.enum(['succeeded', 'failed', 'expired']),
      partial: z.boolean().openapi({ description: 'Finished, but some of its items failed.' }),
      images: z.array(imageSchema),
      error: taskErrorOrNull,
      metadata: z.record(z.string(), z.unknown()).openapi({ description: 'As it was registered.' }),
      registeredAt: instant,
      settledAt: instant,
      pollCount: z.number().int(),
      response: z
        .unknown()
        .openapi({ description: "Aidge's own data, as it came; null when it was none or too large." }),
      responseTruncated: z.literal(true).optional(),
    }),
  })
}
