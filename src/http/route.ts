/** A route: what the OpenAPI document says of it, and what answers it. */

import type { HttpBindings } from '@hono/node-server'
import type { RouteConfig, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { Access } from './auth.ts'
import { headersOf } from './problem.ts'
import { problemSchema } from './schemas.ts'

export interface HttpEnv {
  /** Absent when the app is called without a socket, as tests do. */
  Bindings: Partial<HttpBindings>
  /** `hold`: takes room in memory for so many bytes of the body, or throws `throttled` (429). */
  Variables: { requestId: string; access: Access; hold: (byteCount: number) => void }
}

export type HttpContext = Context<HttpEnv, string>

/**
 * The definition describes; the handler reads and checks for itself. The framework's own validators would read a body of
 * any size, and parse it before it could be refused.
 */
export interface Route {
  readonly definition: RouteConfig & { readonly method: 'get' | 'post' | 'patch' | 'delete' }
  readonly handle: (c: HttpContext) => Response | Promise<Response>
  /** Of a `get` that is more than a look. */
  readonly isMoreThanALook?: boolean
}

/** Whether a token that is there to look with opens it. */
export function isForLooking({ definition, isMoreThanALook }: Omit<Route, 'handle'>): boolean {
  return definition.method === 'get' && isMoreThanALook !== true
}

export function answer(c: HttpContext, status: number, body: unknown, headers?: Record<string, string>): Response {
  return answerText(c, status, JSON.stringify(body), headers)
}

/** For JSON text that goes out as it is. */
export function answerText(c: HttpContext, status: number, text: string, headers?: Record<string, string>): Response {
  const fixed = headersOf('application/json', c.var.requestId)
  return new Response(text, { status, headers: headers === undefined ? fixed : { ...fixed, ...headers } })
}

/** 204: it is done, and there is nothing to show. */
export function nothingMore(c: HttpContext): Response {
  const { 'content-type': _, ...headers } = headersOf('', c.var.requestId)
  return new Response(null, { status: 204, headers })
}

type Described = RouteConfig['responses'][string]

export function jsonContent(schema: z.ZodType) {
  return { 'application/json': { schema } }
}

const PROBLEM_WORDS: Readonly<Record<number, string>> = {
  400: 'The body cannot be read as JSON.',
  401: 'No valid token.',
  403: 'The token is there to look with.',
  404: 'There is no such thing.',
  409: 'The state does not allow this.',
  413: 'The body is too large.',
  415: 'The body is not plain UTF-8 JSON.',
  422: 'A field is wrong; errors says which and what to do.',
  429: 'Too many wrong tokens, or too much at once; wait for Retry-After.',
  503: 'Not possible right now; nothing was kept.',
  507: 'The disk is full; nothing was kept.',
}

/** The problems that a route may answer with, for the document. */
export function problems(...statuses: readonly number[]): Record<string, Described> {
  return Object.fromEntries(
    statuses.map((status) => [
      String(status),
      { description: PROBLEM_WORDS[status] ?? '', content: { 'application/problem+json': { schema: problemSchema } } },
    ]),
  )
}
