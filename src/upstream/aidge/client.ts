/**
 * Aidge as an `Upstream`: signs a query, sends it, reads the answer and lets the rules classify it.
 *
 * What it keeps in memory may be lost at any time: open sockets, and how far the upstream's clock is from ours.
 */

import { assert } from '../../core/errors.ts'
import { classify, type Observation, type UpstreamAnswer } from '../../core/observation.ts'
import { parseRetryAfter } from '../../core/retry.ts'
import type { DueTask } from '../../core/task.ts'
import { type EpochMs, SECOND } from '../../core/time.ts'
import type { Answered, Clock, Log, Upstream } from '../../ports.ts'
import { readAnswer } from './answer.ts'
import { createDeadlines, type Deadline } from './deadline.ts'
import type { Failure } from './failure.ts'
import { AIDGE_KINDS, type AidgeKind } from './kinds.ts'
import { restRoot, signQuery } from './sign.ts'
import { openTransport, type Received, type Request } from './transport.ts'
import { createUpstreamClock } from './upstream-clock.ts'

export interface AidgeCredential {
  /** What Ringback calls it: the unit of rate, throttling and pausing. */
  readonly name: string
  /** With or without `/rest` at its end. */
  readonly baseUrl: string
  readonly accessKeyName: string
  readonly accessKeySecret: string
  /** Uses the free trial quota. Whether queries need it is not documented: one setting for all calls of a credential. */
  readonly trial: boolean
}

export interface AidgeUpstreamOptions {
  readonly clock: Pick<Clock, 'now' | 'wall'>
  readonly log?: Log | undefined
  readonly credential: AidgeCredential
  /** Of several with one name the last counts. */
  readonly kinds?: readonly AidgeKind[]
  /** From the first look-up to the last byte of the answer, a second try included. The vendor's own maximum is 30 s. */
  readonly timeoutMs?: number
  readonly bytesMax?: number
  /** At least as many as queries are made at once: undici would queue the rest while their deadline runs. */
  readonly connectionsMax?: number
  readonly userAgent: string
}

export const TIMEOUT_MS_DEFAULT = 30 * SECOND
export const BYTES_MAX_DEFAULT = 8 * 1024 * 1024
const CONNECTIONS_MAX_DEFAULT = 256
/** Taking shorter ones out of an answer would hit words that are no secrets. */
const SECRET_CHARS_MIN = 8

interface Heard {
  readonly answer: UpstreamAnswer
  readonly observation: Observation
  readonly answeredAt: EpochMs
  readonly date: string | null
}

