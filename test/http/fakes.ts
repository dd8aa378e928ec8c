/** An app over a store, a registrar and a clock that are object literals, and short ways to call it. */

import { expect } from 'vitest'
import type { Endpoint } from '../../src/core/endpoint.ts'
import { AppError } from '../../src/core/errors.ts'
import type { Job } from '../../src/core/job.ts'
import { formatPrivateKey } from '../../src/core/signature.ts'
import { type EpochMs, epochMs } from '../../src/core/time.ts'
import { type AppDeps, createApp } from '../../src/http/app.ts'
import type { RegistrationInput } from '../../src/http/schemas.ts'
import type { Registrar } from '../../src/http/tasks.ts'
import type { Log } from '../../src/ports.ts'
import type { Attempt } from '../../src/store/attempts.ts'
import type { Delivery, Task } from '../../src/store/store.ts'

export const NOW = epochMs(Date.UTC(2026, 10, 22, 12))
export const TOKEN = 'rb_test_token_that_is_long_enough'
export const BEARER = { authorization: `Bearer ${TOKEN}` }

export const aTask = (task: Partial<Task> = {}): Task => ({
  id: 'task_01',
  taskId: '9f2c1e77',
  kind: 'virtual-model-generation',
  status: 'pending',
  metadata: '{"order":"1180"}',
  registeredAt: NOW,
  submittedAt: null,
  settledAt: null,
  deadlineAt: epochMs(NOW + 1000),
  nextPollAt: NOW,
  pollCount: 0,
  lastObservation: null,
  eventId: null,
  outcome: null,
  subscriptions: [
    {
      endpointId: 'ep_1',
      callbackUrl: 'https://example.com/hook',
      deliveryId: null,
      deliveryStatus: null,
      endpointStatus: 'enabled',
    },
  ],
  ...task,
})

export const aDelivery = (delivery: Partial<Delivery> = {}): Delivery => ({
  id: 'dlv_1',
  eventId: 'evt_1',
  eventType: 'task.succeeded',
  taskId: 'task_01',
  endpointId: 'ep_1',
  callbackUrl: 'https://example.com/hook',
  status: 'pending',
  attemptCount: 1,
  nextAttemptAt: NOW,
  createdAt: NOW,
  settledAt: null,
  lastStatusCode: 503,
  lastFailure: null,
  ...delivery,
})

export const anAttempt = (attempt: Partial<Attempt> = {}): Attempt => ({
  id: 'att_1',
  deliveryId: 'dlv_1',
  attemptNumber: 1,
  isManual: false,
  isProbe: false,
  verdict: 'retry',
  startedAt: NOW,
  durationMs: 12,
  statusCode: 503,
  failure: null,
  detail: null,
  responseExcerpt: 'busy',
  responseTruncated: false,
  responseHeaders: '{"retry-after":"5"}',
  timings: { dnsMs: 2, connectMs: 5, tlsMs: 11, answerMs: 20 },
  remoteAddress: '203.0.113.7',
  nextAttemptAt: epochMs(NOW + 5000),
  ...attempt,
})

/** A registrar that remembers what it was asked, call by call. */
export function aListeningRegistrar() {
  const calls: (readonly RegistrationInput[])[] = []
  const registrar: Registrar = {
    register(inputs) {
      calls.push(inputs)
      return aRegistrar.register(inputs)
    },
  }
  return { registrar, calls }
}

type Line = { level: string; message: string } & Record<string, unknown>

export function aLog() {
  const lines: Line[] = []
  const awaited = new Map<string, () => void>()
  const at = (level: string) => (fields: { readonly event: string }, message: string) => {
    lines.push({ level, message, ...fields })
    awaited.get(fields.event)?.()
  }
  /** Resolves with the next line of that name. */
  const next = (event: string) => new Promise<void>((resolve) => awaited.set(event, resolve))
  const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  return { ...log, lines, next }
}

/** Time that moves only when somebody waits for it. */
export function aClock() {
  let now: EpochMs = NOW
  return {
    now: () => now,
    set(at: number) {
      now = epochMs(at)
    },
    wakeAt(at: EpochMs, wake: () => void) {
      let isOff = false
      queueMicrotask(() => {
        if (isOff) return
        now = epochMs(Math.max(now, at))
        wake()
      })
      return () => {
        isOff = true
      }
    },
  }
}

/** Keeps every id without a space, and knows those that start with `known`. */
export const aRegistrar: Registrar = {
  async register(inputs) {
    return inputs.map(({ taskId, metadata }) => {
      if (taskId.includes(' ')) {
        const faults = [{ pointer: '/taskId', code: 'invalid_task_id', message: 'no spaces' }]
        return { ok: false, error: new AppError('invalid', 'taskId: no spaces', { faults }) }
      }
      const task = aTask({ taskId, metadata: JSON.stringify(metadata ?? {}) })
      return { ok: true, task, isNew: !taskId.startsWith('known') }
    })
  },
}

