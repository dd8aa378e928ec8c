/** The real engine and the real store between a scripted upstream and scripted receivers, on a virtual clock. */

import { setMaxListeners } from 'node:events'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import type { AnswerBody, Observation, UpstreamAnswer } from '../../src/core/observation.ts'
import { classify } from '../../src/core/observation.ts'
import { RETRY_SCHEDULE_MS } from '../../src/core/retry.ts'
import { parseSecret } from '../../src/core/signature.ts'
import type { DueTask } from '../../src/core/task.ts'
import { after, DAY, type EpochMs, HOUR, SECOND } from '../../src/core/time.ts'
import { createEngine, type Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { RegistrationInput } from '../../src/engine/register.ts'
import type { Exchange, Log, NewId, Post, PostRequest, Upstream } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Store, Task } from '../../src/store/store.ts'
import { likeAThread } from './like-a-thread.ts'
import { aDirectory, countingIds } from './store.ts'
import { createVirtualClock, type VirtualClock } from './virtual-clock.ts'

export const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='
export const KEY = parseSecret(SECRET)!

export interface Asked {
  readonly taskId: string
  readonly at: EpochMs
}

export interface Posted extends PostRequest {
  readonly at: EpochMs
}

export interface World {
  /** The database file. */
  readonly path: string
  readonly clock: VirtualClock
  readonly asked: readonly Asked[]
  readonly posted: readonly Posted[]
  /** Most queries about one task, and in all, that were under way at one time. */
  readonly peak: { perTask: number; queries: number; posts: number }
  readonly logged: readonly Record<string, unknown>[]
  store(): Store
  engine(): Engine
  register(input: Partial<RegistrationInput> & { taskId: string }): Promise<Task>
  /** The daemon ends as a crash ends it: nothing more is written, nothing is waited for. Another one starts. */
  crash(): Promise<void>
  stop(graceMs?: number): Promise<void>
}

export interface WorldScript {
  /** The upstream's answer about a task, after `latencyMs`; null never answers. */
  readonly answer?: (task: DueTask, at: EpochMs, nth: number) => UpstreamAnswer | null
  readonly answerMs?: number
  /** The receiver's answer to a POST; null never answers. */
  readonly receive?: (request: PostRequest, nth: number) => AttemptResult | null
  readonly receiveMs?: number | ((url: string) => number)
  readonly options?: Partial<EngineOptions>
  /** The store is as far away as one in a thread of its own. */
  readonly isBehindThread?: boolean
}

export const OPTIONS: EngineOptions = {
  pollConcurrency: 16,
  budget: { rate: 100 },
  cadence: { intervalMinMs: SECOND, intervalMaxMs: 60 * SECOND, pollCostMs: SECOND / 2 },
  taskDeadlineMs: DAY,
  pollLeaseMs: 90 * SECOND,
  deliveryConcurrency: 64,
  endpointConcurrency: 8,
  deliveryDeadlineMs: 20 * SECOND,
  deliveryLeaseMs: 50 * SECOND,
  retryScheduleMs: RETRY_SCHEDULE_MS,
  retentionMs: 30 * DAY,
  // Virtual days would be full of ticks that find nothing.
  idleMs: HOUR,
  probeEveryMs: HOUR,
}

export function answerBody(overrides: Partial<AnswerBody> = {}): AnswerBody {
  return {
    gatewayCode: null,
    gatewayType: null,
    gatewayMessage: null,
    success: true,
    resCode: '200',
    resMessage: 'success',
    taskStatus: 'finished',
    taskMessage: null,
    echoedTaskId: null,
    failedItemCount: 0,
    images: [],
    requestId: 'r-1',
    response: '{"taskStatus":"finished"}',
    responseTruncated: false,
    ...overrides,
  }
}

export function answered(overrides: Partial<AnswerBody> = {}, httpStatus = 200): UpstreamAnswer {
  return { kind: 'answer', httpStatus, retryAfterMs: null, body: answerBody(overrides) }
}

export const RUNNING: UpstreamAnswer = answered({ taskStatus: 'running' })
export const FINISHED: UpstreamAnswer = answered()
export const NO_CONTENT: AttemptResult = { kind: 'response', status: 204, retryAfter: null }

