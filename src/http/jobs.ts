/** Many deliveries sent again over HTTP: recover an endpoint, redeliver by a filter, and follow the jobs that do it. */

import { z } from '@hono/zod-openapi'
import type { Endpoint } from '../core/endpoint.ts'
import { AppError, type Fault } from '../core/errors.ts'
import { CHOOSABLE_EVENT_TYPES } from '../core/event.ts'
import { type EndpointId, isId, type JobId } from '../core/ids.ts'
import { JOB_STATUSES, type Job, type JobFilter, REDELIVERABLE_STATUSES } from '../core/job.ts'
import { shown } from '../core/shown.ts'
import { type EpochMs, epochMs, parseDuration, parseIso, toIso } from '../core/time.ts'
import type { Clock } from '../ports.ts'
import type { JobResult, JobStore } from '../store/jobs.ts'
import type { Store } from '../store/store.ts'
import { readJson, SINGLE_BYTES_MAX } from './body.ts'
import { notEnabled, readsAgain } from './deliveries.ts'
import { endpointIdOf, unknownEndpoint } from './endpoints.ts'
import { answer, type HttpContext, jsonContent, problems, type Route } from './route.ts'
import { cursor, idParamSchema, instant, instantOrNull, limit, pageSchema } from './schemas.ts'
import { invalid, queryOf, shaped } from './shape.ts'

export interface JobsDeps {
  readonly store: Pick<Store, 'getEndpoint'> & Pick<JobStore, 'getJob' | 'listJobs' | 'cancelJob'>
  readonly clock: Pick<Clock, 'now'>
  /** Both look at every delivery that may fit, so neither is one step. */
  readonly jobs: {
    count(filter: JobFilter): Promise<number>
    begin(filter: JobFilter): Promise<JobResult>
  }
}

const moment = z.string().openapi({
  description: 'An ISO 8601 instant with a zone, or how long ago: 30m, 24h, 7d.',
  example: '2026-11-22T14:00:00Z',
})
const since = moment.openapi({ description: 'Those made then or later. An instant, or how long ago: 24h.' })
const until = moment.openapi({ description: 'Those made before then; all until now when left out.' })
const dryRun = z.boolean().optional().openapi({ description: 'Only counts them; nothing changes.' })

const recoverySchema = z.strictObject({ since, until: until.optional(), dryRun }).openapi('Recovery')

const redeliverySchema = z
  .strictObject({
    status: z.enum(REDELIVERABLE_STATUSES, { error: `expected one of ${REDELIVERABLE_STATUSES.join(', ')}` }),
    endpointId: z.string().optional().openapi({ description: 'Left out: of all endpoints that are enabled.' }),
    since: since.optional(),
    until: until.optional(),
    eventType: z
      .enum(CHOOSABLE_EVENT_TYPES, { error: `expected one of ${CHOOSABLE_EVENT_TYPES.join(', ')}` })
      .optional()
      .openapi({ example: 'task.succeeded' }),
    dryRun,
  })
  .openapi('Redelivery')

const jobSchema = z
  .object({
    id: z.string().openapi({ example: 'job_01kb0qv4k2x8' }),
    status: z.enum(JOB_STATUSES),
    endpointId: z.string().nullable().openapi({ description: 'Null: of all endpoints.' }),
    deliveryStatus: z.enum(REDELIVERABLE_STATUSES).openapi({ description: 'Which deliveries it queues.' }),
    since: instantOrNull,
    until: instantOrNull,
    eventType: z.string().nullable(),
    totalCount: z.number().int().openapi({ description: 'How many there were when it was asked for.' }),
    queuedCount: z.number().int().openapi({ description: 'How many it has queued so far.' }),
    createdAt: instant,
    updatedAt: instant,
    finishedAt: instantOrNull,
  })
  .openapi('Job')

const countSchema = z
  .object({ dryRun: z.literal(true), totalCount: z.number().int() })
  .openapi('RedeliveryCount', { description: 'How many would be queued.' })

const jobQuerySchema = z.strictObject({
  status: z.enum(JOB_STATUSES, { error: `expected one of ${JOB_STATUSES.join(', ')}` }).optional(),
  limit,
  cursor,
})

