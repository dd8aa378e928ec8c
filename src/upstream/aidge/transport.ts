/** One HTTP request over undici, as a value: what was received, or why nothing was. */

import type { IncomingHttpHeaders } from 'node:http'
import { type Dispatcher, Pool } from 'undici'
import { SECOND } from '../../core/time.ts'
import type { Deadline } from './deadline.ts'
import { type Failure, failureOf } from './failure.ts'

export interface Request {
  readonly method: 'POST' | 'GET'
  /** With the signed query string: a credential. */
  readonly path: string
  readonly body: string | null
}

export interface Received {
  readonly kind: 'received'
  readonly httpStatus: number
  readonly retryAfter: string | null
  readonly date: string | null
  readonly bytes: Buffer
}

export interface Transport {
  /** Never rejects. Null when the deadline ended it, which it does by itself, whatever becomes of the request. */
  send(request: Request, deadline: Deadline): Promise<Received | Failure | null>
  /** Ends what is under way. */
  close(): Promise<void>
}

export interface TransportOptions {
  readonly origin: string
  readonly timeoutMs: number
  readonly bytesMax: number
  readonly connectionsMax: number
  readonly headers: Readonly<Record<string, string>>
}

export function openTransport(options: TransportOptions): Transport {
  const pool = newPool(options)
  const headers = {
    accept: 'application/json',
    // Nothing here decompresses, so a small answer cannot become a large one.
    'accept-encoding': 'identity',
    'content-type': 'application/json',
    ...options.headers,
  }

  function send({ method, path, body }: Request, deadline: Deadline): Promise<Received | Failure | null> {
    return new Promise((resolve) => {
      const exchange = receive(resolve)
      deadline.onEnd(() => {
        resolve(null)
        exchange.abort()
      })
      try {
        // `dispatch` follows no redirects, unlike `fetch`: another host must not get the signature. Nor does `request`, but
        // it makes a stream of each answer and listens to a signal for each query.
        pool.dispatch({ method, path, body, headers }, exchange.handler)
      } catch (error) {
        resolve(failureOf(error))
      }
    })
  }

  return { send, close: () => pool.destroy() }
}

/** Gathers an answer as undici hands it over. What comes after the end of it does nothing: a promise resolves once. */
function receive(resolve: (received: Received | Failure) => void): {
  readonly handler: Dispatcher.DispatchHandler
  abort(): void
} {
  let controller: Dispatcher.DispatchController | null = null
  let isAborted = false
  let httpStatus = 0
  let headers: IncomingHttpHeaders = {}
  const chunks: Buffer[] = []
  function abort(): void {
    isAborted = true
    controller?.abort(new Error('the deadline ended the request'))
  }
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      controller = started
      // It was waiting for a connection, where undici has no way to call it off.
      if (isAborted) abort()
    },
    // Also of 103 Early Hints and its like; the answer comes after them.
    onResponseStart(_controller, status, came) {
      httpStatus = status
      headers = came
    },
    // For every status: an unread body blocks its connection, and a 4xx may say why in its body.
    onResponseData: (_controller, chunk) => void chunks.push(chunk),
    onResponseEnd() {
      const { 'retry-after': retryAfter, date } = headers
      resolve({
        kind: 'received',
        httpStatus,
        retryAfter: first(retryAfter),
        date: first(date),
        bytes: joined(chunks),
      })
    },
    // Of every kind: beside its own errors undici lets assertion errors through, for a status of 099 for one.
    onResponseError: (_controller, error) => resolve(failureOf(error)),
  }
  return { handler, abort }
}

/** Most answers come in one piece, which needs no copy. */
function joined(chunks: readonly Buffer[]): Buffer {
  const [only] = chunks
  return only !== undefined && chunks.length === 1 ? only : Buffer.concat(chunks)
}

function newPool({ origin, timeoutMs, bytesMax, connectionsMax }: TransportOptions): Pool {
  return new Pool(origin, {
    connections: connectionsMax,
    pipelining: 1,
    // From undici 8 on it would be true, and many queries would share one connection and its fate.
    allowH2: false,
    keepAliveTimeout: 4 * SECOND,
    keepAliveMaxTimeout: 30 * SECOND,
    // The deadline ends it all. undici's own would start anew with every chunk, and each of them stays in a list for half
    // a second after it was taken back.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: bytesMax,
    connect: { timeout: timeoutMs, minVersion: 'TLSv1.2' },
  })
}

function first(header: string | string[] | undefined): string | null {
  return (Array.isArray(header) ? header[0] : header) ?? null
}
