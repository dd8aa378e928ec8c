/** The app behind a port, with limits on what one connection, or many, may take. */

import { randomUUID } from 'node:crypto'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import { ConfigError } from '../core/errors.ts'
import { printable } from '../core/shown.ts'
import { SECOND } from '../core/time.ts'
import type { Log } from '../ports.ts'
import type { App } from './app.ts'
import { limitConnections } from './connections.ts'
import { failureResponse, headersOf, PROBLEMS, type ProblemCode, problem, problemResponse } from './problem.ts'

/** Node's own are 300 s and 60 s, checked every 30 s: a sender of one byte a second would hold a connection for minutes. */
const REQUEST_TIMEOUT_MS = 15 * SECOND
const HEADERS_TIMEOUT_MS = 10 * SECOND
const TIMEOUT_CHECK_INTERVAL_MS = SECOND
const KEEP_ALIVE_TIMEOUT_MS = 10 * SECOND
const CONNECTIONS_MAX = 1000

export interface ServerSettings {
  readonly host: string
  /** 0 takes any free one. */
  readonly port: number
}

export interface RunningServer {
  readonly host: string
  readonly port: number
  /** Takes no new connections and ends idle ones; resolves when the last request has been answered. */
  close(): Promise<void>
  /** Ends what `close` still waits for. */
  closeNow(): void
}

/** Rejects with a `ConfigError` when the address cannot be taken. */
export async function startServer(
  app: App,
  { host, port, log }: ServerSettings & { log: Log },
): Promise<RunningServer> {
  let isClosing = false
  const lastAnswers = new WeakMap<Socket, ServerResponse>()
  const listener = getRequestListener(app.fetch, { errorHandler: (error) => failed(error, log) })
  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    },
    (incoming, outgoing) => {
      lastAnswers.set(incoming.socket, outgoing)
      // A connection that becomes idle while we stop would otherwise stay until its keep-alive time is over.
      outgoing.once('close', () => {
        if (isClosing) server.closeIdleConnections()
      })
      listener(incoming, outgoing).catch((error: unknown) => {
        log.error({ event: 'http.broken', error }, 'a request could not be answered')
        outgoing.destroy()
      })
    },
  )
  limitConnections(server, CONNECTIONS_MAX)
  const waiting = new WeakSet<Socket>()
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const last = lastAnswers.get(socket)
    if (last === undefined || last.writableFinished || !last.req.complete) return answerUnparsed(error, socket, last)
    // An earlier request on this connection still waits for its answer: this one comes after it, or the caller would
    // take it for the other. Until then nothing more is read: each piece of garbage would be an error of its own.
    if (waiting.has(socket)) return
    waiting.add(socket)
    socket.pause()
    last.once('finish', () => {
      waiting.delete(socket)
      socket.resume()
      answerUnparsed(error, socket, last)
    })
  })
  server.on('checkExpectation', (_incoming: unknown, outgoing: ServerResponse) => answerExpectation(outgoing))
  await listen(server, { host, port })
  const address = server.address() as AddressInfo
  return {
    host: address.address,
    port: address.port,
    close() {
      isClosing = true
      return new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      })
    },
    closeNow() {
      server.closeAllConnections()
    },
  }
}

function listen(server: Server, { host, port }: ServerSettings): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)))
    server.listen({ host, port }, resolve)
  })
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const remedy = 'stop the program that has it, or set RINGBACK_PORT to another one'
  if (error.code === 'EADDRINUSE') return new ConfigError([`port ${port} on ${host} is in use: ${remedy}`])
  if (error.code === 'EACCES') {
    return new ConfigError([`port ${port} on ${host} needs more rights than we have: set RINGBACK_PORT above 1023`])
  }
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') {
    return new ConfigError([`${host} is no address of this machine: set RINGBACK_HOST to one that is, or to 127.0.0.1`])
  }
  return error
}

/** For what fails before the app sees it (a Host header or target that makes no URL), and for what it let through. */
function failed(error: unknown, log: Log): Response {
  const requestId = randomUUID()
  if (error instanceof RequestError) {
    return problemResponse(
      problem('unreadable', `The request line or Host is wrong: ${printable(error.message)}.`, requestId),
    )
  }
  log.error({ event: 'http.broken', requestId, error }, 'a request failed outside of its handler')
  return failureResponse(error, requestId)
}

/** Node has given up on the bytes: there is no request, so the answer is written by hand. */
function answerUnparsed(error: NodeJS.ErrnoException, socket: Socket, last: ServerResponse | undefined): void {
  const isAmidAnswer = last !== undefined && !last.writableFinished && last.headersSent
  if (error.code === 'ECONNRESET' || !socket.writable || isAmidAnswer) {
    socket.destroy()
    return
  }
  const [code, detail] = unparsedProblem(error)
  const body = problem(code, detail, randomUUID())
  const text = JSON.stringify(body)
  const headers = Object.entries(headersOf('application/problem+json', body.instance))
  const head = [...headers, ['content-length', Buffer.byteLength(text)], ['connection', 'close']]
  const lines = head.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(`HTTP/1.1 ${body.status} ${PROBLEMS[code].title}\r\n${lines}\r\n${text}`)
}

function unparsedProblem(error: NodeJS.ErrnoException): readonly [ProblemCode, string] {
  if (error.code === 'HPE_HEADER_OVERFLOW') return ['headers_too_large', 'The headers are larger than 16 KiB.']
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const detail = `Headers must arrive within ${HEADERS_TIMEOUT_MS / SECOND} s, the whole request within ${REQUEST_TIMEOUT_MS / SECOND} s.`
    return ['request_timeout', detail]
  }
  return ['unreadable', `This is not HTTP/1.1: ${printable(error.message)}.`]
}

function answerExpectation(outgoing: ServerResponse): void {
  const body = problem('expectation_failed', 'Only "Expect: 100-continue" is understood.', randomUUID())
  const text = JSON.stringify(body)
  const headers = headersOf('application/problem+json', body.instance)
  outgoing.writeHead(body.status, { ...headers, 'content-length': Buffer.byteLength(text) })
  outgoing.end(text)
}
