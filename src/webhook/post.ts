/**
 * Sends one POST to a receiver and says what came of it.
 *
 * An exchange ends exactly once, by whichever comes first: the end of the answer, an error, the deadline, or an abort.
 * From the status line on its result is certain; the body is only read for a person to see. One timer holds for the
 * whole of it (look-up, connection, TLS, answer), and it settles the promise itself before anything is closed, so that
 * no state of a socket or of undici can keep an attempt open.
 */

import type { AttemptResult } from '../core/delivery.ts'
import { createRoll, type Roll } from '../core/roll.ts'
import type { Exchange, Post, PostRequest } from '../ports.ts'
import type { AddressGuard } from './address-guard.ts'
import { type Answer, createAnswer } from './answer.ts'
import { type Connection, type Connections, createConnections } from './connections.ts'
import { createDial } from './dial.ts'
import { type FailureContext, failureOf } from './failure.ts'
import { remembered } from './remembered.ts'
import { sendRequest, type Target, targetOf } from './send.ts'
import { createWitness } from './witness.ts'

export interface PostOptions {
  readonly guard: AddressGuard
  /** Sockets in all, as far as open exchanges leave a choice: idle ones give way. */
  readonly connectionsMax: number
  readonly userAgent: string
  /** PEM certificates to trust instead of the system's. */
  readonly trustedCertificates?: readonly string[]
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number
}

/** How long a body may take once the result is certain. */
const BODY_MS_MAX = 1_000
/** `setTimeout` fires at once for more than this. */
const TIMER_MS_MAX = 2_147_483_647

/** Of URLs that are posted to again and again. */
const TARGET_COUNT_MAX = 1_000

const SHUTDOWN: AttemptResult = { kind: 'own_fault', reason: 'shutdown', detail: 'we were told to stop' }

/** `close` ends open exchanges as `shutdown` and closes every socket. */
export function createPost(options: PostOptions): { post: Post; close(): Promise<void> } {
  const { guard, connectionsMax, userAgent, now = () => performance.now() } = options
  const names = createWitness(now)
  const hosts = createWitness(now)
  const dial = createDial({
    guard,
    trustedCertificates: options.trustedCertificates ?? null,
    onResolved: names.saw,
    onConnected: hosts.saw,
  })
  const connections = createConnections({ dial, connectionsMax, now })
  const target = remembered(TARGET_COUNT_MAX, targetOf)
  const openExchanges: World['openExchanges'] = createRoll()
  const watchedSignals = new WeakSet<AbortSignal>()
  /** One listener however many exchanges share the signal: Node warns of a leak at the eleventh. */
  function watch(signal: AbortSignal): void {
    if (watchedSignals.has(signal)) return
    watchedSignals.add(signal)
    signal.addEventListener('abort', () => abortOpen((own) => own === signal), { once: true })
  }
  function abortOpen(isMeant: (signal: AbortSignal) => boolean): void {
    for (const { abort, signal } of openExchanges.members()) if (isMeant(signal)) abort()
  }
  const world: World = {
    connections,
    userAgent,
    now,
    openExchanges,
    contextFor: (host) => ({
      isDnsWorking: names.sawAnotherThan(host),
      isNetworkWorking: hosts.sawAnotherThan(host),
    }),
  }
  let isClosed = false
  return {
    async post(request, signal) {
      const verdict = guard.judgeUrl(request.url)
      if (!verdict.isAllowed) return withoutAnswer(blocked(verdict.message), NOT_SENT)
      if (isClosed || signal.aborted) return withoutAnswer(SHUTDOWN, NOT_SENT)
      watch(signal)
      return exchange(world, request, target(verdict.url), signal)
    },
    async close() {
      isClosed = true
      abortOpen(() => true)
      connections.close()
    },
  }
}

interface World {
  readonly connections: Connections
  readonly userAgent: string
  readonly now: () => number
  /** How to abort each exchange that has not ended, and the signal that asks for it. */
  readonly openExchanges: Roll<{ readonly abort: () => void; readonly signal: AbortSignal }>
  readonly contextFor: (host: string) => FailureContext
}

