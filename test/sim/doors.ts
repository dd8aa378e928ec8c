/**
 * The daemon's ports as one history has them: each call is a crash point before and after, may fail, and is noted.
 *
 * A dead process never hears an answer: its calls stay open for ever, as its memory would be gone.
 */

import type { AttemptResult, DueDelivery } from '../../src/core/delivery.ts'
import type { EndpointId } from '../../src/core/ids.ts'
import { JITTER_SHARE } from '../../src/core/retry.ts'
import type { DueTask } from '../../src/core/task.ts'
import { after, type EpochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import type { Exchange, Post, PostRequest, Upstream } from '../../src/ports.ts'
import type { AttemptRecord } from '../../src/store/attempts.ts'
import type { DeletionResult } from '../../src/store/jobs.ts'
import type { PollRecord, Store } from '../../src/store/store.ts'
import type { Chaos, CrashPoint } from './faults.ts'
import { S25_disabledOnlyWhenHopeless } from './health-invariants.ts'
import type { History } from './history.ts'
import { ON_POST, ON_QUERY, ON_RECORD, T7_locksAreWaitedFor } from './invariants.ts'
import {
  endpointOf,
  type Ledger,
  note,
  noteBlow,
  type PostFact,
  type QueryFact,
  reopenQueued,
  type Telling,
  tellingOf,
} from './ledger.ts'
import type { Receivers } from './receivers.ts'
import type { Rows, Standing } from './rows.ts'
import { diskError } from './sqlite-witness.ts'
import type { Process, VirtualTime } from './time.ts'
import { catalogue, meaningOf, QUERY_DEADLINE_MS, SEVERAL_KINDS, type SimulatedUpstream } from './upstream.ts'

export interface Surroundings {
  readonly time: VirtualTime
  readonly ledger: Ledger
  readonly history: History
  readonly chaos: () => Chaos
  readonly upstream: SimulatedUpstream
  readonly receivers: Receivers
  /** Kills the process that is at this point. */
  die(point: CrashPoint, fate: 'die' | 'power_loss'): void
  /** Credentials that stand as refused in the rows. */
  refused(): readonly string[]
  /** The rows of deliveries as they stand on disk. */
  deliveryRows(): Rows['deliveries']
  standingOf(endpointId: EndpointId): Standing | undefined
  /** A query or a POST is on its way, and may find the process stopped when it comes back. */
  hasLeft(life: Life, latencyMs: number): void
  /** Whether the disk is full now. */
  isDiskFull(): boolean
  check<V>(invariants: readonly ((view: V) => readonly string[])[], view: V): void
}

/** What the vendor's siblings do without a word about how long, and the longest wait that is obeyed. */
const THROTTLE_DEFAULT_MS = 2 * SECOND
const THROTTLE_MAX_MS = 10 * MINUTE

const forEver = () => new Promise<never>(() => {})
/** Nothing of the world is behind them: a process cannot die at one. */
const NO_CALLS: ReadonlySet<string> = new Set(['close', 'impediments', 'onTold'])
/** Looks, and what is done once at the start: if that failed, nobody would be told until the next. */
const UNFAILING: ReadonlySet<string> = new Set([
  'keepOperatorEndpoint',
  'countRedeliverable',
  'getJob',
  'listJobs',
  'listRunningJobs',
  'listPolls',
  'getTask',
  'listTasks',
  'getEvent',
  'getDelivery',
  'listDeliveries',
  'listAttempts',
  'listBudgets',
  'getEndpoint',
  'listEndpoints',
])

export interface Life extends Process {
  readonly number: number
}

/** True when the process survives the point. */
function survives(point: CrashPoint, life: Life, world: Surroundings): boolean {
  if (life.isDead()) return false
  const fate = world.chaos().fateAt(point)
  if (fate === 'live') return true
  world.die(point, fate)
  return false
}

export function storeDoor(store: Store, life: Life, world: Surroundings): Store {
  return new Proxy(store, {
    get(target, name: string) {
      const method = Reflect.get(target, name) as unknown
      if (typeof method !== 'function' || NO_CALLS.has(name)) return method
      return (params: never) =>
        call(name as keyof Store, (method as (params: never) => Promise<unknown>).bind(target), params, life, world)
    },
  })
}

interface StoreCall {
  readonly name: keyof Store
  readonly params: unknown
  /** Of the records, those whose lease was the last that had been handed out. */
  readonly heldCount: number
  /** In true time. The daemon reckons from then, also when its record has to wait for a lock or for room. */
  readonly calledAt: number
}

async function call(
  name: keyof Store,
  method: (params: never) => Promise<unknown>,
  params: never,
  life: Life,
  world: Surroundings,
): Promise<unknown> {
  if (!survives(`store.${name}.before`, life, world)) {
    noteUnrecorded(params, world.ledger)
    return forEver()
  }
  if (!UNFAILING.has(name) && (world.isDiskFull() || world.chaos().doesFail(`store.${name}`))) {
    noteBlow(world.ledger, 'store', world.time.now())
    throw diskError('SQLITE_FULL', 'database or disk is full')
  }
  const calledAt = world.time.now()
  if (name === 'deleteSettledTasks') world.ledger.hasForgotten = true
  const heldCount = heldLeases(name, params, world.ledger)
  noteRecording(name, params, { life: life.number, at: calledAt }, world.ledger)
  let result: unknown
  try {
    result = await method(params)
  } catch (error) {
    if (!life.isDead()) world.check([T7_locksAreWaitedFor], { port: name, error })
    if (!life.isDead()) noteRecording(name, params, null, world.ledger)
    noteBlow(world.ledger, 'store', world.time.now())
    throw error
  }
  if (!life.isDead()) noteRecording(name, params, null, world.ledger)
  if (life.isDead()) return forEver()
  observe({ name, params, heldCount, calledAt }, result, world)
  if (!survives(`store.${name}.after`, life, world)) return forEver()
  return result
}

/** What had happened in the world and died with the process. */
function noteUnrecorded(params: unknown, ledger: Ledger): void {
  for (const record of recordsOf(params)) {
    if (verdictOf(record) === 'settle') note(ledger, 'crash_before_fanout')
    if (verdictOf(record) === 'delivered') note(ledger, 'crash_after_ack')
  }
}

/** What was delivered is being written down since `begun`, or is not any more. */
function noteRecording(
  name: string,
  params: unknown,
  begun: { life: number; at: number } | null,
  ledger: Ledger,
): void {
  if (name !== 'recordAttempts') return
  for (const { delivery, verdict } of recordsOf(params) as readonly AttemptRecord[]) {
    if (verdict.kind !== 'delivered') continue
    const telling = tellingOf(ledger, delivery.eventId, delivery.endpointId)
    telling.recording = begun === null ? oneLess(telling.recording) : oneMore(telling.recording, begun)
  }
}

function oneMore(known: Telling['recording'], { life, at }: { life: number; at: number }): Telling['recording'] {
  return known?.life === life ? { ...known, count: known.count + 1 } : { life, since: at, count: 1 }
}

function oneLess(known: Telling['recording']): Telling['recording'] {
  return known === null || known.count === 1 ? null : { ...known, count: known.count - 1 }
}

type Records = readonly (PollRecord | AttemptRecord)[]

function recordsOf(params: unknown): Records {
  return (params as { records?: Records } | undefined)?.records ?? []
}

function itemOf(record: Records[number]): string {
  return 'task' in record ? record.task.id : record.delivery.id
}

function heldLeases(name: string, params: unknown, { tokens }: Ledger): number {
  if (!name.startsWith('record')) return 0
  return recordsOf(params).filter((record) => tokens.get(itemOf(record)) === record.leaseToken).length
}

/** What a step that is on disk tells the ledger. */
function observe({ name, params, heldCount, calledAt }: StoreCall, result: unknown, world: Surroundings): void {
  const { ledger, time, history } = world
  switch (name) {
    case 'claimDueTasks':
    case 'claimOverdueTasks':
    case 'claimDueDeliveries': {
      const { lease } = params as { lease: { token: never } }
      const { tasks = [], deliveries = [] } = result as { tasks?: DueTask[]; deliveries?: DueDelivery[] }
      for (const { id } of [...tasks, ...deliveries]) {
        if (ledger.tokens.has(id)) note(ledger, 'lease_expired_rescued')
        ledger.tokens.set(id, lease.token)
      }
      for (const delivery of deliveries) {
        ledger.claims.set(`${delivery.eventId} ${delivery.url}`, delivery)
        ledger.claimedUrls.set(delivery.id, delivery.url)
      }
      return
    }
    case 'recordPolls':
    case 'recordAttempts': {
      const { applied } = result as { applied: number }
      const records = recordsOf(params)
      world.check(ON_RECORD, { ledger, port: name, applied, heldCount })
      if (applied < records.length) note(ledger, 'late_result_fenced')
      history.note(`${name} ${records.map((one) => `${itemOf(one)} ${verdictOf(one)}`).join(', ')}: ${applied} applied`)
      if (applied === records.length)
        for (const record of records) noteRecord(record, calledAt, (params as { now: EpochMs }).now, world)
      if (name === 'recordPolls')
        for (const effect of (params as { effects: readonly Effect[] }).effects) noteEffect(effect, calledAt, world)
      return
    }
    case 'cancelTask': {
      const { kind, task } = result as { kind: string; task?: { id: string } }
      if (kind === 'canceled' && task !== undefined) ledger.settledAt.set(task.id, time.now())
      return
    }
    case 'moveInstants':
      for (const [id, at] of ledger.nextPollAt) ledger.nextPollAt.set(id, after(at, (params as { byMs: number }).byMs))
      return
    case 'advanceJob':
      if (((result as { queuedCount: number } | null)?.queuedCount ?? 0) === 0) return
      note(ledger, 'job_queued')
      history.note(`job ${(params as { id: string }).id} queues ${(result as { queuedCount: number }).queuedCount}`)
      reopenQueued(ledger, world.deliveryRows())
      return
    case 'deleteEndpoint': {
      const { id } = params as { id: EndpointId }
      const deletion = result as DeletionResult
      if (deletion.kind !== 'deleted') return
      ledger.deletedEndpoints.set(id, time.now())
      if (deletion.droppedCount > 0) note(ledger, 'backlog_dropped')
      return
    }
    case 'dropBacklogs':
      if ((result as { droppedCount: number }).droppedCount > 0) note(ledger, 'backlog_dropped_later')
      return
    case 'deleteSettledTasks':
      if (Number(result) > 0) note(ledger, 'retention_forgot')
      return
    default:
      return
  }
}

function verdictOf(record: Records[number]): string {
  return 'task' in record ? record.decision.kind : record.verdict.kind
}

/** `calledAt` in true time is `now` in the daemon's own time, by which it decided. */
function noteRecord(record: Records[number], calledAt: number, now: EpochMs, world: Surroundings): void {
  const { ledger, time } = world
  ledger.tokens.delete(itemOf(record))
  if ('task' in record) {
    const { task, decision } = record
    if (decision.kind === 'poll_again') ledger.nextPollAt.set(task.id, decision.nextPollAt)
    if (decision.kind === 'give_back') note(ledger, 'shutdown_returned_lease')
    if (decision.kind !== 'settle') return
    ledger.settledAt.set(task.id, time.now())
    const { outcome } = decision
    if (outcome.status === 'expired') note(ledger, 'task_timed_out')
    if (outcome.partial) note(ledger, 'partial_success')
    if (outcome.status === 'failed' && (task.suspicion?.answerCount ?? 0) >= 2) note(ledger, 'confirmed_failure')
    if (outcome.status === 'succeeded' && task.lastObservation?.startsWith('failed')) note(ledger, 'hiccup_survived')
    return
  }
  const { delivery, verdict, exchange } = record
  const telling = tellingOf(ledger, delivery.eventId, delivery.endpointId)
  const key = `${delivery.eventId} ${delivery.endpointId}`
  if (verdict.kind === 'retry') ledger.retryAt.set(key, verdict.nextAttemptAt + calledAt - now)
  else ledger.retryAt.delete(key)
  if (verdict.kind === 'delivered') telling.state = 'committed'
  // Its 2xx had been lost; asked again, the receiver said something else, and that is what counts.
  if (verdict.kind === 'retry' && telling.state === 'heard') telling.state = 'open'
  telling.isManualOpen = verdict.kind === 'give_back' && delivery.isManual
  // As if it had not been made: what it was allowed for, a 2xx whose record was lost too, is still allowed.
  const isOwedAgain = telling.isManualOpen || (verdict.kind === 'give_back' && telling.state === 'heard')
  if (isOwedAgain) telling.credits = 1
  if (verdict.kind === 'exhausted') note(ledger, 'schedule_exhausted')
  if (verdict.kind === 'give_back')
    note(
      ledger,
      exchange.result.kind === 'own_fault' && exchange.result.reason === 'shutdown'
        ? 'shutdown_returned_lease'
        : 'own_fault_given_back',
    )
  noteHealth(record, calledAt, world)
}

/** What an attempt has made of its endpoint, by what stands on disk now. */
function noteHealth({ delivery, verdict }: AttemptRecord, calledAt: number, world: Surroundings): void {
  const { ledger, time } = world
  const { endpointId, isProbe } = delivery
  const url = ledger.claimedUrls.get(delivery.id)
  if (url === undefined) throw new Error(`${delivery.id} was recorded and never claimed`)
  const { status, disabled_reason: reason } = world.standingOf(endpointId) ?? { status: 'deleted' }
  if (status === 'deleted') return
  const known = ledger.probing.get(endpointId)
  if (status === 'disabled' && reason === 'failing') {
    if (known === undefined) noteDisabled(endpointId, url, world)
    const isGivenBack = verdict.kind === 'give_back'
    const failedCount = (known?.failedCount ?? 0) + (isProbe && !isGivenBack ? 1 : 0)
    const dueAt = calledAt + (isGivenBack ? 0 : gapMsMin(failedCount))
    if (known === undefined || isProbe) ledger.probing.set(endpointId, { failedCount, dueAt })
  } else if (known !== undefined) {
    ledger.probing.delete(endpointId)
    if (status === 'enabled') ledger.closedUrls.delete(url)
    if (status === 'enabled' && isProbe && verdict.kind === 'delivered') note(ledger, 'endpoint_healed')
  }
  if (verdict.kind === 'delivered') ledger.wellAt.set(endpointId, time.now())
  if (status !== 'disabled' || reason !== 'gone' || ledger.closedUrls.has(url)) return
  note(ledger, 'endpoint_gone')
  ledger.closedUrls.set(url, time.now())
}

function noteDisabled(endpointId: EndpointId, url: string, { ledger, time, history, check }: Surroundings): void {
  check([S25_disabledOnlyWhenHopeless], { ledger, endpointId, now: time.now() })
  note(ledger, 'endpoint_auto_paused')
  history.note(`${new URL(url).host} is disabled for failing`)
  ledger.closedUrls.set(url, time.now())
}

/** As docs/delivery.md promises it, whatever the code says. */
const PROBE_GAPS_MS = [5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR]

function gapMsMin(failedCount: number): number {
  const gapMs = PROBE_GAPS_MS[Math.min(failedCount, PROBE_GAPS_MS.length - 1)] ?? 0
  return gapMs * (1 - JITTER_SHARE)
}

type Effect = Parameters<Store['recordPolls']>[0]['effects'][number]

/** What the upstream said about the credential, as far as it is on disk. */
function noteEffect({ credential, effect }: Effect, calledAt: number, { ledger, time, refused }: Surroundings): void {
  if (effect.kind === 'accepted') ledger.refusedSince.delete(credential)
  // Where a credential pays for several kinds, it may be the kind that is refused: then the rows say which it was.
  const isRefused = effect.kind === 'refused' && (!SEVERAL_KINDS.has(credential) || refused().includes(credential))
  if (isRefused && !ledger.refusedSince.has(credential)) {
    ledger.refusedSince.set(credential, time.now())
    note(ledger, 'refused_paused')
  }
  if (effect.kind !== 'throttled') return
  note(ledger, 'throttled')
  const until = calledAt + Math.min(effect.retryAfterMs ?? THROTTLE_DEFAULT_MS, THROTTLE_MAX_MS)
  const earlier = ledger.bans.get(credential)?.until ?? 0
  ledger.bans.set(credential, { since: time.now(), until: Math.max(until, earlier) })
}

export function upstreamDoor(life: Life, world: Surroundings): Upstream {
  const { time, ledger, history, upstream } = world
  return {
    ...catalogue,
    async query(tasks, signal) {
      if (!survives('upstream.query.before', life, world)) return forEver()
      const askedAt = time.wall()
      const query: QueryFact = {
        tasks,
        credential: catalogue.credentialOf(tasks[0]!.kind),
        at: time.now(),
        wallAt: askedAt,
        life: life.number,
        endedAt: null,
      }
      ledger.queries.push(query)
      if (tasks.length > 1) note(ledger, 'batch_of_several')
      world.check(ON_QUERY, { ledger, query })
      const doesFail = world.chaos().doesFail('upstream.query')
      const answers = tasks.map((task) => ({ task, ...upstream.answer(task, time.now()) }))
      const latencyMs = Math.min(QUERY_DEADLINE_MS, Math.max(...answers.map((answer) => answer.latencyMs)))
      const isHeard = await hears(latencyMs, signal, life, world)
      query.endedAt = time.now()
      if (!isHeard) return { answers: [], queryCount: 1 }
      const observed = answers.map(({ task, said }) => {
        const heard = doesFail ? ({ kind: 'no_answer', reason: 'reset', detail: 'failed' } as const) : said
        const observation = meaningOf(heard, task.taskId)
        history.note(`query ${task.kind}/${task.taskId} (${task.id}): ${observation.kind}`)
        noteObservation(observation, world)
        const httpStatus = heard.kind === 'answer' ? heard.httpStatus : null
        return { task, observation, askedAt, answeredAt: time.wall(), httpStatus, requestId: null }
      })
      if (!survives('upstream.query.after', life, world)) {
        if (observed.some(({ observation }) => observation.kind === 'finished')) note(ledger, 'crash_before_fanout')
        return forEver()
      }
      return { answers: observed, queryCount: 1 }
    },
  }
}

function noteObservation(observation: ReturnType<typeof meaningOf>, { ledger }: Surroundings): void {
  if (observation.kind !== 'unavailable') return
  note(ledger, observation.reason === 'foreign_task' ? 'foreign_answer_ignored' : 'upstream_outage')
}

export function postDoor(life: Life, world: Surroundings): Post {
  const { time, ledger, history, receivers } = world
  return async (request, signal): Promise<Exchange> => {
    if (!survives('post.before', life, world)) return forEver()
    const post = notePost(request, life, world)
    const reception = world.chaos().doesFail('post')
      ? { result: { kind: 'no_response', reason: 'reset', detail: 'failed' } as const, latencyMs: 1, reaches: false }
      : receivers.receive(request.url, time.now(), request.deadlineMs)
    const isHeard = await hears(reception.latencyMs, signal, life, world)
    post.endedAt = time.now()
    const result: AttemptResult = isHeard
      ? reception.result
      : { kind: 'own_fault', reason: 'shutdown', detail: 'stopping' }
    post.heard = result
    history.note(`post ${post.headers['webhook-id']} to ${new URL(request.url).host}: ${wordOf(result)}`)
    const isSuccess = noteResult(result, post, ledger)
    if (!survives('post.after', life, world)) {
      if (isSuccess) note(ledger, 'crash_after_ack')
      return forEver()
    }
    const timings = { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null }
    const none = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null, timings }
    return { result, durationMs: time.now() - post.at, ...none }
  }
}

