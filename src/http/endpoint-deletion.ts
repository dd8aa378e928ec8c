/** Deleting an endpoint over HTTP, with or without what it has not been told of yet. */

import { z } from '@hono/zod-openapi'
import { AppError } from '../core/errors.ts'
import type { EndpointId } from '../core/ids.ts'
import type { Clock } from '../ports.ts'
import type { JobStore } from '../store/jobs.ts'
import { endpointIdOf, unknownEndpoint } from './endpoints.ts'
import { nothingMore, problems, type Route } from './route.ts'
import { idParamSchema } from './schemas.ts'
import { queryOf } from './shape.ts'

export interface DeletionDeps {
  readonly store: Pick<JobStore, 'deleteEndpoint'>
  readonly clock: Pick<Clock, 'now'>
  /** A large backlog is dropped in pieces. */
  readonly jobs: { wake(): void }
}

const deletionQuerySchema = z.strictObject({
  backlog: z
    .enum(['drop'], { error: 'expected drop, or nothing' })
    .optional()
    .openapi({ description: 'Cancels what is still pending; without it an endpoint with a backlog is not deleted.' }),
})

export function deletionRoute({ store, clock, jobs }: DeletionDeps): Route {
  return {
    definition: {
      method: 'delete',
      path: '/v1/endpoints/{id}',
      summary: 'Delete an endpoint',
      description:
        'Nothing more is sent to it, and tasks that end later do not tell it. What was sent stays to be seen until its ' +
        'retention. The URL may be used for a new endpoint.',
      request: { params: idParamSchema, query: deletionQuerySchema },
      responses: { 204: { description: 'Deleted.' }, ...problems(401, 404, 409, 422, 429, 503, 507) },
    },
    async handle(c) {
      const id = endpointIdOf(c)
      const { backlog } = queryOf(deletionQuerySchema, c.req.url)
      const result = await store.deleteEndpoint({ now: clock.now(), id, doesDropBacklog: backlog === 'drop' })
      if (result.kind === 'not_found') throw unknownEndpoint(id)
      if (result.kind === 'has_backlog') throw hasBacklog(id, result.pendingCount)
      jobs.wake()
      return nothingMore(c)
    },
  }
}

function hasBacklog(id: EndpointId, count: number): AppError {
  const what = count === 1 ? '1 delivery is pending' : `${count} deliveries are pending`
  const remedy = 'Wait for them, or delete it with ?backlog=drop, which cancels them.'
  return new AppError('conflict', `${what} for ${id}. ${remedy}`)
}
