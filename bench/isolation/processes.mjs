/** The processes of the isolation bench: each is started from the build, speaks in lines of JSON, and is ended by its handle. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const RECEIVERS = fileURLToPath(new URL('./receivers.mjs', import.meta.url))
const TOKEN = 'bench-token-0123456789'

const running = new Set()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

function start(args, env = {}) {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  running.add(child)
  const ended = once(child, 'exit').then(() => {
    running.delete(child)
    wanted?.reject(new Error(`${args.join(' ')} ended without a word`))
  })
  /** Only what comes while somebody waits for it is of interest: the daemon's log is long. */
  let wanted = null
  createInterface({ input: child.stdout }).on('line', (text) => {
    if (wanted === null) return
    const said = JSON.parse(text)
    if (wanted.matches(said)) wanted.resolve(said)
  })
  return {
    /** The next line that `matches`, as what it says. */
    async line(matches = () => true) {
      try {
        return await new Promise((resolve, reject) => {
          wanted = { matches, resolve, reject }
        })
      } finally {
        wanted = null
      }
    },
    say: (text) => void child.stdin.write(`${text}\n`),
    async end() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

export async function startReceivers() {
  const receivers = start([RECEIVERS])
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
  const upstream = start([PROGRAM, 'sandbox', '--port', '0', '--finish-after', '0s', '--json'])
  return { ...(await upstream.line()), end: upstream.end }
}

export async function startDaemon(path, { url, accessKeyName, accessKeySecret }) {
  const daemon = start([PROGRAM, 'serve'], {
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
