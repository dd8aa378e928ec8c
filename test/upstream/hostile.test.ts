/**
 * Upstream answers that are too large, too deep, broken or endless (F30, F33), over real sockets: never a verdict on a
 * task, never a crash, ended at the cap or the deadline, and the event loop goes on for everybody else.
 */

import { createServer, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import type { Observation } from '../../src/core/observation.ts'
import { epochMs } from '../../src/core/time.ts'
import { readAnswer } from '../../src/upstream/aidge/answer.ts'
import { BYTES_MAX_DEFAULT, createAidgeUpstream } from '../../src/upstream/aidge/client.ts'
import { VALUES_MAX } from '../../src/upstream/aidge/json.ts'
import { MEASURED } from '../support/measured.ts'
import { answering, aTask, json, type Loopback, listen, tcp } from './aidge/loopback.ts'

const MIB = 1024 * 1024
/** What one answer may take from all others; a check shares its machine with other tests. */
const STALL_MS_MAX = 1_500

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()))
})

async function serve(server: Promise<Loopback>): Promise<string> {
  const open = await server
  opened.push(open)
  return open.baseUrl
}

interface Watched {
  readonly observation: Observation
  readonly tookMs: number
}

async function observe(baseUrl: string, { timeoutMs = 5_000, taskId = 'aaaa-1' } = {}): Promise<Watched> {
  const upstream = createAidgeUpstream({
    clock: { now: () => epochMs(1_735_689_600_000), wall: () => epochMs(1_735_689_600_000) },
    credential: {
      name: 'default',
      baseUrl,
      accessKeyName: 'name-500123',
      accessKeySecret: 'canary-Tq7m',
      trial: false,
    },
    userAgent: 'ringback/test',
    timeoutMs,
  })
  opened.push(upstream)
  const startedAt = performance.now()
  const { answers } = await upstream.query([aTask({ taskId })], new AbortController().signal)
  return { observation: answers[0]!.observation, tookMs: performance.now() - startedAt }
}

/** The longest time in which nothing else could run while `act` ran. */
async function longestStallMs(act: () => unknown): Promise<number> {
  let longest = 0
  let isOver = false
  let last = performance.now()
  const beat = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (!isOver) setImmediate(beat)
  }
  setImmediate(beat)
  await act()
  await new Promise((resolve) => setImmediate(resolve))
  isOver = true
  return longest
}

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'
const CHUNKED = `${HEAD}transfer-encoding: chunked\r\n\r\n`

function pour(socket: Socket, start: string, piece: string): void {
  const chunk = Buffer.from(piece.repeat(Math.ceil(65_536 / piece.length)))
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  socket.write(start)
  more()
}

function drip(socket: Socket, start: string, piece: string): void {
  socket.write(start)
  const timer = setInterval(() => socket.writable && socket.write(piece), 10)
  socket.once('close', () => clearInterval(timer))
}

/** A server below HTTP that behaves so from the first byte of a request on. */
function behaving(behave: (socket: Socket) => void): Promise<Loopback> {
  return tcp((socket) => {
    socket.once('data', () => behave(socket))
  })
}

