/**
 * A webhook receiver that checks every signature, remembers every request, and misbehaves when told to.
 *
 * What it does with a request is a behaviour: chosen by a function, or by a script for its path whose n-th entry is for
 * the n-th attempt at this event on this path (the last entry stays). Told nothing, it answers 204 to what is genuine
 * and 400 to what is not.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type HmacKey, parseSecret } from '../core/signature.ts'
import { SECOND } from '../core/time.ts'
import { answerLater, type ListenOptions, listen, readBody, resetConnection, writeEndlessly } from './listen.ts'
import { type RejectionReason, verify } from './verification.ts'

export interface Received {
  readonly method: string
  /** With the query string, if there was one. */
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly isVerified: boolean
  /** Null when the signature is right. */
  readonly rejection: RejectionReason | null
  /** Null when the header is missing. */
  readonly webhookId: string | null
  /** From 1, of this webhook-id on this path; a request without an id is the first of its own. */
  readonly attemptNumber: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

export type Behaviour =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    }
  | { readonly kind: 'delay'; readonly delayMs: number; readonly next: Behaviour }
  | { readonly kind: 'hang' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'redirect'; readonly location: string; readonly status?: number }
  /** A body that never stops coming after its status line. */
  | { readonly kind: 'endless'; readonly status?: number }

/** Null leaves it to the receiver: 204 or 400. */
export type Behave = (request: Received, attemptNumber: number) => Behaviour | null

export interface ReceiverOptions extends ListenOptions {
  /** `whsec_…`; any of them makes a signature genuine. More can be trusted later. */
  readonly secrets?: readonly string[]
  readonly timestampToleranceMs?: number
  readonly now?: () => number
  readonly behave?: Behave
  /** By path without the query string; asked before `behave`. */
  readonly scripts?: Readonly<Record<string, readonly Behaviour[]>>
  /** How many requests are remembered at most; the older half goes when there are more. */
  readonly receivedMax?: number
}

export interface Receiver {
  /** Without a path: any path will do. */
  readonly url: string
  /** Grows as requests arrive, in their order. */
  readonly received: readonly Received[]
  /** The ids of genuine events, each once however often it came. */
  readonly eventIds: ReadonlySet<string>
  /** Accepts this secret's signatures too. Throws a RangeError when the text is no secret. */
  trust(secret: string): void
  /** The first request that matches, of those that came and those to come. Rejects after `timeoutMs`, and on close. */
  next(predicate: (request: Received) => boolean, timeoutMs?: number): Promise<Received>
  close(): Promise<void>
}

const BODY_BYTES_MAX = 32 * 1024 * 1024
const RECEIVED_MAX = 100_000
const NEXT_TIMEOUT_MS = 10 * SECOND

interface Waiter {
  readonly offer: (request: Received) => void
  readonly reject: (error: Error) => void
}

