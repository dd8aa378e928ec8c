/**
 * The receiver: takes every webhook, and counts the different `webhook-id`s.
 *
 * Prints its URL as a line of JSON. `{"expect": n}` on stdin starts a round; the line that says what came follows when n
 * different ids have arrived, or at `"stop"`. The signature of one webhook in 64 is checked.
 */

import { createHmac } from 'node:crypto'
import { createInterface } from 'node:readline'
import { headerOf, listenLightly } from './light-server.mjs'
import { monotonicMs } from './world.mjs'

const secret = Buffer.from(process.argv[2].slice('whsec_'.length), 'base64')
const CHECKED_ONE_IN = 64
const ANSWER = 'HTTP/1.1 204 No Content\r\n\r\n'

const seen = new Set()
let expectedCount = Number.POSITIVE_INFINITY
let postCount = 0
let unsignedCount = 0
let lastAtMs = null

function answer(head, body) {
  postCount += 1
  const id = headerOf(head, 'webhook-id')
  if (postCount % CHECKED_ONE_IN === 0 && !isSigned(id, head, body)) unsignedCount += 1
  if (!seen.has(id)) {
    seen.add(id)
    lastAtMs = monotonicMs()
    if (seen.size === expectedCount) tell()
  }
  return ANSWER
}

function isSigned(id, head, body) {
  const content = `${id}.${headerOf(head, 'webhook-timestamp')}.${body}`
  const expected = `v1,${createHmac('sha256', secret).update(content, 'latin1').digest('base64')}`
  return headerOf(head, 'webhook-signature') === expected
}

function tell() {
  process.stdout.write(`${JSON.stringify({ arrivedCount: seen.size, postCount, unsignedCount, lastAtMs })}\n`)
}

process.stdout.write(`${JSON.stringify({ url: await listenLightly(answer) })}\n`)
for await (const line of createInterface({ input: process.stdin })) {
  const said = JSON.parse(line)
  if (said === 'stop') {
    tell()
  } else {
    seen.clear()
    expectedCount = said.expect
    postCount = 0
    unsignedCount = 0
    lastAtMs = null
  }
}
process.exit(0)
