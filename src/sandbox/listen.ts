/** A listening HTTP server that can be closed at once, whatever its connections are doing. */

import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { MINUTE } from '../core/time.ts'

export interface ListenOptions {
  /** 127.0.0.1 when not given. */
  readonly host?: string | undefined
  /** 0, or not given: any free port. */
  readonly port?: number | undefined
  /** PEM texts; https when given. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined
}

export interface Listening {
  /** Scheme, host and port, without a slash at the end. */
  readonly url: string
  /** Drops every connection, answered or not. */
  close(): Promise<void>
}

/** Rejects when the address cannot be listened on. */
export async function listen(options: ListenOptions, handle: RequestListener): Promise<Listening> {
  const server = options.tls === undefined ? createServer(handle) : createTlsServer(options.tls, handle)
  // Node's five seconds make a pooled connection close just as a client that polls every five seconds takes it.
  server.keepAliveTimeout = MINUTE
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })
  let closed: Promise<void> | null = null
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return {
    url: urlOf(options, server.address() as AddressInfo),
    close: () => {
      closed ??= close()
      return closed
    },
  }
}

function urlOf(options: ListenOptions, address: AddressInfo): string {
  const anyHost = ['0.0.0.0', '::'].includes(address.address)
  const host = anyHost ? '127.0.0.1' : address.family === 'IPv6' ? `[${address.address}]` : address.address
  return `${options.tls === undefined ? 'http' : 'https'}://${host}:${address.port}`
}

/** Null when the body is longer than `bytesMax`, or broke off. */
export function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let byteCount = 0
    request.on('data', (chunk: Buffer) => {
      byteCount += chunk.length
      if (byteCount <= bytesMax) chunks.push(chunk)
      else resolve(null)
    })
    request.once('end', () => resolve(Buffer.concat(chunks)))
    request.once('error', () => resolve(null))
    request.once('close', () => resolve(null))
  })
}

/** A TCP reset where there is a bare TCP socket; under TLS the connection ends without a word. */
export function resetConnection(response: ServerResponse): void {
  const { socket } = response
  if (socket === null || 'encrypted' in socket) response.destroy()
  else socket.resetAndDestroy()
}

/** Runs later, unless the client has left or the server was closed by then. */
export function answerLater(response: ServerResponse, delayMs: number, answer: () => void): void {
  const timer = setTimeout(answer, delayMs)
  response.once('close', () => clearTimeout(timer))
}

/** A body that keeps coming for as long as the client reads; the head must have been written. */
export function writeEndlessly(response: ServerResponse): void {
  const piece = Buffer.alloc(16 * 1024, ' ')
  const writeMore = () => {
    // One piece a turn: a reader as fast as loopback would otherwise keep every other connection from its turn.
    if (response.destroyed) return
    if (response.write(piece)) setImmediate(writeMore)
    else response.once('drain', writeMore)
  }
  writeMore()
}
