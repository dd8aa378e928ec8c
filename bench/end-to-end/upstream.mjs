/**
 * The upstream: every task that it is asked about has been finished for long, with two pictures.
 *
 * Prints its URL as a line of JSON; each line on stdin is answered with how often it was asked since the last one. The
 * signature of one query in 64 is checked: enough to notice who does not sign, and no load to speak of.
 */

import { createHmac } from 'node:crypto'
import { createInterface } from 'node:readline'
import { listenLightly } from './light-server.mjs'

const [accessKeyName, accessKeySecret] = process.argv.slice(2)
const CHECKED_ONE_IN = 64

let queryCount = 0
let unsignedCount = 0

const picture = (taskId, index) =>
  `{"width":768,"url":"http://pictures.example/${taskId}%2F${index}.png?Expires=2735689600&OSSAccessKeyId=bench&Signature=c2lnbmF0dXJlCg%3D%3D","height":768}`

function answer(head, body) {
  queryCount += 1
  if (queryCount % CHECKED_ONE_IN === 0 && !isSigned(head)) unsignedCount += 1
  const { taskId } = JSON.parse(body)
  const json = `{"data":{"taskResult":[${picture(taskId, 0)},${picture(taskId, 1)}],"taskStatus":"finished","taskId":"${taskId}"},"requestId":"2141a1b217613","success":true,"resCode":200,"resMessage":"success","code":"0","request_id":"212a1f5617613","_trace_id_":"2141a1b217613"}`
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=utf-8\r\ncontent-length: ${json.length}\r\n\r\n${json}`
}

function isSigned(head) {
  const target = head.slice(0, head.indexOf('\r\n')).split(' ')[1]
  const query = new URL(target, 'http://upstream.example').searchParams
  const expected = createHmac('sha256', accessKeySecret)
    .update(accessKeySecret + query.get('timestamp'))
    .digest('hex')
    .toUpperCase()
  return query.get('app_key') === accessKeyName && query.get('sign') === expected
}

process.stdout.write(`${JSON.stringify({ url: await listenLightly(answer) })}\n`)
for await (const _ of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify({ queryCount, unsignedCount })}\n`)
  queryCount = 0
  unsignedCount = 0
}
process.exit(0)