export function createWorld(script: WorldScript = {}): World {
  const clock = createVirtualClock()
  const newId = countingIds()
  const path = join(aDirectory(), 'world.db')
  const asked: Asked[] = []
  const posted: Posted[] = []
  const logged: Record<string, unknown>[] = []
  const peak = { perTask: 0, queries: 0, posts: 0 }
  const log = collectingLog(logged)
  const { answer = () => FINISHED, receive = () => NO_CONTENT, answerMs = 20, receiveMs = 10 } = script
  let life = startLife()

  function startLife() {
    const abort = new AbortController()
    setMaxListeners(0, abort.signal)
    const opened = openSqliteStore({ path, clock, newId, onDamaged: failTest })
    const store = script.isBehindThread === true ? likeAThread(opened, clock) : opened
    const upstream = scriptedUpstream(answer, answerMs, { clock, asked, peak, life: abort.signal })
    const post = scriptedPost(receive, receiveMs, { clock, posted, peak, life: abort.signal })
    const engine = createEngine(
      {
        store,
        upstream,
        post,
        clock,
        newId: newId as NewId,
        random: () => 0.5,
        log,
        signingKeys: [KEY],
        guardUrl: (text) => ({ isAllowed: true, url: new URL(text).href }),
      },
      { ...OPTIONS, ...script.options },
    )
    engine.start()
    return { store, engine, abort }
  }

  async function stop(graceMs = 25 * SECOND): Promise<void> {
    let isStopped = false
    const done = life.engine.stop(graceMs).then(() => {
      isStopped = true
    })
    // Time has to pass for what is under way to end.
    for (let step = 0; !isStopped && step < 200; step += 1) await clock.runFor(SECOND)
    await done
    await life.store.close()
  }

  onTestFinished(async () => {
    life.abort.abort()
    await life.store.close().catch(() => {})
  })

  return {
    path,
    clock,
    asked,
    posted,
    peak,
    logged,
    store: () => life.store,
    engine: () => life.engine,
    async register(input) {
      const registering = life.engine.registrar.register([{ callbackUrl: 'https://shop.example/hooks', ...input }])
      await clock.settle()
      const [result] = await registering
      if (result?.ok !== true) throw new Error(`not registered: ${JSON.stringify(result)}`)
      return result.task
    },
    async crash() {
      // Answers that are on their way belong to the dead daemon: they never arrive.
      life.abort.abort()
      void life.engine.stop(0)
      await life.store.close()
      clock.restart()
      life = startLife()
      await clock.settle()
    },
    stop,
  }
}

interface Surroundings {
  readonly clock: VirtualClock
  readonly peak: World['peak']
  readonly life: AbortSignal
}

function scriptedUpstream(
  answer: NonNullable<WorldScript['answer']>,
  latencyMs: number,
  { clock, asked, peak, life }: Surroundings & { asked: Asked[] },
): Upstream {
  const underWay = new Map<string, number>()
  return {
    idsPerQuery: () => 1,
    credentialOf: () => 'aidge',
    kinds: () => ['virtual-model-generation', 'virtual-tryon'],
    async query(tasks, signal) {
      const task = tasks[0]!
      const askedAt = clock.now()
      asked.push({ taskId: task.taskId, at: askedAt })
      const nth = asked.filter((one) => one.taskId === task.taskId).length
      underWay.set(task.taskId, (underWay.get(task.taskId) ?? 0) + 1)
      peak.perTask = Math.max(peak.perTask, underWay.get(task.taskId) ?? 0)
      peak.queries = Math.max(
        peak.queries,
        [...underWay.values()].reduce((a, b) => a + b, 0),
      )
      const said = answer(task, askedAt, nth)
      const isHeard = await untilLater(clock, said === null ? HOUR : latencyMs, signal, life)
      underWay.set(task.taskId, (underWay.get(task.taskId) ?? 1) - 1)
      if (!isHeard || said === null) return { answers: [], queryCount: 1 }
      const observation: Observation = classify(said, task.taskId)
      const httpStatus = said.kind === 'answer' ? said.httpStatus : null
      return {
        answers: [{ task, observation, askedAt, answeredAt: clock.now(), httpStatus, requestId: null }],
        queryCount: 1,
      }
    },
  }
}

function scriptedPost(
  receive: NonNullable<WorldScript['receive']>,
  receiveMs: NonNullable<WorldScript['receiveMs']>,
  { clock, posted, peak, life }: Surroundings & { posted: Posted[] },
): Post {
  let underWay = 0
  return async (request, signal): Promise<Exchange> => {
    posted.push({ ...request, at: clock.now() })
    underWay += 1
    peak.posts = Math.max(peak.posts, underWay)
    const startedAt = clock.now()
    const said = receive(request, posted.filter((one) => one.url === request.url).length)
    const latencyMs = typeof receiveMs === 'number' ? receiveMs : receiveMs(request.url)
    const isHeard = await untilLater(clock, said === null ? request.deadlineMs : latencyMs, signal, life)
    underWay -= 1
    const result: AttemptResult = !isHeard
      ? { kind: 'own_fault', reason: 'shutdown', detail: 'stopping' }
      : (said ?? { kind: 'no_response', reason: 'timeout', detail: 'silent' })
    const timings = { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null }
    const none = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null, timings }
    return { result, durationMs: clock.now() - startedAt, ...none }
  }
}

/** Whether the time came; not when the daemon gave up on it. A daemon that crashed never hears anything. */
function untilLater(clock: VirtualClock, ms: number, signal: AbortSignal, life: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const callOff = clock.wakeAt(after(clock.now(), ms), () => resolve(true))
    life.addEventListener('abort', callOff)
    signal.addEventListener('abort', () => {
      callOff()
      if (!life.aborted) resolve(false)
    })
  })
}

function collectingLog(lines: Record<string, unknown>[]): Log {
  const at = (level: string) => (fields: Record<string, unknown>, message: string) => {
    lines.push({ level, ...fields, message })
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function failTest(error: Error): never {
  throw error
}
