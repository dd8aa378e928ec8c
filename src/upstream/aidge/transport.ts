/** One HTTP request over undici, as a value: what was received, or why nothing was. */

import { Agent } from 'undici'
import { SECOND } from '../../core/time.ts'
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
  /** Never rejects. */
  send(request: Request, signal: AbortSignal): Promise<Received | Failure>
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
  const agent = newAgent(options)
  const headers = {
    accept: 'application/json',
    // Nothing here decompresses, so a small answer cannot become a large one.
    'accept-encoding': 'identity',
    'content-type': 'application/json',
    ...options.headers,
  }

  async function send({ method, path, body }: Request, signal: AbortSignal): Promise<Received | Failure> {
    try {
      // `request` follows no redirects, unlike `fetch`: another host must not get the signature.
      const response = await agent.request({ origin: options.origin, method, path, body, headers, signal })
      // Read for every status: an unread body blocks its connection, and a 4xx may say why in its body.
      const bytes = Buffer.from(await response.body.arrayBuffer())
      const { 'retry-after': retryAfter, date } = response.headers
      return {
        kind: 'received',
        httpStatus: response.statusCode,
        retryAfter: first(retryAfter),
        date: first(date),
        bytes,
      }
    } catch (error) {
      // Everything: beside its own errors undici lets assertion errors through, for a status of 099 for one.
      return failureOf(error)
    }
  }

  return { send, close: () => agent.destroy() }
}

function newAgent({ timeoutMs, bytesMax, connectionsMax }: TransportOptions): Agent {
  return new Agent({
    connections: connectionsMax,
    pipelining: 1,
    // From undici 8 on it would be true, and many queries would share one connection and its fate.
    allowH2: false,
    keepAliveTimeout: 4 * SECOND,
    keepAliveMaxTimeout: 30 * SECOND,
    // Nets behind the caller's deadline: they fire up to half a second late, and start anew with every chunk.
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxResponseSize: bytesMax,
    connect: { timeout: timeoutMs, minVersion: 'TLSv1.2' },
  })
}

function first(header: string | string[] | undefined): string | null {
  return (Array.isArray(header) ? header[0] : header) ?? null
}
