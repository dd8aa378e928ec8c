/** What the contracts of the store do again and again, in a line each. */

import { type AttemptResult, type DueDelivery, judge } from '../../src/core/delivery.ts'
import type { EndpointId, LeaseToken } from '../../src/core/ids.ts'
import { RETRY_SCHEDULE_MS } from '../../src/core/retry.ts'
import { formatSecret, parseSecret, type SigningKey } from '../../src/core/signature.ts'
import type { DueTask, Outcome } from '../../src/core/task.ts'
import { after, type EpochMs, epochMs, SECOND } from '../../src/core/time.ts'
import type { Exchange } from '../../src/ports.ts'
import type { ClaimDeliveries, PollRecord, Registered, Store, Task } from '../../src/store/store.ts'
import { ANY_HOST, aRegistration, START } from '../support/store.ts'

export interface StoreHarness {
  readonly store: Store
  /** The daemon is gone and another one starts over the same database. */
  reopen(): Promise<StoreHarness>
}

export const NONE_IN_FLIGHT: ReadonlyMap<EndpointId, number> = new Map()
export const SETTINGS = { rate: 1_000 }
export const LEASE_MS = 60 * SECOND

export function at(ms: number): EpochMs {
  return epochMs(START + ms)
}

export function lease(name: string, now: EpochMs = START) {
  return { token: `lse_${name}` as LeaseToken, expiresAt: after(now, LEASE_MS) }
}

export function taskOf(registered: Registered | undefined): Task {
  if (registered?.kind !== 'registered') throw new Error(`not registered: ${JSON.stringify(registered)}`)
  return registered.task
}

export async function register(
  store: Store,
  overrides: Parameters<typeof aRegistration>[0] = {},
  now = START,
): Promise<Task> {
  return taskOf((await store.registerTasks({ now, registrations: [aRegistration(overrides)] }))[0])
}

export async function claim(store: Store, name: string, now = START, limit = 10): Promise<readonly DueTask[]> {
  return (await store.claimDueTasks({ now, lease: lease(name, now), credential: 'aidge', settings: SETTINGS, limit }))
    .tasks
}

export const SUCCEEDED: Outcome = {
  status: 'succeeded',
  partial: false,
  images: [{ url: 'http://pictures.example/a%2Fb.png?Expires=1&Signature=x%3D', width: 1, height: 2, expiresAt: null }],
  error: null,
  response: '{"taskStatus":"finished","n":9007199254740993}',
  responseTruncated: false,
}

export function polled(task: DueTask, lease: string, decision: PollRecord['decision']): PollRecord {
  const poll = {
    askedAt: START,
    durationMs: 5,
    observation: 'running',
    detail: 'x',
    httpStatus: 200,
    requestId: 'r',
  } as const
  return { task, leaseToken: `lse_${lease}` as LeaseToken, poll, decision }
}

export function settledBy(task: DueTask, lease: string, outcome: Outcome = SUCCEEDED): PollRecord {
  return polled(task, lease, { kind: 'settle', outcome })
}

export function pollAgain(task: DueTask, lease: string, nextPollAt: EpochMs): PollRecord {
  return polled(task, lease, {
    kind: 'poll_again',
    nextPollAt,
    reason: 'later',
    runningAt: START,
    suspicion: null,
    unavailableCount: 0,
  })
}

export async function settle(
  store: Store,
  overrides: Parameters<typeof aRegistration>[0] = {},
  now = START,
): Promise<Task> {
  const { id } = await register(store, overrides, now)
  const due = await claim(store, `settle-${id}`, now)
  await store.recordPolls({ now, records: due.map((task) => settledBy(task, `settle-${id}`)), effects: [] })
  const task = await store.getTask(id)
  if (task === null) throw new Error('the task vanished')
  return task
}

export async function claimDeliveries(store: Store, name: string, now = START, options: Partial<ClaimDeliveries> = {}) {
  const room = {
    limit: 10,
    endpointConcurrency: 8,
    inFlight: NONE_IN_FLIGHT,
    hosts: ANY_HOST,
    recoveringMax: 10,
    unhurriedMax: 10,
  }
  return store.claimDueDeliveries({ now, lease: lease(name, now), ...room, ...options })
}

export function exchange(result: AttemptResult): Exchange {
  const rest = {
    responseExcerpt: 'ok',
    responseTruncated: false,
    responseHeaders: { server: 's' },
    remoteAddress: '192.0.2.1',
    timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
  }
  return { result, durationMs: 7, ...rest }
}

export function attempted(
  delivery: DueDelivery,
  lease: string,
  result: AttemptResult,
  now = START,
  scheduleMs = RETRY_SCHEDULE_MS,
) {
  const { verdict, isEndpointGone } = judge({ delivery, result, now, scheduleMs, random: 0.5 })
  const leaseToken = `lse_${lease}` as LeaseToken
  return { delivery, leaseToken, startedAt: now, exchange: exchange(result), verdict, isEndpointGone, random: 0.5 }
}

export const SECRETS = [1, 2, 3, 4].map((byte) => formatSecret(Buffer.alloc(32, byte)))

export function sameKey(secret: string, key: SigningKey): boolean {
  return key.algorithm === 'hmac' && Buffer.compare(parseSecret(secret)!.secret, key.secret) === 0
}

export const OK: AttemptResult = { kind: 'response', status: 204, retryAfter: null }
export const UNAVAILABLE: AttemptResult = { kind: 'response', status: 503, retryAfter: null }
export const FAILED: AttemptResult = { kind: 'response', status: 500, retryAfter: null }
export const GONE: AttemptResult = { kind: 'response', status: 410, retryAfter: null }
