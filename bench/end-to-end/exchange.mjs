/**
 * What is done for one task by everybody but Ringback itself: ask the upstream, judge its answer, tell the receiver. Both
 * requests are signed, and go over undici with as many connections as tasks are under way.
 */

import { createHmac } from 'node:crypto'
import { Pool } from 'undici'

const QUERY_PATH = '/rest/ai/virtual/model/generation/query'

/** `(taskId) → Promise`: rejects when the task is not finished, or was not taken; then it is to be tried again. */
export function createExchange({ upstreamUrl, callbackUrl, account, concurrency }) {
  const { accessKeyName, accessKeySecret, webhookSecret } = account
  const callback = new URL(callbackUrl)
  const options = { connections: concurrency, pipelining: 1, allowH2: false }
  const upstream = new Pool(upstreamUrl, options)
  const receiver = new Pool(callback.origin, options)
  const key = Buffer.from(webhookSecret.slice('whsec_'.length), 'base64')

  async function ask(taskId) {
    const timestamp = Date.now()
    const sign = createHmac('sha256', accessKeySecret).update(`${accessKeySecret}${timestamp}`).digest('hex')
    const { statusCode, body } = await upstream.request({
      method: 'POST',
      path: `${QUERY_PATH}?partner_id=aidge&sign_method=sha256&sign_ver=v2&app_key=${accessKeyName}&timestamp=${timestamp}&sign=${sign.toUpperCase()}`,
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify({ taskId }),
    })
    return outcomeOf(taskId, statusCode, await body.json())
  }

  async function tell(taskId, outcome) {
    const sentAt = new Date()
    const id = `evt_${taskId}`
    const timestamp = Math.floor(sentAt.getTime() / 1_000)
    const body = JSON.stringify({ type: 'task.succeeded', timestamp: sentAt.toISOString(), data: outcome })
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    const answer = await receiver.request({
      method: 'POST',
      path: callback.pathname,
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': `v1,${signature}`,
      },
      body,
    })
    await answer.body.dump()
    if (answer.statusCode < 200 || answer.statusCode > 299) throw new Error(`the receiver said ${answer.statusCode}`)
  }

  return async (taskId) => tell(taskId, await ask(taskId))
}

function outcomeOf(taskId, statusCode, answer) {
  const { data } = answer
  const isFinished = statusCode === 200 && answer.success === true && data.taskStatus === 'finished'
  if (!isFinished || data.taskId !== taskId) throw new Error(`${taskId} is not finished: ${JSON.stringify(answer)}`)
  const images = data.taskResult.map(({ url, width, height }) => ({ url, width, height, expiresAt: expiryOf(url) }))
  return { taskId, status: 'succeeded', partial: false, images, error: null, response: data }
}

function expiryOf(url) {
  const seconds = /[?&]Expires=(\d+)/.exec(url)?.[1]
  return seconds === undefined ? null : new Date(Number(seconds) * 1_000).toISOString()
}
