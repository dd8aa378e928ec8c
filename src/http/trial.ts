/** Trying an endpoint over HTTP: a made-up event is sent to it, and the answer says what came of it and what to do. */

import { z } from '@hono/zod-openapi'
import type { EndpointId } from '../core/ids.ts'
import { TRIAL_TYPES, type TrialType } from '../core/trial.ts'
import type { Exchange } from '../ports.ts'
import { readJsonIfAny, SINGLE_BYTES_MAX } from './body.ts'
import { endpointIdOf } from './endpoints.ts'
import { answer, jsonContent, problems, type Route } from './route.ts'
import { idParamSchema, timingsSchema } from './schemas.ts'
import { shaped } from './shape.ts'

/** What came of one trial. */
export interface Trial {
  readonly exchange: Exchange
  readonly summary: string
  readonly remedy: string | null
}

export interface TrialDeps {
  readonly trials: { run(endpointId: EndpointId, type: TrialType): Promise<Trial> }
}

const trialSchema = z
  .strictObject({
    type: z
      .enum(TRIAL_TYPES, { error: `expected one of ${TRIAL_TYPES.join(', ')}` })
      .optional()
      .openapi({ description: 'What the made-up event is of; endpoint.test when left out.' }),
  })
  .openapi('NewTrial')

const trialResultSchema = z
  .object({
    ok: z.boolean().openapi({ description: 'Whether it answered 2xx.' }),
    type: z.enum(TRIAL_TYPES),
    status: z.number().int().nullable().openapi({ description: 'Of the answer; null when none came.' }),
    summary: z.string().openapi({ example: 'timeout: no answer within 20000 ms' }),
    remedy: z.string().nullable().openapi({ description: 'What to do; null after a 2xx.' }),
    durationMs: z.number().int(),
    timings: timingsSchema,
    remoteAddress: z.string().nullable(),
    responseExcerpt: z.string().nullable().openapi({ description: 'The first 4 KiB of the answer.' }),
    responseTruncated: z.boolean(),
  })
  .openapi('Trial')

export function trialRoute({ trials }: TrialDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/endpoints/{id}/test',
      summary: 'Send a made-up event to it',
      description: 'Signed as a webhook would be, with "test": true in its data; whatever the status of the endpoint.',
      request: { params: idParamSchema, body: { content: jsonContent(trialSchema) } },
      responses: {
        200: { description: 'What came of it, well or not.', content: jsonContent(trialResultSchema) },
        ...problems(400, 401, 404, 409, 413, 415, 422, 429),
      },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      const body = await readJsonIfAny(c.req.raw, SINGLE_BYTES_MAX, c.var.hold)
      const input = body === null ? {} : shaped(trialSchema, body)
      const type = input.type ?? 'endpoint.test'
      const { exchange, summary, remedy } = await trials.run(id, type)
      const { result, durationMs, timings, remoteAddress, responseExcerpt, responseTruncated } = exchange
      const status = result.kind === 'response' ? result.status : null
      const facts = { durationMs, timings, remoteAddress, responseExcerpt, responseTruncated }
      return answer(c, 200, { ok: remedy === null, type, status, summary, remedy, ...facts })
    },
  }
}
