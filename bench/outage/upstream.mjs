/**
 * The upstream of the outage bench, which notes when it was asked. Every task is running for ever.
 *
 * Prints its URL as a line of JSON. A line on stdin says how it is from then on: `up`, `failing` (503 at once), `silent`
 * (takes a query and never answers it) or `gone` (closes each connection); it is answered with the instants (monotonic
 * ms) at which queries came since the last one.
 */

import { once } from 'node:events'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { monotonicMs } from '../end-to-end/world.mjs'

let mode = 'up'
let askedAts = []

function answer(request, response) {
  askedAts.push(monotonicMs())
  if (mode === 'gone') return request.socket.destroy()
  let text = ''
  request.setEncoding('utf8').on('data', (piece) => {
    text += piece
  })
  request.on('end', () => {
    if (mode === 'silent') return
    if (mode === 'failing') return response.writeHead(503).end()
    const { taskId } = JSON.parse(text)
    const data = { taskStatus: 'running', taskId }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ code: '0', success: true, resCode: 200, requestId: 'r', data }))
  })
}

const server = createServer({ keepAliveTimeout: 60_000 }, answer).listen(0, '127.0.0.1')
await once(server, 'listening')
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })}\n`)
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(askedAts)}\n`)
  askedAts = []
  mode = line
}
process.exit(0)