export function jobsRoutes(deps: JobsDeps): readonly Route[] {
  return [recover(deps), redeliverMany(deps), listAll(deps), showOne(deps), cancelOne(deps)]
}

const BEGUN = {
  202: { description: 'Begun: follow the job.', content: jsonContent(jobSchema) },
  200: { description: 'A dry run: the count.', content: jsonContent(countSchema) },
} as const

function recover(deps: JobsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/endpoints/{id}/recover',
      summary: 'Send everything again that it was not told of',
      description:
        'Every exhausted delivery made since then is queued again with a fresh schedule, oldest first, by a job that ' +
        'survives restarts. An endpoint has one job at a time.',
      request: { params: idParamSchema, body: { required: true, content: jsonContent(recoverySchema) } },
      responses: { ...BEGUN, ...problems(400, 401, 404, 409, 413, 415, 422, 429, 503, 507) },
    },
    async handle(c) {
      const endpointId = endpointIdOf(c)
      const input = shaped(recoverySchema, await readJson(c.req.raw, SINGLE_BYTES_MAX, c.var.hold))
      const period = periodOf(input, deps.clock.now())
      return begin(c, deps, { endpointId, status: 'exhausted', ...period, eventType: null }, input.dryRun === true)
    },
  }
}

function redeliverMany(deps: JobsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/deliveries/redeliver',
      summary: 'Send all deliveries again that fit a filter',
      description:
        'As a job, like the recovery of an endpoint. Those of endpoints that are not enabled are left alone.',
      request: { body: { required: true, content: jsonContent(redeliverySchema) } },
      responses: { ...BEGUN, ...problems(400, 401, 404, 409, 413, 415, 422, 429, 503, 507) },
    },
    async handle(c) {
      const input = shaped(redeliverySchema, await readJson(c.req.raw, SINGLE_BYTES_MAX, c.var.hold))
      const { status, eventType = null, endpointId = null } = input
      if (endpointId !== null && !isId('ep', endpointId)) throw unknownEndpoint(endpointId)
      const period = periodOf(input, deps.clock.now())
      return begin(c, deps, { endpointId, status, ...period, eventType }, input.dryRun === true)
    },
  }
}

async function begin(c: HttpContext, deps: JobsDeps, filter: JobFilter, isDryRun: boolean): Promise<Response> {
  if (filter.endpointId !== null) await refuseUnsendable(deps, filter.endpointId)
  if (isDryRun) return answer(c, 200, { dryRun: true, totalCount: await deps.jobs.count(filter) })
  const result = await deps.jobs.begin(filter)
  switch (result.kind) {
    case 'created':
      return answer(c, 202, jobOnTheWire(result.job), { location: `/v1/jobs/${result.job.id}` })
    case 'job_running':
      throw jobRunning(result.job)
    case 'endpoint_not_enabled':
      throw notEnabled(result.endpoint)
    case 'unknown_endpoint':
      throw unknownEndpoint(filter.endpointId ?? '')
  }
}

/** Before anything is counted, which may take a while. */
async function refuseUnsendable({ store, clock }: JobsDeps, id: EndpointId): Promise<void> {
  const endpoint: Endpoint | null = await store.getEndpoint({ now: clock.now(), id })
  if (endpoint === null) throw unknownEndpoint(id)
  if (endpoint.status !== 'enabled') throw notEnabled(endpoint)
  if (endpoint.url === null) throw new AppError('conflict', readsAgain(id))
}

function jobRunning({ id, filter, queuedCount, totalCount }: Job): AppError {
  const whose = filter.endpointId === null ? 'all endpoints' : filter.endpointId
  const remedy = `Wait for it, or cancel it with POST /v1/jobs/${id}/cancel.`
  return new AppError('conflict', `Job ${id} is at work on ${whose} (${queuedCount} of ${totalCount}). ${remedy}`)
}

function listAll({ store }: JobsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/jobs',
      summary: 'List jobs, newest first',
      request: { query: jobQuerySchema },
      responses: {
        200: { description: 'A page of jobs.', content: jsonContent(pageSchema(jobSchema)) },
        ...problems(401, 422, 429),
      },
    },
    async handle(c) {
      const { status, cursor, limit } = queryOf(jobQuerySchema, c.req.url)
      const query = { limit, ...(status === undefined ? {} : { status }), ...(cursor === undefined ? {} : { cursor }) }
      const { items, nextCursor } = await store.listJobs(query)
      return answer(c, 200, { items: items.map(jobOnTheWire), nextCursor })
    },
  }
}

