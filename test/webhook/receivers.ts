/** Receivers for the tests, down at the socket: a test says what each connection does, byte by byte. */

import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

export interface Receiver {
  readonly port: number
  url(host?: string): string
  /** Every request that came in whole, as it was on the wire. */
  readonly requests: string[]
  /** TCP connections, whether or not anything was said on them. */
  connectionCount(): number
  openCount(): number
  /** When `openCount()` has come down to this. */
  untilOpen(count: number): Promise<void>
  /** When so many requests have come in whole. */
  untilRequests(count: number): Promise<void>
  close(): Promise<void>
}

/** `requestNumber` counts from 1 over all connections. */
export type OnRequest = (socket: Socket, requestNumber: number, request: string) => void

export const fixture = (name: string) => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')

const running = new Set<Receiver>()

export async function closeReceivers(): Promise<void> {
  for (const receiver of running) await receiver.close()
}

export async function startReceiver(onRequest: OnRequest, tls: TlsOptions | null = null): Promise<Receiver> {
  const sockets = new Set<Socket>()
  const requests: string[] = []
  const waiting = new Set<() => void>()
  let connectionCount = 0
  const server: Server = tls === null ? createServer() : createTlsServer(tls)
  server.on('connection', (socket: Socket) => {
    connectionCount += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      notify()
    })
  })
  server.on(tls === null ? 'connection' : 'secureConnection', (socket: Socket) => {
    socket.on('error', () => {})
    onEachRequest(socket, (request) => {
      const requestNumber = requests.push(request)
      notify()
      onRequest(socket, requestNumber, request)
    })
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo

  function notify(): void {
    for (const check of waiting) check()
  }
  function until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!isSo()) return
        waiting.delete(check)
        resolve()
      }
      waiting.add(check)
      check()
    })
  }
  const receiver: Receiver = {
    port,
    url: (host = '127.0.0.1') => `${tls === null ? 'http' : 'https'}://${host}:${port}/hook?key=secret`,
    requests,
    connectionCount: () => connectionCount,
    openCount: () => sockets.size,
    untilOpen: (count) => until(() => sockets.size <= count),
    untilRequests: (count) => until(() => requests.length >= count),
    async close() {
      running.delete(receiver)
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  running.add(receiver)
  return receiver
}

function onEachRequest(socket: Socket, onRequest: (request: string) => void): void {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    for (;;) {
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd < 0) return
      const length = Number(/content-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1] ?? 0)
      const end = headEnd + 4 + length
      if (text.length < end) return
      const request = text.slice(0, end)
      text = text.slice(end)
      onRequest(request)
    }
  })
}

/** An ordinary answer whose connection stays open. */
export function answerWith(socket: Socket, status: number, headers: string[] = [], body = ''): void {
  const head = [`HTTP/1.1 ${status} Whatever`, `Content-Length: ${Buffer.byteLength(body)}`, ...headers].join('\r\n')
  socket.write(`${head}\r\n\r\n${body}`)
}
