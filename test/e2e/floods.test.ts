/**
 * The built daemon under clients that are slow, silent, many or mad, over real sockets. Proves that they are cut off within
 * the limits, that nobody else waits for them, that more than can be kept is refused while the memory stays flat, and that
 * what was acknowledged in the middle of it is kept and nothing else is.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import { memoryOf } from '../support/chaos.ts'
import { type DaemonProcess, startDaemonProcess, TOKEN } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

interface Stage {
  readonly daemon: DaemonProcess
  readonly path: string
  readonly port: number
  /** Everything that the daemon wrote there. */
  readonly stderr: () => string
}

async function aStage(): Promise<Stage> {
  const path = join(aDirectory(), 'ringback.db')
  const daemon = await startDaemonProcess({
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: '0',
    // Nothing listens there: tasks stay as they are registered.
    AIDGE_BASE_URL: 'http://127.0.0.1:9',
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: 'not-a-real-secret',
  })
  let stderr = ''
  daemon.child.stderr?.on('data', (text: string) => {
    stderr += text
  })
  return { daemon, path, port: Number(new URL(daemon.url).port), stderr: () => stderr }
}

interface Caller {
  readonly socket: Socket
  /** What came back so far. */
  readonly text: () => string
  /** Resolves with the time of the end. */
  readonly ended: Promise<number>
}

/** Listens from the first moment on: an end that comes before anybody waits for it is not missed. */
function call(port: number, bytes: string): Caller {
  let text = ''
  const socket = connect(port, '127.0.0.1', () => void socket.write(bytes))
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  // Being cut off is what these callers are for.
  socket.on('error', () => {})
  const ended = new Promise<number>((resolve) => socket.once('close', () => resolve(Date.now())))
  onTestFinished(() => void socket.destroy())
  return { socket, text: () => text, ended }
}

/** Writes one more byte every 300 ms until the other side has had enough. */
function drip({ socket, ended }: Caller, byte: string): void {
  const timer = setInterval(() => socket.writable && socket.write(byte), 300)
  void ended.then(() => clearInterval(timer))
}

const HEAD = `POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\n`

function registration(taskId: string, metadata: object = {}): string {
  const body = JSON.stringify({ taskId, callbackUrl: 'https://shop.example/hooks', metadata })
  return `${HEAD}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

interface Answer {
  readonly status: number
  readonly retryAfter: string | null
  readonly body: Readonly<Record<string, unknown>>
}

/** What a connection has carried back: whole answers only. */
function answersIn(text: string): readonly Answer[] {
  const answers: Answer[] = []
  for (let at = 0; ; ) {
    const headEnd = text.indexOf('\r\n\r\n', at)
    if (headEnd === -1) return answers
    const head = text.slice(at, headEnd)
    const bodyEnd = headEnd + 4 + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
    if (bodyEnd > text.length) return answers
    answers.push({
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
      retryAfter: /^retry-after: (.*)$/im.exec(head)?.[1]?.trim() ?? null,
      body: JSON.parse(Buffer.from(text.slice(headEnd + 4, bodyEnd), 'latin1').toString() || '{}'),
    })
    at = bodyEnd
  }
}

async function answered(caller: Caller, count: number): Promise<readonly Answer[]> {
  for (;;) {
    const answers = answersIn(caller.text())
    if (answers.length >= count || caller.socket.destroyed) return answers
    await Promise.race([once(caller.socket, 'data').catch(() => {}), caller.ended])
  }
}

/** How long others wait for their answers, one after the other, until told to stop. */
async function askUntil(daemon: DaemonProcess, isOver: () => boolean): Promise<readonly number[]> {
  const waits: number[] = []
  for (let count = 0; !isOver(); count += 1) {
    const startedAt = performance.now()
    const { status } =
      count % 4 === 0
        ? await daemon.request('/v1/tasks', {
            method: 'POST',
            body: { taskId: `other-${count}`, callbackUrl: 'https://shop.example/hooks' },
          })
        : await daemon.request(count % 2 === 0 ? '/v1/tasks?limit=10' : '/livez')
    waits.push(performance.now() - startedAt)
    expect(status).toBeLessThan(300)
  }
  return waits.sort((a, b) => a - b)
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function expectUndisturbed(waits: readonly number[]): void {
  expect(waits.length).toBeGreaterThan(100)
  // A few milliseconds on a quiet machine. Whoever had to wait for the others would wait for ten seconds.
  expect(percentile(waits, 0.5)).toBeLessThan(500)
  expect(percentile(waits, 0.99)).toBeLessThan(4_000)
}

const SLOW_COUNT = 60
const HEADERS_MS_MAX = 10_000
const REQUEST_MS_MAX = 15_000
/** Looked for once a second, on a machine that may have much else to do. */
const LATE_MS_MAX = 10_000

test('headers and bodies that come byte by byte are cut off with 408 in time, and nobody waits for them', async () => {
  const { daemon, port, stderr } = await aStage()
  const startedAt = Date.now()
  const headers = Array.from({ length: SLOW_COUNT }, () => call(port, 'GET /livez HTTP/1.1\r\nX: '))
  const bodies = Array.from({ length: SLOW_COUNT }, () => call(port, `${HEAD}Content-Length: 1000\r\n\r\n{"taskId":"`))
  const chunks = Array.from({ length: SLOW_COUNT }, () => call(port, `${HEAD}Transfer-Encoding: chunked\r\n\r\n`))
  for (const caller of [...headers, ...bodies]) drip(caller, 'x')
  for (const caller of chunks) drip(caller, '1\r\nx\r\n')
  let isOver = false
  const waits = askUntil(daemon, () => isOver)
  for (const [callers, msMax] of [
    [headers, HEADERS_MS_MAX],
    [bodies, REQUEST_MS_MAX],
    [chunks, REQUEST_MS_MAX],
  ] as const) {
    const ends = await Promise.all(callers.map(({ ended }) => ended))
    expect(Math.max(...ends) - startedAt).toBeLessThan(msMax + LATE_MS_MAX)
    for (const caller of callers) {
      expect(answersIn(caller.text())).toMatchObject([{ status: 408, body: { status: 408 } }])
    }
  }
  isOver = true
  expectUndisturbed(await waits)
  expect(stderr()).toBe('')
  expect((await daemon.request('/v1/tasks?taskId=x')).body).toMatchObject({ items: [] })
}, 240_000)

