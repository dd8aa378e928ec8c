/** Tasks over HTTP: register one or many, list, show (and wait), cancel. */

import { AppError } from '../core/errors.ts'
import { isId, type TaskId } from '../core/ids.ts'
import { shown } from '../core/shown.ts'
import { isFinal } from '../core/task.ts'
import { SECOND, toIso } from '../core/time.ts'
import type { Clock } from '../ports.ts'
import type { Store, Task } from '../store/store.ts'
import { BULK_BYTES_MAX, readJson, SINGLE_BYTES_MAX } from './body.ts'
import { PROBLEMS, type Problem, problem } from './problem.ts'
import { answer, type HttpContext, jsonContent, problems, type Route } from './route.ts'
import {
  bulkResultSchema,
  bulkSchema,
  idParamSchema,
  LIMIT_MAX,
  pageSchema,
  type RegistrationInput,
  registrationSchema,
  type TaskWire,
  taskDetailSchema,
  taskQuerySchema,
  taskSchema,
  waitQuerySchema,
} from './schemas.ts'
import { queryOf, shape, shaped } from './shape.ts'
import { createWaitingRoom } from './waiting.ts'
import { taskOnTheWire, withAttempts } from './wire.ts'

export type RegistrationResult =
  | { readonly ok: true; readonly task: Task; readonly isNew: boolean }
  | { readonly ok: false; readonly error: AppError }

/** One result per input, in order, once everything that goes in is on disk. */
export interface Registrar {
  register(inputs: readonly RegistrationInput[]): Promise<readonly RegistrationResult[]>
}

export interface TasksDeps {
  readonly store: Pick<Store, 'cancelTask' | 'getTask' | 'listTasks' | 'listDeliveries' | 'listAttempts'>
  readonly registrar: Registrar
  readonly clock: Pick<Clock, 'now' | 'wakeAt'>
  /** Aborted when the daemon stops: whoever waits for a task is then answered at once. */
  readonly stopping?: AbortSignal | undefined
}

export function tasksRoutes(deps: TasksDeps): readonly Route[] {
  return [registerOne(deps), registerMany(deps), listAll(deps), showOne(deps), cancelOne(deps)]
}

function registerOne({ registrar }: TasksDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/tasks',
      summary: 'Register a task',
      description: 'The answer comes after the commit. The same task and callback again is 200 with the same ids.',
      request: { body: { required: true, content: jsonContent(registrationSchema) } },
      responses: {
        201: { description: 'New: the task, or this callback for it.', content: jsonContent(taskSchema) },
        200: { description: 'Known already.', content: jsonContent(taskSchema) },
        ...problems(400, 401, 409, 413, 415, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const input = shaped(registrationSchema, await readJson(c.req.raw, SINGLE_BYTES_MAX, c.var.hold))
      const [result] = await registrar.register([input])
      if (result === undefined) throw new Error('the registrar gave no result')
      if (!result.ok) throw result.error
      const task = taskOnTheWire(result.task)
      return result.isNew ? answer(c, 201, task, { location: `/v1/tasks/${task.id}` }) : answer(c, 200, task)
    },
  }
}

function registerMany({ registrar }: TasksDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/tasks/bulk',
      summary: 'Register up to 1000 tasks',
      description: 'One result per task, in order, each with its own status. A bad one does not stop the others.',
      request: { body: { required: true, content: jsonContent(bulkSchema) } },
      responses: {
        200: { description: 'One result per task.', content: jsonContent(bulkResultSchema) },
        ...problems(400, 401, 413, 415, 422, 429, 503, 507),
      },
    },
    async handle(c) {
      const { tasks } = shaped(bulkSchema, await readJson(c.req.raw, BULK_BYTES_MAX, c.var.hold))
      const items = tasks.map((item) => shape(registrationSchema, item))
      const inputs = items.flatMap((item) => (item.ok ? [item.value] : []))
      const registered = (inputs.length === 0 ? [] : await registrar.register(inputs)).values()
      const results = items.map((item, index) => {
        const result = item.ok ? registered.next().value : item
        if (result === undefined) throw new Error('the registrar gave fewer results than it was given inputs')
        return bulkItem(result, index, c.var.requestId)
      })
      return answer(c, 200, { results })
    },
  }
}

