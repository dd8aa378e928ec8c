/** The processes of the isolation bench: each is started from the build, speaks in lines of JSON, and is ended by its handle. */

import { fileURLToPath } from 'node:url'
import { startNode } from '../child.mjs'

const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const RECEIVERS = fileURLToPath(new URL('./receivers.mjs', import.meta.url))
const TOKEN = 'bench-token-0123456789'

export async function startReceivers() {
  const receivers = startNode([RECEIVERS])
  const urls = await receivers.line()
  return {
    urls,
    async takeAgesMs() {
      receivers.say('ages')
      return await receivers.line()
    },
    end: receivers.end,
  }
}

export async function startUpstream() {
  const upstream = startNode([PROGRAM, 'sandbox', '--port', '0', '--finish-after', '0s', '--json'])
  return { ...(await upstream.line()), end: upstream.end }
}

export async function startDaemon(path, { url, accessKeyName, accessKeySecret }) {
  const daemon = startNode([PROGRAM, 'serve'], {
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: '0',
    RINGBACK_API_TOKEN: TOKEN,
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_POLL_RATE: '2000',
    RINGBACK_POLL_CONCURRENCY: '64',
    RINGBACK_POLL_INTERVAL_MIN: '200ms',
    RINGBACK_SHUTDOWN_GRACE: '1s',
    AIDGE_BASE_URL: url,
    AIDGE_ACCESS_KEY_NAME: accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: accessKeySecret,
  })
  const started = await daemon.line(({ event }) => event === 'daemon.started')
  return {
    async register(tasks) {
      const response = await fetch(`${started.url}/v1/tasks/bulk`, {
        method: 'POST',
        headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
        body: JSON.stringify({ tasks }),
      })
      if (response.status !== 200) throw new Error(`registering: ${response.status} ${await response.text()}`)
    },
    end: daemon.end,
  }
}
