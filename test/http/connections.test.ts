/** Too many connections: the one that has been idle for longest goes, and one with a request under way never does. */

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { limitConnections } from '../../src/http/connections.ts'

const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

/** A server that answers when a test says so. */
async function aServer(connectionsMax: number) {
  const unanswered: ServerResponse[] = []
  const server = createServer((_, response) => void unanswered.push(response))
  limitConnections(server, connectionsMax)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo

  async function open() {
    const accepted = once(server, 'connection')
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await accepted
    return socket
  }
  async function ask(socket: Socket) {
    const arrived = once(server, 'request')
    socket.write(REQUEST)
    await arrived
  }
  async function answer() {
    const response = unanswered.shift()
    if (response === undefined || response.destroyed) return
    const ended = once(response, 'close')
    response.end('ok')
    await ended
  }
  async function answerAll() {
    while (unanswered.length > 0) await answer()
  }
  /** When the next connection that comes has gone again. */
  async function untilClosed() {
    const [socket] = (await once(server, 'connection')) as [Socket]
    await once(socket, 'close')
  }
  return { open, ask, answer, answerAll, untilClosed }
}

/** Whether it is closed by the server; else it answers. */
async function isClosed(socket: Socket): Promise<boolean> {
  if (!socket.readableEnded && !socket.closed) {
    const ended = once(socket, 'close').then(() => true)
    const answered = once(socket, 'data').then(() => false)
    return Promise.race([ended, answered])
  }
  return true
}

test('of those that say nothing the eldest makes room, as often as it is needed', async () => {
  const { open, ask, answerAll } = await aServer(2)
  const [first, second, third, fourth] = [await open(), await open(), await open(), await open()]
  expect(await isClosed(first)).toBe(true)
  expect(await isClosed(second)).toBe(true)
  for (const socket of [third, fourth]) await ask(socket)
  const answers = Promise.all([isClosed(third), isClosed(fourth)])
  await answerAll()
  expect(await answers).toEqual([false, false])
})

test('who has a request under way stays, and is idle again only when the last of its requests was answered', async () => {
  const { open, ask, answerAll } = await aServer(1)
  const busy = await open()
  await ask(busy)
  expect(await isClosed(await open())).toBe(true)
  const answered = isClosed(busy)
  await answerAll()
  expect(await answered).toBe(false)
  const newcomer = await open()
  expect(await isClosed(busy)).toBe(true)
  const used = isClosed(newcomer)
  await ask(newcomer)
  await answerAll()
  expect(await used).toBe(false)
})

test('of two requests on one connection the first answer does not make it idle', async () => {
  const { open, ask, answer } = await aServer(1)
  const busy = await open()
  await ask(busy)
  await ask(busy)
  await answer()
  expect(await isClosed(await open())).toBe(true)
  const answered = isClosed(busy)
  await answer()
  expect(await answered).toBe(false)
})

test('a connection that its caller closed takes no place', async () => {
  const { open, ask, answer, untilClosed } = await aServer(2)
  const stays = await open()
  for (let count = 0; count < 3; count += 1) {
    const closed = untilClosed()
    const leaves = await open()
    leaves.destroy()
    await closed
  }
  const answered = isClosed(stays)
  await open()
  await ask(stays)
  await answer()
  expect(await answered).toBe(false)
})