function notePost(request: PostRequest, life: Life, world: Surroundings): PostFact {
  const { time, ledger } = world
  const id = request.headers['webhook-id'] ?? ''
  const post: PostFact = {
    life: life.number,
    at: time.now(),
    wallAt: time.machine(),
    url: request.url,
    headers: request.headers,
    body: request.body,
    claimed: ledger.claims.get(`${id} ${request.url}`),
    endedAt: null,
    heard: null,
  }
  ledger.posts.push(post)
  const signatures = (request.headers['webhook-signature'] ?? '').split(' ')
  if (signatures.filter((one) => one.startsWith('v1,')).length > 1) note(ledger, 'two_secrets_signed')
  if (signatures.some((one) => one.startsWith('v1a,'))) note(ledger, 'key_pair_signed')
  const telling = tellingOf(ledger, id, endpointOf(post))
  telling.posts.push(post)
  if (telling.state !== 'open') note(ledger, post.claimed?.isManual ? 'manual_resend' : 'duplicate_delivery_same_id')
  if (post.claimed?.isManual) telling.isManualOpen = true
  if (post.claimed?.isProbe) note(ledger, 'endpoint_probed')
  if (post.url === world.receivers.operatorUrl) note(ledger, 'operator_told')
  world.check(ON_POST, { ledger, post })
  return post
}

