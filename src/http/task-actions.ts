/** What a person may ask of one task over HTTP: to be asked about now, to be told of again, and its whole story. */

import { z } from '@hono/zod-openapi'
import { AppError } from '../core/errors.ts'
import { toIso } from '../core/time.ts'
import type { Clock } from '../ports.ts'
import type { Store } from '../store/store.ts'
import { notRedelivered } from './deliveries.ts'
import { answer, jsonContent, problems, type Route } from './route.ts'
import { deliverySchema, idParamSchema, LIMIT_MAX, taskSchema } from './schemas.ts'
import { taskIdOf, unknownTask } from './tasks.ts'
import { TIMELINE_POLLS_MAX, timelineOf, timelineSchema } from './timeline.ts'
import { deliveryOnTheWire, taskOnTheWire } from './wire.ts'

export interface TaskActionsDeps {
  readonly store: Pick<
    Store,
    'pollTask' | 'redeliverTask' | 'getTask' | 'listPolls' | 'listDeliveries' | 'listAttempts'
  >
  readonly clock: Pick<Clock, 'now'>
  readonly wakeScheduler: () => void
  readonly wakeDispatcher: () => void
}

const redeliveredSchema = z
  .object({
    items: z.array(deliverySchema).openapi({ description: 'Queued: one attempt each.' }),
    refused: z
      .array(z.object({ endpointId: z.string(), reason: z.string() }))
      .openapi({ description: 'Those that cannot be sent now, and what to do.' }),
  })
  .openapi('RedeliveredTask')

export function taskActionsRoutes(deps: TaskActionsDeps): readonly Route[] {
  return [pollNow(deps), redeliverAll(deps), showTimeline(deps)]
}

function pollNow({ store, clock, wakeScheduler }: TaskActionsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/tasks/{id}/poll',
      summary: 'Ask Aidge about a task now',
      description: 'It is due at once, within the rate. What is decided then goes on from there.',
      request: { params: idParamSchema },
      responses: {
        202: { description: 'Due.', content: jsonContent(taskSchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = taskIdOf(c)
      const result = await store.pollTask({ now: clock.now(), id })
      if (result.kind === 'not_found') throw unknownTask(id)
      const { task } = result
      if (result.kind === 'already_settled') {
        const since = task.settledAt === null ? '' : ` since ${toIso(task.settledAt)}`
        throw new AppError('conflict', `${id} is ${task.status}${since}, and that is final; there is nothing to ask.`)
      }
      wakeScheduler()
      return answer(c, 202, taskOnTheWire(task))
    },
  }
}

function redeliverAll({ store, clock, wakeDispatcher }: TaskActionsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/tasks/{id}/redeliver',
      summary: 'Tell everybody of a task again, now',
      description: 'One attempt of each of its deliveries, whatever their state.',
      request: { params: idParamSchema },
      responses: {
        202: { description: 'Queued, at least one of them.', content: jsonContent(redeliveredSchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = taskIdOf(c)
      const result = await store.redeliverTask({ now: clock.now(), id })
      if (result.kind === 'not_found') throw unknownTask(id)
      if (result.kind === 'no_deliveries') {
        const why = result.task.status === 'pending' ? 'it has not ended yet' : 'nobody was to be told of its end'
        throw new AppError('conflict', `${id} is ${result.task.status} and has no deliveries: ${why}.`)
      }
      const queued = result.results.flatMap((one) => (one.kind === 'queued' ? [one.delivery] : []))
      const refused = result.results.flatMap((one) => (one.kind === 'queued' ? [] : [notRedelivered(one)]))
      const [first] = refused
      if (queued.length === 0 && first !== undefined) throw new AppError('conflict', first.reason)
      wakeDispatcher()
      return answer(c, 202, { items: queued.map(deliveryOnTheWire), refused })
    },
  }
}

function showTimeline({ store }: TaskActionsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/tasks/{id}/timeline',
      summary: 'Show what happened to a task, in order',
      description: `Its registration, each poll and why the next was when it was, its end, and each attempt to tell of it. The last ${TIMELINE_POLLS_MAX} polls and the newest ${LIMIT_MAX} deliveries.`,
      request: { params: idParamSchema },
      responses: {
        200: { description: 'The earliest first.', content: jsonContent(timelineSchema) },
        ...problems(401, 404, 429),
      },
    },
    async handle(c) {
      const id = taskIdOf(c)
      const task = await store.getTask(id)
      if (task === null) throw unknownTask(id)
      const polls = await store.listPolls({ taskId: id, limit: TIMELINE_POLLS_MAX })
      const { items: deliveries } = await store.listDeliveries({ taskId: id, limit: LIMIT_MAX })
      const attempts = deliveries.length === 0 ? [] : await store.listAttempts(deliveries.map((one) => one.id))
      return answer(c, 200, timelineOf({ task, polls, deliveries, attempts }))
    },
  }
}
