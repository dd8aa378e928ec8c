/** Which connections stay when there are more than we want to hold: those with a request under way. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * The one that has been idle for longest makes room for the next. Refusing the next one instead, as Node's own
 * `maxConnections` does, would let a thousand connections that say nothing lock everybody out.
 */
export function limitConnections(server: Server, connectionsMax: number): void {
  const requestCounts = new Map<Socket, number>()
  /** In the order in which they fell idle. */
  const idle = new Set<Socket>()

  function forget(socket: Socket): void {
    requestCounts.delete(socket)
    idle.delete(socket)
  }

  server.on('connection', (socket: Socket) => {
    requestCounts.set(socket, 0)
    idle.add(socket)
    socket.once('close', () => forget(socket))
    if (requestCounts.size <= connectionsMax) return
    // The newcomer is idle too: when all others are busy it is the one that has to go.
    const [longestIdle] = idle
    if (longestIdle === undefined) return
    longestIdle.destroy()
    forget(longestIdle)
  })

  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    requestCounts.set(socket, (requestCounts.get(socket) ?? 0) + 1)
    idle.delete(socket)
    response.once('close', () => {
      const count = requestCounts.get(socket)
      if (count === undefined) return
      requestCounts.set(socket, count - 1)
      if (count === 1) idle.add(socket)
    })
  })
}
