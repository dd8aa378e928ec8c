/**
 * The receiver of the latency bench: notes when the first byte of each webhook came.
 *
 * Prints its URL as a line of JSON; each line on stdin is answered with `[[taskId, monotonic ms], …]` since the last one.
 */

import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { monotonicMs } from '../end-to-end/world.mjs'

const ANSWER = 'HTTP/1.1 204 No Content\r\n\r\n'
let arrived = []

const server = createServer((socket) => {
  let received = ''
  let firstByteAt = 0
  socket.setNoDelay(true)
  socket.setEncoding('latin1').on('data', (text) => {
    if (received === '') firstByteAt = monotonicMs()
    received += text
    const headEnd = received.indexOf('\r\n\r\n')
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(received)?.[1] ?? 0)
    if (headEnd === -1 || received.length < headEnd + 4 + length) return
    arrived.push([JSON.parse(received.slice(headEnd + 4)).data.taskId, firstByteAt])
    received = ''
    socket.write(ANSWER)
  })
  socket.on('error', () => socket.destroy())
}).listen(0, '127.0.0.1')
await once(server, 'listening')
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })}\n`)
for await (const _ of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(arrived)}\n`)
  arrived = []
}
process.exit(0)
