/** One request on one connection, as a stream of events. */

import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { PostRequest } from '../ports.ts'
import type { Connection } from './connections.ts'

export type SendEvent =
  | { readonly kind: 'status'; readonly status: number; readonly headers: IncomingHttpHeaders }
  | { readonly kind: 'body'; readonly chunk: Buffer }
  | { readonly kind: 'end' }
  /** The keep-alive race: the receiver closed the idle socket while we wrote to it, and has not seen the request. */
  | { readonly kind: 'raced' }
  | { readonly kind: 'error'; readonly error: unknown }

/** A URL in the parts that a request needs. */
export interface Target {
  readonly origin: string
  readonly hostname: string
  readonly path: string
}

export function targetOf(text: string): Target {
  const { origin, hostname, pathname, search } = new URL(text)
  return { origin, hostname, path: pathname + search }
}

export interface SendInput {
  readonly connection: Connection
  readonly target: Target
  readonly request: PostRequest
  readonly userAgent: string
  readonly now: () => number
}

/** A reused socket that closes later than this was not being closed already. */
const RACE_MS_MAX = 1_000
const RACE_CODES: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
/** TLS says good-bye with a record of its own, which is no byte of an answer. */
const TLS_GOODBYE_BYTES_MAX = 64

/** They frame the message, or would make the receiver compress: a custom header must not change them. */
const OUR_HEADERS: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Never throws: what undici refuses to send arrives as an `error` event too. */
export function sendRequest(input: SendInput, on: (event: SendEvent) => void): void {
  const { connection, target, request } = input
  const hasRaced = watchForRace(input)
  const onError = (error: unknown) => on(hasRaced(error) ? { kind: 'raced' } : { kind: 'error', error })
  try {
    connection.client.dispatch(
      {
        method: 'POST',
        path: target.path,
        headers: headersOf(request, input.userAgent),
        body: Buffer.from(request.body),
      },
      {
        // undici takes a handler without this one for a handler of its older kind.
        onRequestStart() {},
        onResponseStart(_controller, status, headers) {
          // 103 Early Hints and its like come before the answer.
          if (status >= 200) on({ kind: 'status', status, headers })
        },
        onResponseData: (_controller, chunk) => on({ kind: 'body', chunk }),
        onResponseEnd: () => on({ kind: 'end' }),
        onResponseError: (_controller, error) => onError(error),
      },
    )
  } catch (error) {
    onError(error)
  }
}

function headersOf(request: PostRequest, userAgent: string): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': 'application/json', 'user-agent': userAgent }
  for (const [name, value] of Object.entries(request.headers)) {
    const lowerCased = name.toLowerCase()
    if (!OUR_HEADERS.has(lowerCased)) headers[lowerCased] = value
  }
  headers['accept-encoding'] = 'identity'
  return headers
}

function watchForRace({ connection, now }: SendInput): (error: unknown) => boolean {
  const sentAt = now()
  const socket = connection.socket()
  const bytesBefore = socket?.bytesRead ?? 0
  return (error) => {
    // undici opens another socket by itself when it sees in time that the idle one is gone.
    const isReused = socket !== null && connection.socket() === socket
    const isSilent = socket !== null && socket.bytesRead - bytesBefore <= goodbyeBytesMax(socket)
    const code = error instanceof Error && 'code' in error ? error.code : null
    return isReused && isSilent && RACE_CODES.has(code) && now() - sentAt <= RACE_MS_MAX
  }
}

function goodbyeBytesMax(socket: Socket): number {
  return socket instanceof TLSSocket ? TLS_GOODBYE_BYTES_MAX : 0
}
