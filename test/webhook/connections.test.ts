/** The keeping of connections by itself: what is closed is forgotten. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { createConnections } from '../../src/webhook/connections.ts'
import type { Dial } from '../../src/webhook/dial.ts'

const dial: Dial = ({ port }, done) => {
  const socket = connect(Number(port), '127.0.0.1')
  socket.once('connect', () => done(null, socket))
  return socket
}

test('an idle connection that the receiver closes is forgotten, and so is one that is destroyed', async () => {
  const accepted: Socket[] = []
  const server = createServer((socket) => {
    accepted.push(socket)
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const connections = createConnections({ dial, now: () => performance.now(), connectionsMax: 4 })

  const connection = connections.take(origin)
  const disconnected = once(connection.client, 'disconnect')
  const { body } = await connection.client.request({ method: 'POST', path: '/', body: '{}' })
  await body.dump()
  connection.release()
  expect(connections.openCount()).toBe(1)
  accepted[0]!.destroy()
  await disconnected
  expect(connections.openCount()).toBe(0)

  connections.take(origin).destroy()
  expect(connections.openCount()).toBe(0)
  server.close()
})
