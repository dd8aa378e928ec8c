/**
 * The upstream of the latency bench: every task has finished, and the instant of each answer is noted.
 *
 * Prints its URL as a line of JSON; each line on stdin is answered with `[[taskId, monotonic ms], …]` since the last one.
 */

import { createInterface } from 'node:readline'
import { listenLightly } from '../end-to-end/light-server.mjs'
import { monotonicMs } from '../end-to-end/world.mjs'

let answered = []

function answer(_head, body) {
  const { taskId } = JSON.parse(body)
  const data = {
    taskStatus: 'finished',
    taskId,
    taskResult: [{ url: 'http://pictures.example/1.png', width: 768, height: 768 }],
  }
  const json = JSON.stringify({ code: '0', success: true, resCode: 200, requestId: 'r', data })
  answered.push([taskId, monotonicMs()])
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`
}

process.stdout.write(`${JSON.stringify({ url: await listenLightly(answer) })}\n`)
for await (const _ of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answered)}\n`)
  answered = []
}
process.exit(0)