type BulkItem =
  | { readonly status: number; readonly task: TaskWire }
  | { readonly status: number; readonly problem: Problem }

/** Faults point into the item; in the answer they point into the whole body. */
function bulkItem(result: RegistrationResult, index: number, requestId: string): BulkItem {
  if (result.ok) return { status: result.isNew ? 201 : 200, task: taskOnTheWire(result.task) }
  const { code, message, faults } = result.error
  const errors = faults.map((fault) => ({ ...fault, pointer: `/tasks/${index}${fault.pointer}` }))
  return { status: PROBLEMS[code].status, problem: problem(code, message, requestId, errors) }
}

function listAll({ store }: TasksDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/tasks',
      summary: 'List tasks, newest first',
      request: { query: taskQuerySchema },
      responses: {
        200: { description: 'A page of tasks.', content: jsonContent(pageSchema(taskSchema)) },
        ...problems(401, 422, 429),
      },
    },
    async handle(c) {
      const { status, kind, taskId, limit, cursor } = queryOf(taskQuerySchema, c.req.url)
      const { items, nextCursor } = await store.listTasks({
        limit,
        ...(status === undefined ? {} : { status }),
        ...(kind === undefined ? {} : { kind }),
        ...(taskId === undefined ? {} : { taskId }),
        ...(cursor === undefined ? {} : { cursor }),
      })
      return answer(c, 200, { items: items.map(taskOnTheWire), nextCursor })
    },
  }
}

function showOne(deps: TasksDeps): Route {
  const { store } = deps
  const waitingRoom = createWaitingRoom(deps)
  return {
    definition: {
      method: 'get',
      path: '/v1/tasks/{id}',
      summary: 'Show a task with its deliveries and their attempts',
      description: `The newest ${LIMIT_MAX} deliveries; GET /v1/deliveries has all of them.`,
      request: { params: idParamSchema, query: waitQuerySchema },
      responses: {
        200: { description: 'The task.', content: jsonContent(taskDetailSchema) },
        ...problems(401, 404, 422, 429),
      },
    },
    async handle(c) {
      const id = taskIdOf(c)
      const { wait } = queryOf(waitQuerySchema, c.req.url)
      const task = await waitingRoom.until(
        () => store.getTask(id),
        (seen) => seen === null || isFinal(seen.status),
        { ms: wait * SECOND, left: c.req.raw.signal },
      )
      if (task === null) throw unknownTask(id)
      const { items } = await store.listDeliveries({ taskId: id, limit: LIMIT_MAX })
      const attempts = items.length === 0 ? [] : await store.listAttempts(items.map((delivery) => delivery.id))
      return answer(c, 200, { ...taskOnTheWire(task), deliveries: withAttempts(items, attempts, c.var.access) })
    },
  }
}

function cancelOne({ store, clock }: TasksDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/tasks/{id}/cancel',
      summary: 'Stop watching a task',
      description: 'Nobody is told of it. The job itself goes on at Aidge.',
      request: { params: idParamSchema },
      responses: {
        200: { description: 'Canceled.', content: jsonContent(taskSchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = taskIdOf(c)
      const result = await store.cancelTask({ now: clock.now(), id })
      if (result.kind === 'not_found') throw unknownTask(id)
      if (result.kind === 'canceled') return answer(c, 200, taskOnTheWire(result.task))
      const { status, settledAt } = result.task
      const since = settledAt === null ? '' : ` since ${toIso(settledAt)}`
      throw new AppError('conflict', `${id} is ${status}${since}, and that is final; there is nothing left to cancel.`)
    },
  }
}

export function taskIdOf(c: HttpContext): TaskId {
  const id = c.req.param('id') ?? ''
  if (!isId('task', id)) throw unknownTask(id)
  return id
}

export function unknownTask(id: string): AppError {
  const remedy = id.startsWith('task_')
    ? 'it may be past its retention'
    : "our ids start with task_; by Aidge's id it is GET /v1/tasks?taskId=…"
  return new AppError('not_found', `There is no task ${shown(id)}; ${remedy}.`)
}
