/**
 * The receivers of the isolation bench, in a process of their own: nine that answer at once and note how old each result
 * was, one that hangs, one that answers 500, and a port on which nobody listens.
 *
 * Prints its URLs as one line of JSON; each line on stdin is answered with the ages (ms) noted since the last one.
 */

import { once } from 'node:events'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

const HEALTHY_COUNT = 9
let agesMs = []

/** Finer than `Date.now()`: what is measured are a few milliseconds. */
const now = () => performance.timeOrigin + performance.now()

function answerAtOnce(request, response) {
  const arrivedAt = now()
  let body = ''
  request.setEncoding('utf8').on('data', (text) => {
    body += text
  })
  request.on('end', () => {
    response.writeHead(204).end()
    agesMs.push(arrivedAt - Date.parse(JSON.parse(body).data.settledAt))
  })
}

async function listen(onRequest) {
  const server = createServer(onRequest).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${server.address().port}` }
}

const healthy = await Promise.all(Array.from({ length: HEALTHY_COUNT }, () => listen(answerAtOnce)))
const hanging = await listen(() => {})
const failing = await listen((request, response) => {
  request.resume()
  response.writeHead(500).end()
})
const dead = await listen(() => {})
dead.server.close()

const urls = { healthy: healthy.map(({ url }) => url), hanging: hanging.url, failing: failing.url, dead: dead.url }
process.stdout.write(`${JSON.stringify(urls)}\n`)

for await (const _ of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(agesMs)}\n`)
  agesMs = []
}
process.exit(0)