/** Whether the receiver has said 2xx and the daemon has heard it. */
function noteResult(result: AttemptResult, post: PostFact, ledger: Ledger): boolean {
  if (result.kind === 'no_response') {
    if (result.reason === 'blocked_address') note(ledger, 'dns_mixed_answer_blocked')
    return false
  }
  if (result.kind === 'own_fault') return false
  if (result.retryAfter !== null) {
    const isGarbage = !/^\d+$/.test(result.retryAfter)
    note(
      ledger,
      isGarbage ? 'retry_after_garbage' : result.retryAfter.length > 5 ? 'retry_after_clamped' : 'retry_after_obeyed',
    )
  }
  if (result.status < 200 || result.status > 299) return false
  const telling = tellingOf(ledger, post.headers['webhook-id'] ?? '', endpointOf(post))
  if (telling.state === 'open') telling.state = 'heard'
  return true
}

function wordOf(result: AttemptResult): string {
  return result.kind === 'response' ? `HTTP ${result.status}` : `${result.kind} ${result.reason}`
}

/** Whether the time came; not when the daemon gave up on it before. */
function hears(latencyMs: number, signal: AbortSignal, life: Life, world: Surroundings): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false)
  world.hasLeft(life, latencyMs)
  return new Promise((resolve) => {
    const callOff = world.time.reach(life, latencyMs, () => resolve(true))
    signal.addEventListener('abort', () => {
      callOff()
      resolve(false)
    })
  })
}