/** Rejects when the address cannot be listened on, or a secret is none. */
export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const keys = (options.secrets ?? []).map(readSecret)
  const received: Received[] = []
  const eventIds = new Set<string>()
  const waiters = new Set<Waiter>()
  const attemptCounts = new Map<string, number>()

  const countAttempt = (webhookId: string | null, path: string): number => {
    if (webhookId === null) return 1
    const key = `${webhookId} ${path}`
    const attemptNumber = (attemptCounts.get(key) ?? 0) + 1
    attemptCounts.set(key, attemptNumber)
    return attemptNumber
  }
  const remember = (request: Received) => {
    received.push(request)
    if (received.length > (options.receivedMax ?? RECEIVED_MAX)) received.splice(0, Math.ceil(received.length / 2))
    if (request.isVerified && request.webhookId !== null) eventIds.add(request.webhookId)
    for (const waiter of waiters) waiter.offer(request)
  }
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await readBody(request, BODY_BYTES_MAX)
    if (body === null) {
      response.destroy()
      return
    }
    const now = (options.now ?? Date.now)()
    const one = readRequest({ request, body, keys, now, options, countAttempt })
    remember(one)
    behave(response, behaviourFor(options, one))
  }

  const listening = await listen(options, (request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  return {
    url: listening.url,
    received,
    eventIds,
    trust: (secret) => {
      keys.push(readSecret(secret))
    },
    next: async (predicate, timeoutMs = NEXT_TIMEOUT_MS) => {
      const known = received.find(predicate)
      return known ?? (await waitFor(waiters, predicate, timeoutMs, received))
    },
    close: async () => {
      for (const waiter of waiters) waiter.reject(new Error('the receiver was closed before such a request came'))
      await listening.close()
    },
  }
}

function readSecret(text: string): HmacKey {
  const key = parseSecret(text)
  // The text stays out of the message: it may be a secret with a typing error.
  if (key === null) throw new RangeError('secret: expected whsec_ and base64 of 24 to 64 bytes, got something else')
  return key
}

interface ReadInput {
  readonly request: IncomingMessage
  readonly body: Buffer
  readonly keys: readonly HmacKey[]
  readonly now: number
  readonly options: ReceiverOptions
  readonly countAttempt: (webhookId: string | null, path: string) => number
}

function readRequest({ request, body, keys, now, options, countAttempt }: ReadInput): Received {
  const { timestampToleranceMs } = options
  const verification = verify({
    headers: request.headers,
    body,
    keys,
    now,
    ...(timestampToleranceMs === undefined ? {} : { toleranceMs: timestampToleranceMs }),
  })
  const headers = flatHeaders(request)
  const webhookId = headers['webhook-id'] ?? null
  const path = request.url ?? '/'
  return {
    method: request.method ?? '',
    path,
    headers,
    body: body.toString('utf8'),
    isVerified: verification.isVerified,
    rejection: verification.isVerified ? null : verification.reason,
    webhookId,
    attemptNumber: countAttempt(webhookId, pathAlone(path)),
    at: now,
  }
}

function flatHeaders(request: IncomingMessage): Readonly<Record<string, string>> {
  const entries = Object.entries(request.headers).filter((entry) => entry[1] !== undefined)
  return Object.fromEntries(
    entries.map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : `${value}`]),
  )
}

function pathAlone(path: string): string {
  return path.split('?', 1)[0] ?? path
}

function behaviourFor(options: ReceiverOptions, request: Received): Behaviour {
  const path = pathAlone(request.path)
  const script = Object.hasOwn(options.scripts ?? {}, path) ? options.scripts?.[path] : undefined
  const scripted = script?.[Math.min(request.attemptNumber, script.length) - 1]
  const fallback: Behaviour = { kind: 'answer', status: request.isVerified ? 204 : 400 }
  return scripted ?? options.behave?.(request, request.attemptNumber) ?? fallback
}

function behave(response: ServerResponse, behaviour: Behaviour): void {
  switch (behaviour.kind) {
    case 'answer':
      response.writeHead(behaviour.status, { ...behaviour.headers })
      response.end(behaviour.body ?? '')
      break
    case 'delay':
      answerLater(response, behaviour.delayMs, () => behave(response, behaviour.next))
      break
    case 'redirect':
      response.writeHead(behaviour.status ?? 307, { location: behaviour.location })
      response.end()
      break
    case 'endless':
      response.writeHead(behaviour.status ?? 200, { 'content-type': 'text/plain' })
      writeEndlessly(response)
      break
    case 'reset':
      resetConnection(response)
      break
    case 'hang':
      break
  }
}

function waitFor(
  waiters: Set<Waiter>,
  predicate: (request: Received) => boolean,
  timeoutMs: number,
  received: readonly Received[],
): Promise<Received> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      waiters.delete(waiter)
      finish()
    }
    const waiter: Waiter = {
      offer: (request) => {
        try {
          if (predicate(request)) settle(() => resolve(request))
        } catch (error) {
          // A predicate that stumbles over a request is the waiting test's failure, not the sender's.
          settle(() => reject(error))
        }
      },
      reject: (error) => settle(() => reject(error)),
    }
    const timer = setTimeout(() => {
      const text = `no matching request within ${timeoutMs} ms; ${received.length} others came`
      waiter.reject(new Error(text))
    }, timeoutMs)
    waiters.add(waiter)
  })
}
