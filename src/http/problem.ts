/** Everything that is wrong, as RFC 9457 `application/problem+json`: one table from error codes to status lines. */

import { AppError, type ErrorCode, type Fault } from '../core/errors.ts'
import { escaped } from '../core/shown.ts'
import { SECOND } from '../core/time.ts'

/** The last four are about HTTP itself, so no other part of the program knows them. */
export type ProblemCode =
  | ErrorCode
  | 'method_not_allowed'
  | 'request_timeout'
  | 'expectation_failed'
  | 'headers_too_large'

export const PROBLEMS = {
  unreadable: { status: 400, title: 'The request cannot be read' },
  unauthorized: { status: 401, title: 'A valid API token is needed' },
  forbidden: { status: 403, title: 'This token does not allow it' },
  not_found: { status: 404, title: 'There is no such thing' },
  method_not_allowed: { status: 405, title: 'This method is not possible here' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'The state does not allow this' },
  too_large: { status: 413, title: 'The body is too large' },
  unsupported_media: { status: 415, title: 'The body is not plain UTF-8 JSON' },
  expectation_failed: { status: 417, title: 'The expectation cannot be met' },
  invalid: { status: 422, title: 'The request breaks a rule' },
  throttled: { status: 429, title: 'Too many requests' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  internal: { status: 500, title: 'Something failed on our side' },
  unavailable: { status: 503, title: 'Not possible right now' },
  disk_full: { status: 507, title: 'The disk is full' },
} as const satisfies Record<ProblemCode, { status: number; title: string }>

export interface Problem {
  readonly type: `urn:ringback:problem:${ProblemCode}`
  readonly title: string
  readonly status: number
  readonly detail: string
  /** The request id; the log has it too. */
  readonly instance: string
  readonly errors: readonly Fault[]
}

export function problem(code: ProblemCode, detail: string, requestId: string, errors: readonly Fault[] = []): Problem {
  const { status, title } = PROBLEMS[code]
  // Names that a caller made up stand in both. Pointers stay as they are: programs look things up by them.
  const plainErrors = errors.map((fault) => ({ ...fault, message: escaped(fault.message) }))
  const type = `urn:ringback:problem:${code}` as const
  return { type, title, status, detail: escaped(detail), instance: requestId, errors: plainErrors }
}

/** The one place where answers get their headers; a plain object, which the server writes without copying it. */
export function headersOf(contentType: string, requestId: string): Record<string, string> {
  return {
    'content-type': contentType,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-request-id': requestId,
  }
}

export function problemResponse(answer: Problem, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(answer), {
    status: answer.status,
    headers: { ...headersOf('application/problem+json', answer.instance), ...headers },
  })
}

/** Answers for whatever was thrown. The text of what is our own fault stays in the log. */
export function failureResponse(thrown: unknown, requestId: string): Response {
  const error = appErrorOf(thrown)
  const headers: Record<string, string> = {}
  if (error.retryAfterMs !== null) headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterMs / SECOND)))
  if (error.code === 'unauthorized') headers['www-authenticate'] = 'Bearer realm="ringback"'
  return problemResponse(problem(error.code, error.message, requestId, error.faults), headers)
}

const RETRY_AFTER_BUSY_MS = SECOND
const RETRY_AFTER_FULL_MS = 60 * SECOND

export function appErrorOf(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  const codes = systemCodes(thrown)
  if (codes.some((code) => code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT')) {
    const detail =
      'The disk that holds the database is full: nothing of this was kept. Free some space and send it again.'
    return new AppError('disk_full', detail, { cause: thrown, retryAfterMs: RETRY_AFTER_FULL_MS })
  }
  if (codes.some((code) => code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED'))) {
    const detail = 'Another program holds the database: nothing of this was kept. Send it again in a moment.'
    return new AppError('unavailable', detail, { cause: thrown, retryAfterMs: RETRY_AFTER_BUSY_MS })
  }
  const detail = 'This is not your fault. The log has the reason under the request id that is given here as instance.'
  return new AppError('internal', detail, { cause: thrown })
}

/** Query builders wrap the error of the database, so the chain of causes is looked at too. */
function systemCodes(thrown: unknown): readonly string[] {
  const codes: string[] = []
  let error = thrown
  for (let depth = 0; depth < 5 && error instanceof Error; depth += 1) {
    if ('code' in error && typeof error.code === 'string') codes.push(error.code)
    error = error.cause
  }
  return codes
}