function exchange(world: World, request: PostRequest, target: Target, signal: AbortSignal): Promise<Exchange> {
  return new Promise((resolve) => {
    const startedAt = world.now()
    let connection: Connection | null = null
    let answer: Answer | null = null
    let answerMs: number | null = null
    let timer = setTimeout(onTimer, Math.min(request.deadlineMs, TIMER_MS_MAX))
    const leave = world.openExchanges.enter({ abort: onAbort, signal })
    send(world.connections.take(target.origin))

    function send(used: Connection): void {
      connection = used
      sendRequest({ connection: used, target, request, userAgent: world.userAgent, now: world.now }, (event) => {
        if (connection !== used) return
        switch (event.kind) {
          case 'status':
            return onStatus(createAnswer(event.status, event.headers))
          case 'body':
            return answer?.add(event.chunk) === false ? endAnswered(answer, false) : undefined
          case 'end':
            return answer === null ? undefined : endAnswered(answer, true)
          case 'raced':
            send(world.connections.takeFresh(target.origin))
            return used.destroy()
          case 'error':
            return endWith(failureOf(event.error, world.contextFor(target.hostname)))
        }
      })
    }

    function onStatus(came: Answer): void {
      answer = came
      answerMs = elapsedMs() - openingMs()
      // Most answers are whole in the same turn and need no timer of their own, which would cost more than to ask again.
      queueMicrotask(() => {
        if (connection !== null) limitBody()
      })
    }
    function limitBody(): void {
      clearTimeout(timer)
      timer = setTimeout(onTimer, Math.max(0, Math.min(BODY_MS_MAX, request.deadlineMs - elapsedMs())))
    }
    function onTimer(): void {
      endWith({ kind: 'no_response', reason: 'timeout', detail: `no answer within ${request.deadlineMs} ms` })
    }
    function onAbort(): void {
      endWith(SHUTDOWN)
    }

    /** Once a status line is there, nothing that happens after it changes the result. */
    function endWith(failure: AttemptResult): void {
      if (answer === null) {
        resolve(withoutAnswer(failure, facts()))
        letGo(false)
      } else endAnswered(answer, false)
    }
    function endAnswered(came: Answer, isWhole: boolean): void {
      resolve(withAnswer(came, isWhole, facts()))
      letGo(isWhole)
    }
    function letGo(isReusable: boolean): void {
      clearTimeout(timer)
      leave()
      const used = connection
      // From here on every event of this connection is somebody else's.
      connection = null
      if (isReusable) used?.release()
      else used?.destroy()
    }
    function elapsedMs(): number {
      return Math.round(world.now() - startedAt)
    }
    function openingMs(): number {
      const { dnsMs, connectMs, tlsMs } = connection?.openingTimes() ?? NO_TIMINGS
      return (dnsMs ?? 0) + (connectMs ?? 0) + (tlsMs ?? 0)
    }
    function facts(): Facts {
      // Spread and added to, an object takes Node a microsecond to make.
      const { dnsMs, connectMs, tlsMs } = connection?.openingTimes() ?? NO_TIMINGS
      const timings = { dnsMs, connectMs, tlsMs, answerMs }
      return { durationMs: elapsedMs(), remoteAddress: connection?.remoteAddress() ?? null, timings }
    }
  })
}

type Facts = Pick<Exchange, 'durationMs' | 'remoteAddress' | 'timings'>

const NO_TIMINGS = { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null }
const NOT_SENT: Facts = { durationMs: 0, remoteAddress: null, timings: NO_TIMINGS }

function blocked(detail: string): AttemptResult {
  return { kind: 'no_response', reason: 'blocked_address', detail }
}

function withoutAnswer(result: AttemptResult, facts: Facts): Exchange {
  return { result, responseExcerpt: null, responseTruncated: false, responseHeaders: {}, ...facts }
}

function withAnswer(answer: Answer, isWhole: boolean, facts: Facts): Exchange {
  const { text, isTruncated } = answer.excerpt(isWhole)
  return {
    result: { kind: 'response', status: answer.status, retryAfter: answer.retryAfter },
    responseExcerpt: text,
    responseTruncated: isTruncated,
    responseHeaders: answer.headers,
    ...facts,
  }
}