test('twelve hundred connections that say nothing lock nobody out', async () => {
  const { daemon, port, stderr } = await aStage()
  // This one is in the middle of a request from before the crowd comes, and must not have to make room.
  const busy = call(port, `${HEAD}Content-Length: 70\r\n\r\n{`)
  await once(busy.socket, 'connect')
  await daemon.request('/livez')
  const idle: Caller[] = []
  for (let wave = 0; wave < 12; wave += 1) {
    const callers = Array.from({ length: 100 }, () => call(port, ''))
    idle.push(...callers)
    await Promise.all(callers.map(({ socket }) => once(socket, 'connect')))
  }
  // Two hundred had to make room, and more for each of ours.
  await Promise.all(idle.slice(0, 200).map(({ ended }) => ended))
  let count = 0
  const waits = await askUntil(daemon, () => {
    count += 1
    return count > 300
  })
  expectUndisturbed(waits)
  expect(idle.filter(({ socket }) => !socket.destroyed).length).toBeGreaterThan(900)
  busy.socket.write(JSON.stringify({ taskId: 'a', callbackUrl: 'https://shop.example/' }).slice(1).padEnd(69))
  expect(await answered(busy, 1)).toMatchObject([{ status: 201 }])
  expect(stderr()).toBe('')
})

test('a thousand connections that wait for a task lock nobody out, and stderr stays silent', async () => {
  const { daemon, port, stderr } = await aStage()
  const { body } = await daemon.request('/v1/tasks', {
    method: 'POST',
    body: { taskId: 'a', callbackUrl: 'https://shop.example/' },
  })
  const { id } = body as { id: string }
  const ask = `GET /v1/tasks/${id}?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`
  // Several on each connection: there is no need of a thousand sockets to have a thousand waiting.
  const callers = Array.from({ length: 30 }, () => call(port, ask.repeat(40)))
  await Promise.all(callers.map(({ socket }) => once(socket, 'connect')))
  let count = 0
  const waits = await askUntil(daemon, () => {
    count += 1
    return count > 200
  })
  expect(percentile(waits, 0.5)).toBeLessThan(500)
  expect((await daemon.request(`/v1/tasks/${id}/cancel`, { method: 'POST' })).status).toBe(200)
  const answers = (await Promise.all(callers.map((caller) => answered(caller, 40)))).flat()
  const [settled, refused] = [200, 429].map((status) => answers.filter((answer) => answer.status === status))
  expect(settled?.length).toBe(1000)
  expect(refused?.length).toBe(200)
  expect(refused?.every(({ retryAfter }) => retryAfter === '1')).toBe(true)
  expect(stderr()).toBe('')
})

/** A foreign program holds the database, so that everything that is to be kept has to wait. */
function holdDatabase(path: string): () => void {
  const db = new Database(path, { timeout: 5_000 })
  db.exec('begin immediate')
  let isHeld = true
  const release = () => {
    if (isHeld) db.exec('rollback')
    isHeld = false
    db.close()
  }
  onTestFinished(() => void (isHeld && release()))
  return release
}

function keptIn(path: string): ReadonlySet<string> {
  const db = new Database(path, { readonly: true })
  const ids = db.prepare<[], string>('select task_id from tasks').pluck().all()
  db.close()
  return new Set(ids)
}

