/** An HTTP server that answers like the API of a daemon, for the commands that talk to one. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

export const TOKEN = 'rb_the-right-token'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly authorization: string | undefined
  readonly body: unknown
}

type Reply = { readonly status: number; readonly body: unknown }

export interface ApiStub {
  readonly url: string
  readonly asked: readonly Asked[]
  close(): Promise<void>
}

/** `routes` by method and path; what is in none of them is not found. */
export async function startApiStub(routes: Readonly<Record<string, (asked: Asked) => Reply>>): Promise<ApiStub> {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    void answer(request, response, routes, asked)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: Readonly<Record<string, (asked: Asked) => Reply>>,
  seen: Asked[],
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://stub')
  const body = await text(request)
  const asked: Asked = {
    method: request.method ?? '',
    path: url.pathname,
    query: Object.fromEntries(url.searchParams),
    authorization: request.headers.authorization,
    body: body === '' ? null : JSON.parse(body),
  }
  seen.push(asked)
  const isOpen = asked.path === '/readyz'
  const reply =
    isOpen || asked.authorization === `Bearer ${TOKEN}`
      ? (routes[`${asked.method} ${asked.path}`]?.(asked) ?? problem(404, 'not_found', 'There is no such thing.'))
      : problem(401, 'unauthorized', 'The token is wrong.')
  response.writeHead(reply.status, { 'content-type': 'application/json' })
  response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body))
}

export function problem(status: number, code: string, detail: string, errors: readonly object[] = []): Reply {
  return { status, body: { type: `urn:ringback:problem:${code}`, title: code, status, detail, instance: 'r', errors } }
}

export function aTask(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'task_01a',
    taskId: 'up-1',
    kind: 'virtual-model-generation',
    status: 'pending',
    metadata: {},
    registeredAt: '2026-11-22T10:00:00.000Z',
    submittedAt: null,
    settledAt: null,
    deadlineAt: '2026-11-23T10:00:00.000Z',
    nextPollAt: '2026-11-22T10:00:05.000Z',
    pollCount: 3,
    lastObservation: 'running (running)',
    eventId: null,
    outcome: null,
    subscriptions: [{ endpointId: 'ep_1', callbackUrl: 'https://h/x', deliveryId: null, deliveryStatus: null }],
    ...fields,
  }
}

export function aDelivery(fields: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'dlv_01a',
    eventId: 'evt_01a',
    eventType: 'task.succeeded',
    taskId: 'task_01a',
    endpointId: 'ep_1',
    callbackUrl: 'https://h/x?key=of-the-receiver',
    status: 'exhausted',
    attemptCount: 10,
    nextAttemptAt: null,
    createdAt: '2026-11-22T10:00:00.000Z',
    settledAt: '2026-11-22T12:00:00.000Z',
    lastStatusCode: 503,
    lastFailure: null,
    ...fields,
  }
}
