/** The daemon in this process: what it starts stands behind its settings, and it stops in reverse and leaves nothing. */

import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import Database from 'better-sqlite3'
import cron from 'node-cron'
import { expect, onTestFinished, test, vi } from 'vitest'
import { readConfig } from '../src/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { type Daemon, startDaemon } from '../src/daemon.ts'
import type { Log } from '../src/ports.ts'
import { eventually } from './support/chaos.ts'
import { aDirectory } from './support/store.ts'

const FINISHED = JSON.stringify({ success: true, resCode: '200', data: { taskStatus: 'finished' } })

/** Upstreams and receivers: an HTTP server on this machine that ends with the test. */
async function aServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

interface Run {
  readonly daemon: Daemon
  readonly events: readonly string[]
  post(path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }>
}

function aPlace(settings: Readonly<Record<string, string>> = {}) {
  const path = join(aDirectory(), 'r.db')
  const env = {
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: '0',
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_SHUTDOWN_GRACE: '5s',
    AIDGE_BASE_URL: 'http://127.0.0.1:1',
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: 'a-secret-of-some-length',
    ...settings,
  }
  const { config } = readConfig({ flags: {}, env, dotenv: null })
  async function start(changes: Partial<typeof config> = {}): Promise<Run> {
    const events: string[] = []
    const note = ({ event }: { event: string }) => void events.push(event)
    const log: Log = { debug: note, info: note, warn: note, error: note }
    const daemon = await startDaemon({ ...config, ...changes }, { log, version: 'test' })
    onTestFinished(() => daemon.stop())
    return {
      daemon,
      events,
      async post(url, body) {
        const response = await fetch(daemon.url + url, {
          method: 'POST',
          headers: { authorization: `Bearer ${daemon.apiToken}`, 'content-type': 'application/json' },
          body: JSON.stringify(body ?? {}),
        })
        return { status: response.status, body: (await response.json()) as Record<string, unknown> }
      },
    }
  }
  /** What stands in the database, seen from outside. */
  function look(sql: string): unknown {
    const db = new Database(path, { readonly: true })
    try {
      return db.prepare(sql).pluck().get()
    } finally {
      db.close()
    }
  }
  return { path, start, look }
}

const register = ({ post }: Run, callbackUrl: string, taskId = 'a') => post('/v1/tasks', { taskId, callbackUrl })

test('a callback into the daemon itself is refused, though its address is opened', async () => {
  const run = await aPlace().start()
  const answer = await register(run, `${run.daemon.url}/v1/tasks`)
  expect(answer).toMatchObject({ status: 422, body: { errors: [{ pointer: '/callbackUrl', code: 'loop' }] } })
})

