/** Is it alive, is it ready: for supervisors and load balancers, without a token. */

import { z } from '@hono/zod-openapi'
import { SECOND } from '../core/time.ts'
import { problem, problemResponse } from './problem.ts'
import { answer, jsonContent, problems, type Route } from './route.ts'

export interface Health {
  /** The process does its work; when not, restarting it is the remedy. */
  isLive(): boolean
  /** Registrations can be kept; when not, `reasons` says in words why. */
  isReady(): { readonly ok: boolean; readonly reasons: readonly string[] }
}

const RETRY_AFTER_MS = 5 * SECOND

const okSchema = z.object({
  status: z.literal('ok'),
  version: z.string(),
  warnings: z.array(z.string()).openapi({ description: 'What needs a person though registrations can be kept.' }),
})

export function healthRoutes({ health, version }: { health: Health; version: string }): readonly Route[] {
  const responses = {
    200: { description: 'Yes.', content: jsonContent(okSchema) },
    ...problems(503),
  }
  const readiness = () => health.isReady()
  const liveness = () => {
    const ok = health.isLive()
    return { ok, reasons: ok ? [] : ['a loop of the daemon has stopped; restart it'] }
  }
  return [
    route('/livez', 'Is the daemon alive?', liveness),
    route('/readyz', 'Can the daemon keep registrations?', readiness),
  ]

  function route(path: string, summary: string, look: Health['isReady']): Route {
    return {
      definition: { method: 'get', path, summary, security: [], responses },
      handle(c) {
        const { ok, reasons } = look()
        if (ok) return answer(c, 200, { status: 'ok', version, warnings: reasons })
        const errors = reasons.map((message) => ({ pointer: '', code: 'not_ready', message }))
        const detail = reasons.length === 0 ? 'Not ready.' : `${reasons.join('; ')}.`
        const retryAfter = { 'retry-after': String(RETRY_AFTER_MS / SECOND) }
        return problemResponse(problem('unavailable', detail, c.var.requestId, errors), retryAfter)
      },
    }
  }
}