export function createAidgeUpstream(options: AidgeUpstreamOptions): Upstream & { close(): Promise<void> } {
  const { clock, credential, timeoutMs = TIMEOUT_MS_DEFAULT } = options
  const kindByName = new Map((options.kinds ?? AIDGE_KINDS).map((kind) => [kind.name, kind]))
  const root = restRoot(credential.baseUrl)
  const transport = openTransport({
    origin: root.origin,
    timeoutMs,
    bytesMax: options.bytesMax ?? BYTES_MAX_DEFAULT,
    connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX_DEFAULT,
    headers: { 'user-agent': options.userAgent, ...(credential.trial ? { 'x-iop-trial': 'true' } : {}) },
  })
  const lastingSecrets = [credential.accessKeySecret, `app_key=${credential.accessKeyName}`]
    .filter((text) => text.length >= SECRET_CHARS_MIN)
    .map((text) => Buffer.from(text).toString('latin1'))
  const deadlines = createDeadlines(timeoutMs)
  let isClosed = false
  const upstreamClock = createUpstreamClock(clock.wall, options.log)

  async function ask(task: DueTask, kind: AidgeKind, deadline: Deadline): Promise<Heard> {
    const { accessKeyName, accessKeySecret } = credential
    const { query, sign } = signQuery({ accessKeyName, accessKeySecret, timestamp: upstreamClock.now() })
    const secrets = [sign, sign.toLowerCase(), ...lastingSecrets]
    const request = requestOf(kind, task.taskId, `${root.path}${kind.queryPath}?${query}`)
    const received = (await transport.send(request, deadline)) ?? timedOut(timeoutMs)
    const answeredAt = clock.now()
    const answer = answerOf(received, secrets, clock.wall())
    const date = received.kind === 'received' ? received.date : null
    upstreamClock.compare(date)
    return { answer, observation: classify(answer, task.taskId), answeredAt, date }
  }

  async function askWithRightClock(
    task: DueTask,
    kind: AidgeKind,
    deadline: Deadline,
  ): Promise<{ heard: Heard; queryCount: number }> {
    const heard = await ask(task, kind, deadline)
    const { observation } = heard
    const isClockSkew = observation.kind === 'refused' && observation.isClockSkew
    if (!isClockSkew || deadline.how() !== null || !upstreamClock.follow(heard.date)) return { heard, queryCount: 1 }
    return { heard: await ask(task, kind, deadline), queryCount: 2 }
  }

  async function query(
    tasks: readonly DueTask[],
    signal: AbortSignal,
  ): Promise<{ answers: readonly Answered[]; queryCount: number }> {
    assert(tasks.length <= 1, `a query about Aidge tasks carries one id, got ${tasks.length}`)
    const [task] = tasks
    if (task === undefined || signal.aborted || isClosed) return { answers: [], queryCount: 0 }
    const askedAt = clock.now()
    const kind = kindByName.get(task.kind)
    if (kind === undefined) return { answers: [unknownKind(task, askedAt)], queryCount: 0 }
    const deadline = deadlines.start(signal)
    try {
      const { heard, queryCount } = await askWithRightClock(task, kind, deadline)
      if (deadline.how() === 'given_up' && heard.answer.kind === 'no_answer') return { answers: [], queryCount }
      return { answers: [answeredOf(task, askedAt, heard)], queryCount }
    } finally {
      deadline.release()
    }
  }

  return {
    idsPerQuery: (kind) => kindByName.get(kind)?.idsPerQuery ?? null,
    credentialOf: () => credential.name,
    kinds: () => [...kindByName.keys()],
    query,
    async close() {
      isClosed = true
      deadlines.giveUpAll()
      await transport.close()
    },
  }
}

function requestOf({ method, idParameter }: AidgeKind, id: string, path: string): Request {
  if (method === 'POST') return { method, path, body: JSON.stringify({ [idParameter]: id }) }
  return { method, path: `${path}&${idParameter}=${encodeURIComponent(id)}`, body: null }
}

function answerOf(received: Received | Failure, secrets: readonly string[], wall: EpochMs): UpstreamAnswer {
  if (received.kind === 'no_answer') return received
  return {
    kind: 'answer',
    httpStatus: received.httpStatus,
    retryAfterMs: parseRetryAfter(received.retryAfter, wall),
    body: readAnswer(withoutCredentials(received.bytes, secrets)),
  }
}

/**
 * Gateways like to quote the request in their error texts, and ours is a credential. What an answer says goes into the
 * store, to receivers and to logs, so it is taken out before anything is read. All of it is read as Latin-1, which keeps
 * a character for each byte.
 */
function withoutCredentials(bytes: Buffer, secrets: readonly string[]): Buffer {
  const text = bytes.toString('latin1')
  const quoted = secrets.filter((secret) => text.includes(secret))
  if (quoted.length === 0) return bytes
  return Buffer.from(
    quoted.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), text),
    'latin1',
  )
}

function timedOut(timeoutMs: number): Failure {
  return { kind: 'no_answer', reason: 'timeout', detail: `no whole answer within ${timeoutMs} ms` }
}

function answeredOf(task: DueTask, askedAt: EpochMs, { answer, observation, answeredAt }: Heard): Answered {
  const isAnswer = answer.kind === 'answer'
  return {
    task,
    observation,
    askedAt,
    answeredAt,
    httpStatus: isAnswer ? answer.httpStatus : null,
    requestId: isAnswer ? (answer.body?.requestId ?? null) : null,
  }
}

/** A kind that was taken out of the configuration while tasks of it were pending: an operator's matter, no failure. */
function unknownKind(task: DueTask, now: EpochMs): Answered {
  const detail = `no kind "${task.kind}" is configured: add it again, or cancel the task`
  const observation = { kind: 'unavailable', reason: 'unknown_kind', detail } as const
  return { task, observation, askedAt: now, answeredAt: now, httpStatus: null, requestId: null }
}
