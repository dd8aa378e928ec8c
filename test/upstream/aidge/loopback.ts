/** A server on loopback that answers as a test says and remembers what it was asked. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import type { DueTask } from '../../../src/core/task.ts'
import { epochMs } from '../../../src/core/time.ts'

export interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface Loopback {
  readonly baseUrl: string
  readonly asked: readonly Asked[]
  close(): Promise<void>
}

export async function answering(
  answer: (response: ServerResponse, asked: Asked, count: number) => void,
): Promise<Loopback> {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() }
      asked.push(one)
      answer(response, one, asked.length)
    })
  })
  const port = await listen(server)
  async function close(): Promise<void> {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return { baseUrl: `http://127.0.0.1:${port}`, asked, close }
}

/** Below HTTP: what the socket does is up to the test. */
export async function tcp(onConnection: (socket: Socket) => void): Promise<Loopback> {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    onConnection(socket)
  })
  const port = await listen(server)
  async function close(): Promise<void> {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  return { baseUrl: `http://127.0.0.1:${port}`, asked: [], close }
}

export async function listen(server: Pick<Server, 'listen' | 'address'>): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

export function json(
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(typeof value === 'string' ? value : JSON.stringify(value))
}

export function aTask(differences: Partial<DueTask> = {}): DueTask {
  return {
    id: 'task_01',
    taskId: 'aaaa-1',
    kind: 'virtual-model-generation',
    registeredAt: epochMs(1_735_689_600_000),
    submittedAt: null,
    deadlineAt: epochMs(1_735_776_000_000),
    dueAt: epochMs(1_735_689_600_000),
    pollCount: 0,
    runningAt: null,
    suspicion: null,
    unavailableCount: 0,
    lastObservation: null,
    metadata: '{}',
    ...differences,
  }
}