/** A request that is under way: its head has been read and its body has not come yet. Resolves with all that is heard. */
async function aHalfRequest({ daemon }: Run) {
  const { hostname, port } = new URL(daemon.url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  const head = `Host: x\r\nAuthorization: Bearer ${daemon.apiToken}\r\nContent-Type: application/json`
  socket.write(`POST /v1/tasks HTTP/1.1\r\n${head}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`)
  await once(socket, 'data')
  return { socket, heard: text(socket) }
}

test('who waits for a task is answered as soon as the daemon stops', async () => {
  const run = await aPlace().start()
  const { body } = await register(run, 'https://receiver.example/')
  const headers = { authorization: `Bearer ${run.daemon.apiToken}` }
  const waiting = fetch(`${run.daemon.url}/v1/tasks/${String(body['id'])}?wait=50`, { headers })
  // Whoever asks later is answered: the other is inside.
  await fetch(`${run.daemon.url}/livez`)
  const startedAt = performance.now()
  await run.daemon.stop()
  expect(await (await waiting).json()).toMatchObject({ status: 'pending' })
  expect(performance.now() - startedAt).toBeLessThan(5_000)
})

test('from the beginning of the stop the daemon is not ready, for whoever can still ask', async () => {
  const run = await aPlace().start()
  const { socket, heard } = await aHalfRequest(run)
  const stopped = run.daemon.stop()
  socket.write('{}GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  expect(await heard).toMatch(/HTTP\/1\.1 422 [\s\S]*HTTP\/1\.1 503 [\s\S]*stopping/)
  await stopped
})

test('a stop ends what is under way first and the store last: an answer that comes meanwhile is recorded', async () => {
  const upstream = await aServer((_, response) => void response.end(FINISHED))
  let answer = () => {}
  const called = new Promise<void>((resolve) => {
    answer = resolve
  })
  let letGo = () => {}
  const receiver = await aServer((_, response) => {
    answer()
    letGo = () => void response.end()
  })
  const place = aPlace({ AIDGE_BASE_URL: upstream })
  const run = await place.start()
  await register(run, receiver)
  await called
  const stopped = run.daemon.stop()
  await expect(fetch(`${run.daemon.url}/livez`)).rejects.toThrow('fetch failed')
  expect(run.daemon.stop()).toBe(stopped)
  letGo()
  await stopped
  expect(run.events.filter((event) => event.startsWith('daemon.stop'))).toEqual(['daemon.stopped'])
  expect(place.look('select status from _deliveries')).toBe('delivered')
  expect(await run.daemon.stopped).toEqual({ exitCode: 0 })
})

test('after a stop, and after a start that failed, the next start finds the database free', async () => {
  const place = aPlace()
  const first = await place.start()
  await first.daemon.stop()
  const taken = Number(new URL(await aServer(() => {})).port)
  await expect(place.start({ port: taken })).rejects.toThrow(ConfigError)
  const again = await place.start()
  expect(again.daemon.apiToken).toBe(first.daemon.apiToken)
  expect(again.daemon.signingSecret).toBe(first.daemon.signingSecret)
})

test('the secrets it makes are each daemon’s own, and for the owner of the files alone', async () => {
  const places = [aPlace(), aPlace()] as const
  const daemons = await Promise.all(places.map(async ({ start }) => (await start()).daemon))
  for (const name of ['apiToken', 'signingSecret'] as const) expect(daemons[0]?.[name]).not.toBe(daemons[1]?.[name])
  for (const { tokenPath, signingSecretPath, apiToken, signingSecret } of daemons) {
    expect(apiToken).toMatch(/^rb_[\w-]{32}$/)
    expect(readFileSync(tokenPath!, 'utf8')).toBe(`${apiToken}\n`)
    expect(readFileSync(signingSecretPath!, 'utf8')).toBe(`${signingSecret}\n`)
    for (const file of [tokenPath!, signingSecretPath!]) expect(statSync(file).mode & 0o777).toBe(0o600)
  }
})

test.each([
  ['is empty', '\n', /is empty: delete it/],
  ['holds something else', 'not a secret\n', /does not hold a whsec_ secret/],
])('a signing secret file that %s is said, and not replaced', async (_what, content, words) => {
  const place = aPlace()
  const file = `${place.path}.signing-secret`
  writeFileSync(file, content)
  await expect(place.start()).rejects.toThrow(words)
  expect(readFileSync(file, 'utf8')).toBe(content)
})

test('the ballast lies beside the database, and secrets of endpoints are sealed with the operator’s key', async () => {
  const place = aPlace({ RINGBACK_SECRET_KEY: Buffer.alloc(32, 7).toString('base64') })
  const run = await place.start()
  expect(existsSync(`${place.path}.ballast`)).toBe(true)
  const made = await run.post('/v1/endpoints', { url: 'https://receiver.example/' })
  expect(made).toMatchObject({ status: 201, body: { secret: expect.stringMatching(/^whsec_/) } })
  const sealed = String(place.look('select sealed from _secrets'))
  expect(Buffer.from(sealed, 'base64').toString('latin1') + sealed).not.toContain(String(made.body['secret']).slice(6))
})

test('a database that is gone ends the daemon with 74', async () => {
  const place = aPlace()
  const run = await place.start()
  rmSync(place.path)
  expect((await register(run, 'https://receiver.example/')).status).toBe(500)
  expect(await run.daemon.stopped).toEqual({ exitCode: 74 })
  expect(run.events).toContain('store.damaged')
})

test('the chores are on the clock from the start to the stop', async () => {
  const schedule = vi.spyOn(cron, 'schedule')
  onTestFinished(() => schedule.mockRestore())
  const { daemon } = await aPlace().start()
  expect(schedule.mock.calls.map(([expression, , options]) => [options?.name, expression])).toEqual(
    expect.arrayContaining([
      ['forget', expect.stringMatching(/^\d+ \* \* \* \*$/)],
      ['checkpoint', '* * * * *'],
    ]),
  )
  const tasks = schedule.mock.results.map(({ value }) => value as ReturnType<typeof cron.schedule>)
  expect(tasks.map((task) => task.getStatus())).not.toContain('destroyed')
  await daemon.stop()
  expect(new Set(await Promise.all(tasks.map((task) => task.getStatus())))).toEqual(new Set(['destroyed']))
})

test('a part that cannot be stopped is logged, and keeps no other from being stopped', async () => {
  const schedule = vi.spyOn(cron, 'schedule')
  onTestFinished(() => schedule.mockRestore())
  const place = aPlace()
  const run = await place.start()
  const destroys = schedule.mock.results.map(({ value }) =>
    vi.spyOn(value as ReturnType<typeof cron.schedule>, 'destroy'),
  )
  destroys[0]?.mockImplementationOnce(() => {
    throw new Error('a bug in node-cron')
  })
  await run.daemon.stop()
  for (const destroy of destroys) destroy.mockRestore()
  for (const { value } of schedule.mock.results) await (value as ReturnType<typeof cron.schedule>).destroy()
  expect(run.events).toContain('daemon.stop_failed')
  await (await place.start()).daemon.stop()
})

test('connections to receivers that were kept for later are closed with the daemon', async () => {
  const upstream = await aServer((_, response) => void response.end(FINISHED))
  const open = new Set<object>()
  const receiver = createServer((_, response) => void response.end())
  receiver.on('connection', (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  onTestFinished(() => void receiver.close())
  const place = aPlace({ AIDGE_BASE_URL: upstream })
  const run = await place.start()
  await register(run, `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`)
  await eventually(() => (place.look('select status from _deliveries') === 'delivered' ? true : null))
  expect(open.size).toBe(1)
  await run.daemon.stop()
  // Of itself it would be kept for some seconds.
  await eventually(() => (open.size === 0 ? true : null), 1_500)
})

test('what a part behind the settings refuses is said before anything is made', async () => {
  const place = aPlace({ AIDGE_KINDS: '[{"name":"NOT A NAME"}]' })
  await expect(place.start()).rejects.toThrow(/AIDGE_KINDS/)
  await expect(place.start()).rejects.toThrow(ConfigError)
  expect(existsSync(place.path)).toBe(false)
})

test('a request whose body never comes does not hold up the stop', async () => {
  const run = await aPlace().start()
  await aHalfRequest(run)
  const startedAt = performance.now()
  await run.daemon.stop()
  expect(performance.now() - startedAt).toBeLessThan(5_000)
})

test('an answer that cannot be recorded because somebody holds the database does not hold up the stop', async () => {
  const upstream = await aServer((_, response) => void response.end(FINISHED))
  let foreign: Database.Database | null = null
  const place = aPlace({ AIDGE_BASE_URL: upstream, RINGBACK_SHUTDOWN_GRACE: '1s' })
  const run = await place.start()
  const held = new Promise<void>((resolve) => {
    void aServer((_, response) => {
      foreign = new Database(place.path)
      foreign.exec('begin immediate')
      response.end()
      resolve()
    }).then((url) => register(run, url))
  })
  await held
  const startedAt = performance.now()
  await run.daemon.stop()
  expect(performance.now() - startedAt).toBeLessThan(8_000)
  ;(foreign as Database.Database | null)?.close()
  expect(place.look('select status from _deliveries')).toBe('pending')
})

test('as many queries are under way at once as the settings allow', async () => {
  let underWay = 0
  let letAllGo = () => {}
  const all = new Promise<void>((resolve) => {
    letAllGo = resolve
  })
  const upstream = await aServer((_, response) => {
    underWay += 1
    if (underWay === 4) letAllGo()
    void all.then(() => response.end(FINISHED))
  })
  const run = await aPlace({
    AIDGE_BASE_URL: upstream,
    RINGBACK_POLL_RATE: '1000',
    RINGBACK_POLL_CONCURRENCY: '4',
  }).start()
  const tasks = ['a', 'b', 'c', 'd'].map((taskId) => ({ taskId, callbackUrl: 'https://receiver.example/' }))
  expect((await run.post('/v1/tasks/bulk', { tasks })).status).toBe(200)
  await all
  expect(underWay).toBe(4)
})