const nothing: AppDeps['store'] = {
  cancelTask: async () => ({ kind: 'not_found' }),
  getTask: async () => null,
  listTasks: async () => ({ items: [], nextCursor: null }),
  getEvent: async () => null,
  getDelivery: async () => null,
  listDeliveries: async () => ({ items: [], nextCursor: null }),
  listAttempts: async () => [],
  redeliver: async () => ({ kind: 'not_found' }),
  createEndpoint: async ({ url }) => ({ kind: 'url_taken', endpoint: anEndpoint({ url }) }),
  updateEndpoint: async () => ({ kind: 'not_found' }),
  setEndpointStatus: async () => null,
  rotateSecret: async () => null,
  getEndpoint: async () => null,
  listEndpoints: async () => ({ items: [], nextCursor: null }),
  pollTask: async () => ({ kind: 'not_found' }),
  redeliverTask: async () => ({ kind: 'not_found' }),
  listPolls: async () => [],
  deleteEndpoint: async () => ({ kind: 'not_found' }),
  getJob: async () => null,
  listJobs: async () => ({ items: [], nextCursor: null }),
  cancelJob: async () => ({ kind: 'not_found' }),
}

export function aJob(overrides: Partial<Job> = {}): Job {
  return {
    id: 'job_1',
    status: 'running',
    filter: { endpointId: 'ep_1', status: 'exhausted', since: NOW, until: null, eventType: null },
    totalCount: 10,
    queuedCount: 4,
    createdAt: NOW,
    updatedAt: NOW,
    finishedAt: null,
    ...overrides,
  }
}

export function anEndpoint(overrides: Partial<Endpoint> = {}): Endpoint {
  return {
    id: 'ep_1',
    url: 'https://shop.example/hooks',
    name: null,
    status: 'enabled',
    disabledReason: null,
    isOperator: false,
    headerNames: [],
    eventTypes: null,
    rateMax: null,
    concurrencyMax: null,
    health: { failingSince: null, slots: null, probeAt: null, probeCount: 0 },
    secrets: [],
    publicKeys: [],
    createdAt: NOW,
    updatedAt: NOW,
    ...overrides,
  }
}

export interface AppParts extends Partial<Omit<AppDeps, 'store'>> {
  readonly store?: Partial<AppDeps['store']>
}

export function anApp({ store, ...parts }: AppParts = {}) {
  const log = aLog()
  const clock = aClock()
  const app = createApp({
    store: { ...nothing, ...store },
    registrar: aRegistrar,
    log,
    clock,
    token: TOKEN,
    readToken: null,
    health: { isLive: () => true, isReady: () => ({ ok: true, reasons: [] }) },
    puller: { pull: async () => [], acknowledge: async () => {} },
    trials: {
      run: async (id) => {
        throw new AppError('not_found', `There is no endpoint ${id}.`)
      },
    },
    jobs: { count: async () => 0, begin: async () => ({ kind: 'unknown_endpoint' }), wake: () => {} },
    wakeScheduler: () => {},
    wakeDispatcher: () => {},
    guardUrl: (text) => ({ isAllowed: true, url: new URL(text).href }),
    newSecret: () => 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=',
    newPrivateKey: () => formatPrivateKey(Buffer.alloc(32, 5)),
    version: '1.2.3',
    ...parts,
  })
  const get = (path: string) => app.request(path, { headers: BEARER })
  const post = (path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const isRaw = typeof body === 'string' || body instanceof Uint8Array
    return app.request(path, {
      method: 'POST',
      headers: { ...BEARER, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: isRaw ? (body as string) : JSON.stringify(body) }),
    })
  }
  return { app, log, clock, get, post }
}

interface ProblemBody {
  type: string
  title: string
  status: number
  detail: string
  instance: string
  errors: { pointer: string; code: string; message: string }[]
}

/** The body of an answer that has to be a problem, with everything that every problem has. */
export async function problemOf(response: Response, status: number): Promise<ProblemBody> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const body = (await response.json()) as ProblemBody
  expect(body).toEqual({
    type: expect.stringMatching(/^urn:ringback:problem:[a-z_]+$/),
    title: expect.stringMatching(/.+/),
    status,
    detail: expect.stringMatching(/.+/),
    instance: response.headers.get('x-request-id'),
    errors: expect.any(Array),
  })
  for (const error of body.errors) {
    expect(Object.keys(error).sort()).toEqual(['code', 'message', 'pointer'])
    expect(error.message).not.toMatch(/\p{Cc}/u)
  }
  expect(response.status).toBe(status)
  expect(response.headers.get('cache-control')).toBe('no-store')
  expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  return body
}