function showOne({ store }: JobsDeps): Route {
  return {
    definition: {
      method: 'get',
      path: '/v1/jobs/{id}',
      summary: 'Show how far a job is',
      request: { params: idParamSchema },
      responses: { 200: { description: 'The job.', content: jsonContent(jobSchema) }, ...problems(401, 404, 429) },
    },
    async handle(c) {
      const id = jobIdOf(c)
      const job = await store.getJob(id)
      if (job === null) throw unknownJob(id)
      return answer(c, 200, jobOnTheWire(job))
    },
  }
}

function cancelOne({ store, clock }: JobsDeps): Route {
  return {
    definition: {
      method: 'post',
      path: '/v1/jobs/{id}/cancel',
      summary: 'Stop a job',
      description: 'What it has queued stays queued.',
      request: { params: idParamSchema },
      responses: {
        200: { description: 'Stopped.', content: jsonContent(jobSchema) },
        ...problems(401, 404, 409, 429, 503, 507),
      },
    },
    async handle(c) {
      const id = jobIdOf(c)
      const result = await store.cancelJob({ now: clock.now(), id })
      if (result.kind === 'not_found') throw unknownJob(id)
      if (result.kind === 'canceled') return answer(c, 200, jobOnTheWire(result.job))
      throw new AppError('conflict', `${id} is ${result.job.status}; there is nothing left to stop.`)
    },
  }
}

type Period = Pick<JobFilter, 'since' | 'until'>

function periodOf(input: { since?: string | undefined; until?: string | undefined }, now: EpochMs): Period {
  const since = momentOf('/since', input.since, now)
  const until = momentOf('/until', input.until, now)
  const faults = [...since.faults, ...until.faults]
  if (since.at !== null && since.at > now) faults.push(future(now))
  if (since.at !== null && until.at !== null && since.at >= until.at) faults.push(emptyPeriod(since.at))
  if (faults.length > 0) throw invalid(faults)
  return { since: since.at, until: until.at }
}

function momentOf(pointer: string, text: string | undefined, now: EpochMs): { at: EpochMs | null; faults: Fault[] } {
  if (text === undefined) return { at: null, faults: [] }
  const agoMs = parseDuration(text)
  const at = agoMs === null ? parseIso(text) : epochMs(Math.max(0, now - agoMs))
  if (at !== null) return { at, faults: [] }
  const remedy = `send an instant such as ${toIso(now)}, or how long ago: 30m, 24h, 7d`
  const message = `${shown(text)} is neither an instant nor a duration; ${remedy}`
  return { at: null, faults: [{ pointer, code: 'invalid_instant', message }] }
}

function future(now: EpochMs): Fault {
  const message = `lies in the future: here it is ${toIso(now)}, and nothing has been made after that`
  return { pointer: '/since', code: 'out_of_range', message }
}

function emptyPeriod(since: EpochMs): Fault {
  return { pointer: '/until', code: 'out_of_range', message: `is not later than since (${toIso(since)})` }
}

function jobIdOf(c: HttpContext): JobId {
  const id = c.req.param('id') ?? ''
  if (!isId('job', id)) throw unknownJob(id)
  return id
}

function unknownJob(id: string): AppError {
  const remedy = id.startsWith('job_') ? 'it may be past its retention' : 'the ids of jobs start with job_'
  return new AppError('not_found', `There is no job ${shown(id)}; ${remedy}.`)
}

function jobOnTheWire({ filter, ...job }: Job): z.infer<typeof jobSchema> {
  const isoOrNull = (at: EpochMs | null) => (at === null ? null : toIso(at))
  return {
    id: job.id,
    status: job.status,
    endpointId: filter.endpointId,
    deliveryStatus: filter.status,
    since: isoOrNull(filter.since),
    until: isoOrNull(filter.until),
    eventType: filter.eventType,
    totalCount: job.totalCount,
    queuedCount: job.queuedCount,
    createdAt: toIso(job.createdAt),
    updatedAt: toIso(job.updatedAt),
    finishedAt: isoOrNull(job.finishedAt),
  }
}
