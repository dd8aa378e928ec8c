/** The HTTP API as one function from request to response; `server.ts` puts it behind a port. */

import { randomUUID } from 'node:crypto'
import { Hono, type MiddlewareHandler } from 'hono'
import { AppError, assert } from '../core/errors.ts'
import { shown } from '../core/shown.ts'
import type { Log } from '../ports.ts'
import { createCheckToken, type Tokens } from './auth.ts'
import { type DeliveriesDeps, deliveriesRoutes } from './deliveries.ts'
import { type DeletionDeps, deletionRoute } from './endpoint-deletion.ts'
import { type EndpointsDeps, endpointsRoutes } from './endpoints.ts'
import { type EventsDeps, eventsRoutes } from './events.ts'
import { type Health, healthRoutes } from './health.ts'
import { type JobsDeps, jobsRoutes } from './jobs.ts'
import { openApiDocument } from './openapi.ts'
import { appErrorOf, failureResponse, problem, problemResponse } from './problem.ts'
import { createRoom } from './room.ts'
import { answerText, type HttpContext, type HttpEnv, isForLooking, type Route } from './route.ts'
import { type TaskActionsDeps, taskActionsRoutes } from './task-actions.ts'
import { type TasksDeps, tasksRoutes } from './tasks.ts'
import { type TrialDeps, trialRoute } from './trial.ts'

export interface AppDeps
  extends TasksDeps,
    Omit<DeliveriesDeps, 'store'>,
    Omit<EndpointsDeps, 'store'>,
    Omit<EventsDeps, 'store'>,
    Omit<TaskActionsDeps, 'store'>,
    TrialDeps,
    Tokens {
  readonly store: TasksDeps['store'] &
    TaskActionsDeps['store'] &
    DeliveriesDeps['store'] &
    EndpointsDeps['store'] &
    DeletionDeps['store'] &
    EventsDeps['store'] &
    JobsDeps['store']
  readonly jobs: JobsDeps['jobs'] & DeletionDeps['jobs']
  readonly clock: TasksDeps['clock']
  readonly log: Log
  readonly health: Health
  readonly version: string
}

export type App = Hono<HttpEnv>

export function createApp(deps: AppDeps): App {
  assert(deps.token.length > 0, 'an empty token would let everybody in')
  const described = [
    ...tasksRoutes(deps),
    ...taskActionsRoutes(deps),
    ...deliveriesRoutes(deps),
    ...endpointsRoutes(deps),
    deletionRoute(deps),
    ...jobsRoutes(deps),
    trialRoute(deps),
    ...eventsRoutes(deps),
    ...healthRoutes(deps),
  ]
  const routes = [...described, documentRoute(described, deps.version)]
  const app: App = new Hono()
  app.use(observed(deps))
  app.use('/v1/*', authorized(deps), admitted())
  for (const route of routes) {
    const { definition, handle } = route
    app.on(definition.method, pathPattern(definition.path), isForLooking(route) ? handle : withFullAccess(handle))
  }
  app.notFound(notServed(routes.map(({ definition }) => definition)))
  app.onError((error, c) => failureResponse(error, c.var.requestId))
  return app
}

/** OpenAPI writes `{id}` where the router wants `:id`. */
function pathPattern(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1')
}

function documentRoute(routes: readonly Route[], version: string): Route {
  let text: string | null = null
  return {
    definition: { method: 'get', path: '/openapi.json', responses: {} },
    handle(c) {
      text ??= JSON.stringify(openApiDocument(routes, version))
      return answerText(c, 200, text)
    },
  }
}

const LOGGED_PATH_LENGTH_MAX = 200

/** Gives every request its id, and writes one line about how it was answered. */
function observed({ log, clock }: Pick<AppDeps, 'log' | 'clock'>): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const startedAt = clock.now()
    c.set('requestId', requestIdOf(c.req.header('x-request-id')))
    await next()
    const { status } = c.res
    const line = {
      event: 'http.answered',
      method: c.req.method,
      // Without the query: people put into it what should not be kept.
      path: c.req.path.slice(0, LOGGED_PATH_LENGTH_MAX),
      status,
      durationMs: clock.now() - startedAt,
      requestId: c.var.requestId,
    }
    const message = `${status} ${line.method}`
    // A failing health check is news where its reason is, not each time that somebody asks.
    if (status < 500 || c.error === undefined) log.debug(line, message)
    else log.error({ ...line, error: appErrorOf(c.error).cause ?? c.error }, message)
  }
}

/** The caller's own id, when it is one that may go into a header, a log and an answer as it is. */
function requestIdOf(given: string | undefined): string {
  return given !== undefined && /^[\w.~-]{1,128}$/.test(given) ? given : randomUUID()
}

function authorized(deps: Pick<AppDeps, keyof Tokens | 'clock' | 'log'>): MiddlewareHandler<HttpEnv> {
  const checkToken = createCheckToken(deps, deps)
  return (c, next) => {
    const { url } = c.req
    const queryStart = url.indexOf('?')
    const access = checkToken({
      authorization: c.req.header('authorization'),
      query: queryStart === -1 ? '' : url.slice(queryStart + 1),
      address: c.env?.incoming?.socket.remoteAddress ?? 'unknown',
    })
    c.set('access', access)
    return next()
  }
}

function withFullAccess(handle: Route['handle']): Route['handle'] {
  return (c) => {
    if (c.var.access === 'full') return handle(c)
    throw new AppError('forbidden', 'This token is there to look with; use the one of RINGBACK_API_TOKEN for this.')
  }
}

/**
 * As many as connections, so that only who sends several at once on each is ever refused for want of a place. The bytes
 * are those of the bodies; parsed and queued they take about four times as much.
 */
const CHANGES_AT_ONCE = { placesMax: 1000, bytesMax: 32 * 1024 * 1024 }

/** Whoever changes something waits for the disk: how many do, and what they bring, is bounded before it is read. */
function admitted(): MiddlewareHandler<HttpEnv> {
  const room = createRoom(CHANGES_AT_ONCE)
  return async (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next()
    const visit = room.enter()
    c.set('hold', visit.hold)
    try {
      await next()
    } finally {
      visit.leave()
    }
  }
}

/** 405 where the path is served for other methods, 404 everywhere else. */
function notServed(definitions: readonly Route['definition'][]): (c: HttpContext) => Response {
  const served = new Map<string, { pattern: RegExp; methods: string[] }>()
  for (const { path, method } of definitions) {
    const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`)
    const methods = method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()]
    const known = served.get(path)
    if (known === undefined) served.set(path, { pattern, methods })
    else known.methods.push(...methods)
  }
  return (c) => {
    const { method, path } = c.req
    const methods = [...served.values()].flatMap((item) => (item.pattern.test(path) ? item.methods : []))
    const { requestId } = c.var
    if (methods.length === 0) {
      const detail = `Nothing is served at ${shown(path)}; /openapi.json lists what is.`
      return problemResponse(problem('not_found', detail, requestId))
    }
    const allow = methods.join(', ')
    const detail = `${shown(method)} is not possible at ${shown(path)}; possible are ${allow}.`
    return problemResponse(problem('method_not_allowed', detail, requestId), { allow })
  }
}