const FLOOD_CONNECTIONS = 50
const FLOOD_EACH = 200
const CALLER_WAIT_MS_MAX = 5_000

test('more registrations than can be kept are told to come again; what is acknowledged is kept, and nothing else', async () => {
  const { daemon, path, port, stderr } = await aStage()
  const before = memoryOf(daemon, 'VmRSS')
  const acknowledged = new Set<string>()
  const flood = (round: string, count: number) =>
    Array.from({ length: FLOOD_CONNECTIONS }, (_, caller) =>
      call(
        port,
        Array.from({ length: count }, (__, index) =>
          registration(`${round}-${caller}-${index}`, { a: 'x'.repeat(500) }),
        ).join(''),
      ),
    )
  const tally = async (callers: readonly Caller[], count: number) => {
    const all = (await Promise.all(callers.map((caller) => answered(caller, count)))).flat()
    for (const { status, body } of all) if (status === 201) acknowledged.add(String(body['taskId']))
    for (const { status, retryAfter } of all) if (status >= 400) expect(retryAfter, `${status}`).toMatch(/^[1-9]\d?$/)
    expect(all.filter(({ status }) => ![201, 429, 503].includes(status))).toEqual([])
    return (status: number) => all.filter((answer) => answer.status === status).length
  }

  // The lock is held for longer than anybody waits.
  const release = holdDatabase(path)
  const startedAt = Date.now()
  const refused = await tally(flood('held', FLOOD_EACH), FLOOD_EACH)
  expect(Date.now() - startedAt).toBeLessThan(2 * CALLER_WAIT_MS_MAX + LATE_MS_MAX)
  expect(refused(201)).toBe(0)
  expect(refused(429)).toBeGreaterThan(1000)
  expect(refused(503)).toBeGreaterThanOrEqual(1000)
  const atPeak = memoryOf(daemon, 'VmHWM')
  if (before !== null && atPeak !== null) expect(atPeak - before).toBeLessThan(200)

  // The lock is released while they wait: all who were let in are kept.
  const waiting = flood('freed', 20)
  await Promise.all(waiting.map(({ socket }) => once(socket, 'connect')))
  await daemon.request('/livez')
  release()
  const freed = await tally(waiting, 20)
  expect(freed(201)).toBe(1000)

  expect(keptIn(path)).toEqual(acknowledged)
  expect((await daemon.request('/readyz')).status).toBe(200)
  expect(stderr()).toBe('')
})

test('large bodies together never take more memory than was set apart for them', async () => {
  const { daemon, path } = await aStage()
  const before = memoryOf(daemon, 'VmRSS')
  const release = holdDatabase(path)
  const tasks = (caller: number) =>
    Array.from({ length: 500 }, (_, index) => ({
      taskId: `large-${caller}-${index}`,
      callbackUrl: 'https://shop.example/hooks',
      metadata: { text: 'x'.repeat(15_000) },
    }))
  const calls = Array.from({ length: 12 }, (_, caller) =>
    daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks: tasks(caller) } }),
  )
  // Twelve times 7.2 MiB, and 32 MiB are set apart: four are let in.
  const statuses = (await Promise.all(calls)).map(({ status }) => status).sort()
  expect(statuses).toEqual([...Array.from({ length: 8 }, () => 429), ...Array.from({ length: 4 }, () => 503)])
  const atPeak = memoryOf(daemon, 'VmHWM')
  if (before !== null && atPeak !== null) expect(atPeak - before).toBeLessThan(320)
  release()
  expect(keptIn(path)).toEqual(new Set())
  const again = await daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks: tasks(0) } })
  expect(again.status).toBe(200)
  expect(keptIn(path).size).toBe(500)
})

test('garbage behind a request that waits for its answer is answered once, after it, and ends the connection', async () => {
  const { daemon, path, port, stderr } = await aStage()
  const release = holdDatabase(path)
  const caller = call(port, registration('a'))
  await once(caller.socket, 'connect')
  for (let piece = 0; piece < 50; piece += 1) {
    caller.socket.write(`GARBAGE ${piece}\r\n\r\n`)
    // Each in a packet of its own.
    await daemon.request('/livez')
  }
  release()
  await caller.ended
  expect(answersIn(caller.text()).map(({ status }) => status)).toEqual([201, 400])
  const mad = Array.from({ length: 200 }, (_, index) => call(port, noise(index)))
  const closing = mad.map(async (one) => {
    one.socket.end()
    await one.ended
    for (const { status } of answersIn(one.text())) expect([400, 408, 431]).toContain(status)
  })
  await Promise.all(closing)
  expect((await daemon.request('/livez')).status).toBe(200)
  expect(stderr()).toBe('')
})

/** The same each time for the same number. */
function noise(seed: number): string {
  let state = seed + 1
  return Array.from({ length: 2_000 }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return String.fromCharCode((state >> 8) & 0xff)
  }).join('')
}