describe('an answer that is too large', () => {
  async function streaming(totalBytes: number, headers: Record<string, string>) {
    const sockets: Socket[] = []
    const chunk = Buffer.alloc(65_536, ' ')
    const server = createServer((request, response) => {
      request.resume()
      request.on('end', () => {
        sockets.push(request.socket)
        response.writeHead(200, { 'content-type': 'application/json', ...headers })
        send(response, totalBytes)
      })
    })
    function send(response: ServerResponse, left: number): void {
      if (response.destroyed) return
      if (left <= 0) return void response.end()
      if (response.write(chunk)) setImmediate(send, response, left - chunk.length)
      else response.once('drain', () => send(response, left - chunk.length))
    }
    const port = await listen(server)
    const close = async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
    opened.push({ close: async () => void (await close()) })
    return {
      baseUrl: `http://127.0.0.1:${port}`,
      sentBytes: () => sockets.reduce((sum, one) => sum + one.bytesWritten, 0),
    }
  }

  test.each([
    ['declared', { 'content-length': String(200 * MIB) }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('of 200 MB, %s, is cut at the cap', MEASURED, async (_how, headers) => {
    const server = await streaming(200 * MIB, headers)
    const before = process.memoryUsage().rss
    const { observation } = await observe(server.baseUrl)
    expect(observation).toMatchObject({ kind: 'unavailable', reason: 'too_large' })
    // Beside the cap the buffers of two sockets on loopback, which the kernel makes as large as some megabytes.
    expect(server.sentBytes()).toBeLessThan(BYTES_MAX_DEFAULT + 12 * MIB)
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * MIB)
  })

  test('as a gzip bomb is not inflated', async () => {
    const bomb = gzipSync(Buffer.alloc(200 * MIB, '['))
    const server = answering((response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': bomb.length })
      response.end(bomb)
    })
    const { observation } = await observe(await serve(server))
    expect(observation).toMatchObject({ kind: 'unavailable', reason: 'not_json' })
  })
})

describe('an answer without an end', () => {
  test.each<[string, string, (socket: Socket) => void]>([
    ['pours out headers', 'protocol', (socket) => pour(socket, HEAD, 'x-a: b\r\n')],
    ['pours out one header', 'protocol', (socket) => pour(socket, `${HEAD}x-a: `, 'x')],
    ['pours out a body', 'too_large', (socket) => pour(socket, `${HEAD}\r\n`, '[')],
    ['drips its headers', 'timeout', (socket) => drip(socket, HEAD, 'x')],
    ['drips its body', 'timeout', (socket) => drip(socket, CHUNKED, '1\r\n[\r\n')],
    ['drips chunk lengths', 'timeout', (socket) => drip(socket, `${CHUNKED}1;`, 'x')],
    ['pours out Early Hints', 'timeout', (socket) => pour(socket, '', 'HTTP/1.1 103 Early Hints\r\n\r\n')],
    ['pours out a chunk extension', 'timeout', (socket) => pour(socket, `${CHUNKED}1;`, 'x')],
  ])('that %s ends by itself or by the deadline, as %s', async (_what, reason, behave) => {
    const { observation, tookMs } = await observe(await serve(behaving(behave)), { timeoutMs: 300 })
    expect(observation).toMatchObject({ kind: 'unavailable', reason })
    expect(tookMs).toBeLessThan(300 + 4_000)
  })
})

const FINISHED = JSON.stringify({
  code: '0',
  success: true,
  data: { taskId: 'aaaa-1', taskStatus: 'finished', taskResult: [{ url: 'https://cdn.example/a.png?Expires=1' }] },
})

describe('an answer that is broken', () => {
  test('by a cut at any byte says nothing about the task', () => {
    for (let length = 0; length < FINISHED.length; length += 1) {
      expect([length, readAnswer(Buffer.from(FINISHED.slice(0, length)))]).toEqual([length, null])
    }
    expect(readAnswer(Buffer.from(FINISHED))?.taskStatus).toBe('finished')
  })

  test.each<[string, string, string]>([
    ['a content-length that is too long', `content-length: ${FINISHED.length + 9}`, 'reset'],
    ['a content-length that is no number', 'content-length: many', 'protocol'],
    ['a negative content-length', 'content-length: -1', 'protocol'],
    ['two content-lengths', `content-length: ${FINISHED.length}\r\ncontent-length: 5`, 'protocol'],
    ['a content-length beside chunks', `content-length: ${FINISHED.length}\r\ntransfer-encoding: chunked`, 'protocol'],
    ['chunks that are none', 'transfer-encoding: chunked', 'protocol'],
    ['a content-length that is too short', 'content-length: 20', 'not_json'],
  ])('by %s says nothing about the task', async (_what, header, reason) => {
    const server = behaving((socket) => socket.end(`${HEAD}${header}\r\n\r\n${FINISHED}`))
    const { observation } = await observe(await serve(server))
    expect(observation).toMatchObject({ kind: 'unavailable', reason })
  })

  test.each([
    ['an HTML page of maintenance', '<!doctype html><html><h1>We will be back</h1></html>'],
    ['JSON after a prefix', `)]}',\n${FINISHED}`],
    ['JSON with a tail', `${FINISHED}<!-- 12 ms -->`],
    ['two JSON texts', `${FINISHED}\n${FINISHED}`],
    ['JSONP', `callback(${FINISHED})`],
    ['a list', `[${FINISHED}]`],
    ['a text', JSON.stringify(FINISHED)],
    ['null', 'null'],
    ['nothing', ''],
  ])('by being %s says nothing about the task', async (_what, body) => {
    const server = answering((response) => json(response, body))
    const { observation } = await observe(await serve(server))
    expect(observation).toMatchObject({ kind: 'unavailable', reason: 'not_json' })
  })
})

describe('an id beyond 2^53', () => {
  const answer = (digits: string) => `{"data":{"taskId":${digits},"taskStatus":"finished","taskResult":[]}}`

  test.each([
    ['9007199254740993', '9007199254740993', 'finished'],
    ['9007199254740993', '9007199254740992', 'unavailable'],
    ['9007199254740992', '9007199254740993', 'unavailable'],
    ['123456789012345678901234567890', '123456789012345678901234567890', 'finished'],
    ['123456789012345678901234567890', '123456789012345678901234567891', 'unavailable'],
    [`1${'0'.repeat(250)}`, `1${'0'.repeat(250)}`, 'finished'],
    [`1${'0'.repeat(250)}`, '1e250', 'unavailable'],
  ])('asked as %s and echoed as the number %s is: %s', async (taskId, echoed, kind) => {
    const server = answering((response) => json(response, answer(echoed)))
    const { observation } = await observe(await serve(server), { taskId })
    expect(observation.kind).toBe(kind)
  })
})

describe('the event loop goes on beside an answer of 8 MiB', () => {
  const filled = (start: string, piece: string, end: string, count = Math.floor((8 * MIB - 64) / piece.length)) =>
    `${start}${piece.repeat(count)}${end}`
  const nested = (open: string, close: string, count: number) =>
    `{"data":{"taskStatus":"finished","x":${open.repeat(count)}1${close.repeat(count)}}}`
  const inner = (text: string, count: number) =>
    JSON.stringify({ data: { taskStatus: 'running', taskResult: Array.from({ length: count }, () => text) } })
  const lists = '['.repeat(240_000) + ']'.repeat(240_000)

  const ANSWERS: readonly (readonly [string, string, 'not_json' | 'finished' | 'running'])[] = [
    ['of opening brackets', '['.repeat(8 * MIB), 'not_json'],
    ['of opening braces', filled('', '{"":', ''), 'not_json'],
    ['of four million nested lists', nested('[', ']', 4 * MIB - 64), 'not_json'],
    ['of a million nested objects', nested('{"a":', '}', 1_300_000), 'not_json'],
    ['of empty objects', filled('{"data":[', '{},', '{}]}'), 'not_json'],
    ['of numbers', filled('{"data":[', '1,', '1]}'), 'not_json'],
    ['of one text', filled('{"data":{"taskStatus":"finished","x":"', 'a', '"}}'), 'finished'],
    ['of backslashes', filled('{"data":{"taskStatus":"finished","x":"', '\\\\', '"}}'), 'finished'],
    ['of escaped letters', filled('{"data":{"taskStatus":"finished","x":"', '\\u0041', '"}}'), 'finished'],
    ['of blanks', filled('{"data":{"taskStatus":"finished"}', ' ', '}'), 'finished'],
    ['of digits', filled('{"data":{"taskStatus":"finished","x":', '1', '}}'), 'finished'],
    ['of a text that never ends', filled('{"data":"', 'a', ''), 'not_json'],
    ['of a hundred thousand levels', nested('[', ']', 100_000), 'finished'],
    ['of as many lists as are just allowed', nested('[', ']', VALUES_MAX - 8), 'finished'],
    ['of JSON texts inside JSON', inner(lists, 16), 'running'],
    ['of many small JSON texts inside JSON', inner('[{},{},{},{}]', 240_000), 'running'],
    ['of result URLs', inner('https://cdn.example/a.png', 200_000), 'running'],
  ]

  test.each(ANSWERS)('%s', async (_of, text, expected) => {
    const bytes = Buffer.from(text)
    expect(bytes.length).toBeLessThanOrEqual(BYTES_MAX_DEFAULT)
    const baseUrl = await serve(
      answering((response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length })
        response.end(bytes)
      }),
    )
    const seen: Observation[] = []
    const stallMs = await longestStallMs(async () => {
      seen.push((await observe(baseUrl)).observation)
    })
    const [observation] = seen
    expect(observation?.kind === 'unavailable' ? observation.reason : observation?.kind).toBe(expected)
    expect(stallMs).toBeLessThan(STALL_MS_MAX)
  })
})
