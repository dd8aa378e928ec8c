/** Asks the sandbox as the vendor's own published samples do, written apart from every other client here. */

import { createHmac } from 'node:crypto'
import type { AidgeSandbox } from '../../src/sandbox/aidge.ts'

export interface SignedCall {
  readonly path: string
  readonly at?: number
  /** Sent as JSON by POST; GET when not given. */
  readonly body?: unknown
  /** Further query parameters, after the signed ones. */
  readonly parameters?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export const QUERY_PATH = '/ai/virtual/model/generation/query'

// biome-ignore lint/suspicious/noExplicitAny: tests read deep into answers whose shape is what they test
export type Json = any

export function signedUrl(sandbox: Pick<AidgeSandbox, 'url' | 'credentials'>, path: string, at = Date.now()): string {
  const { accessKeyName, accessKeySecret } = sandbox.credentials
  const sign = createHmac('sha256', accessKeySecret).update(`${accessKeySecret}${at}`).digest('hex').toUpperCase()
  const query = `partner_id=aidge&sign_method=sha256&sign_ver=v2&app_key=${accessKeyName}&timestamp=${at}&sign=${sign}`
  return `${sandbox.url}/rest${path}?${query}`
}

export function call(sandbox: AidgeSandbox, request: SignedCall): Promise<Response> {
  const further = Object.entries(request.parameters ?? {}).map(
    ([name, value]) => `&${name}=${encodeURIComponent(value)}`,
  )
  const isPost = request.body !== undefined
  return fetch(signedUrl(sandbox, request.path, request.at) + further.join(''), {
    method: isPost ? 'POST' : 'GET',
    redirect: 'manual',
    headers: { 'content-type': 'application/json', 'x-iop-trial': 'false', ...request.headers },
    ...(isPost ? { body: typeof request.body === 'string' ? request.body : JSON.stringify(request.body) } : {}),
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  })
}

export async function answer(sandbox: AidgeSandbox, request: SignedCall): Promise<Json> {
  return await (await call(sandbox, request)).json()
}

/** One question about a virtual-model task. */
export function ask(sandbox: AidgeSandbox, taskId: string, request: Partial<SignedCall> = {}): Promise<Json> {
  return answer(sandbox, { path: QUERY_PATH, body: { taskId }, ...request })
}
