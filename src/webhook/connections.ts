/**
 * Open connections to receivers: one request at a time on each, kept for a while after an answer that ended well.
 *
 * undici's `Client` speaks HTTP on each of them. Its `Agent` was tried and left out: a request that waits inside it for a
 * connection cannot be aborted (undici #386), it does not tell which socket carried a request — which the retry after a
 * keep-alive race and the remote address need —, and it keeps idle sockets per origin without a limit over all origins.
 */

import type { Socket } from 'node:net'
import { Client } from 'undici'
import type { Timings } from '../ports.ts'
import { type Dial, READ_BYTES_MAX } from './dial.ts'
import { createStopwatch } from './stopwatch.ts'

export interface Connection {
  readonly client: Client
  /** The socket in use; null while there is none. */
  socket(): Socket | null
  /** Of the last socket that was connected, so that it is still known when that socket has closed. */
  remoteAddress(): string | null
  /** How long each step of opening it took, for the request that it was opened for; nulls for those after it. */
  openingTimes(): Omit<Timings, 'answerMs'>
  /** Keeps the connection for the next request. */
  release(): void
  /** Closes the socket at once, also when it is still being opened. */
  destroy(): void
}

export interface Connections {
  /** A connection for one request: an idle one, or else a new one. */
  take(origin: string): Connection
  takeFresh(origin: string): Connection
  /** Idle ones and those in use. */
  openCount(): number
  close(): void
}

export interface ConnectionsOptions {
  readonly dial: Dial
  /** Idle connections are closed, oldest first, to stay within this many sockets in all. */
  readonly connectionsMax: number
  /** Milliseconds of a clock that never jumps. */
  readonly now: () => number
}

const ANSWER_HEADER_BYTES_MAX = 16_384
/**
 * Of everything that comes between a request and the end of its answer: early hints, headers, chunk lengths, a trailer.
 * undici bounds the headers and we the body, but a receiver can pour out the rest for as long as the deadline lasts.
 * With the read that goes beyond it, no more than 64 KiB are taken from a receiver.
 */
const ANSWER_BYTES_MAX = 65_536 - READ_BYTES_MAX
const IDLE_MS = 4_000
const IDLE_MS_MAX = 30_000

/** Of the error that ends a connection whose answer goes on and on. */
export const ANSWER_TOO_LONG_CODE = 'ERR_ANSWER_TOO_LONG'

export function createConnections({ dial, connectionsMax, now }: ConnectionsOptions): Connections {
  const all = new Set<Connection>()
  /** Oldest first, as a `Set` keeps the order of insertion. */
  const idle = new Set<Connection>()
  const idleByOrigin = new Map<string, Connection[]>()

  function forget(origin: string, connection: Connection): void {
    idle.delete(connection)
    const sameOrigin = idleByOrigin.get(origin)
    if (sameOrigin === undefined) return
    const index = sameOrigin.indexOf(connection)
    if (index >= 0) sameOrigin.splice(index, 1)
    if (sameOrigin.length === 0) idleByOrigin.delete(origin)
  }

  function open(origin: string): Connection {
    let socket: Socket | null = null
    let remoteAddress: string | null = null
    let stopwatch = createStopwatch(now)
    /** What had been read of the socket when its present request began. */
    let readBefore = 0
    function limitAnswer(opened: Socket): void {
      readBefore = opened.bytesRead
      opened.on('readable', () => {
        if (opened.bytesRead - readBefore > ANSWER_BYTES_MAX) opened.destroy(answerTooLong())
      })
    }
    const client = new Client(origin, {
      connect: (target, done) => {
        stopwatch = createStopwatch(now)
        socket = dial(target, done, {
          onResolved: () => stopwatch.lap('dnsMs'),
          onTcpConnected: () => stopwatch.lap('connectMs'),
          onConnected(address) {
            if (target.protocol === 'https:') stopwatch.lap('tlsMs')
            remoteAddress = address
            if (socket !== null) limitAnswer(socket)
          },
        })
      },
      pipelining: 1,
      // undici 8 has it on by default; webhooks shall not depend on the version of Node.
      allowH2: false,
      maxHeaderSize: ANSWER_HEADER_BYTES_MAX,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS_MAX,
      // The exchange has one deadline of its own for everything, which these could only confuse: undici's restart with
      // each chunk of a body and have a grain of half a second.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    const connection: Connection = {
      client,
      socket: () => socket,
      remoteAddress: () => remoteAddress,
      openingTimes: () => stopwatch.times(),
      release() {
        stopwatch = createStopwatch(now)
        if (client.destroyed || socket === null || socket.destroyed) return connection.destroy()
        readBefore = socket.bytesRead
        idle.add(connection)
        const sameOrigin = idleByOrigin.get(origin)
        if (sameOrigin === undefined) idleByOrigin.set(origin, [connection])
        else sameOrigin.push(connection)
        closeSurplus()
      },
      destroy() {
        all.delete(connection)
        forget(origin, connection)
        client.destroy(null, () => {})
        // A socket that is still being opened is unknown to the client.
        socket?.destroy()
      },
    }
    client.on('disconnect', () => {
      if (idle.has(connection)) connection.destroy()
    })
    all.add(connection)
    return connection
  }

  /** The one that was used last: it is the least likely to have been closed by the receiver meanwhile. */
  function takeIdle(origin: string): Connection | null {
    for (;;) {
      const connection = idleByOrigin.get(origin)?.at(-1)
      if (connection === undefined) return null
      forget(origin, connection)
      if (connection.socket()?.destroyed === false) return connection
      connection.destroy()
    }
  }

  function takeFresh(origin: string): Connection {
    const connection = open(origin)
    closeSurplus()
    return connection
  }

  function closeSurplus(): void {
    for (const oldest of idle) {
      if (all.size <= connectionsMax) return
      oldest.destroy()
    }
  }

  return {
    take: (origin) => takeIdle(origin) ?? takeFresh(origin),
    takeFresh,
    openCount: () => all.size,
    close() {
      for (const connection of [...all]) connection.destroy()
    },
  }
}

function answerTooLong(): Error {
  const message = `more than ${ANSWER_BYTES_MAX} bytes came before the answer was complete`
  return Object.assign(new Error(message), { code: ANSWER_TOO_LONG_CODE })
}
