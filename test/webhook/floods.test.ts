/**
 * Receivers that pour (F41, F42, F48): whatever they send without end, little of it is read, memory stays flat, the
 * attempt ends by the size and not by its deadline, and with the result that a person would expect.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { createAddressGuard, parseAllowList } from '../../src/webhook/address-guard.ts'
import { createPost } from '../../src/webhook/post.ts'
import { answerWith, closeReceivers, fixture, type OnRequest, type Receiver, startReceiver } from './receivers.ts'

/** Longer than any test may take: what ends in time was ended by its size. */
const DEADLINE_MS = 10_000
/** What a busy machine may need to get there; the deadline itself is far away. */
const TOOK_MS_MAX = 5_000
/** Of what a receiver pours, TLS and all. */
const READ_BYTES_MAX = 65_536

const closings: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closings.splice(0)) await close()
  await closeReceivers()
})

function sender(trustedCertificates: readonly string[] = []) {
  const read = parseAllowList(['127.0.0.0/8'])
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => [] })
  const made = createPost({ guard, connectionsMax: 64, userAgent: 'ringback/test', trustedCertificates })
  closings.push(made.close)
  return async (url: string) => {
    const startedAt = performance.now()
    const { signal } = new AbortController()
    const exchange = await made.post({ url, headers: {}, body: '{}', deadlineMs: DEADLINE_MS }, signal)
    const { result } = exchange
    const summary = result.kind === 'response' ? `response ${result.status}` : `${result.kind} ${result.reason}`
    return { summary, exchange, tookMs: performance.now() - startedAt }
  }
}

/** The sockets that undici opened while `act` ran: what was read of each is known even when it is closed. */
async function socketsOf(act: () => Promise<unknown>): Promise<readonly Socket[]> {
  const sockets: Socket[] = []
  const onConnected = (message: unknown) => sockets.push((message as { socket: Socket }).socket)
  subscribe('undici:client:connected', onConnected)
  try {
    await act()
  } finally {
    unsubscribe('undici:client:connected', onConnected)
  }
  return sockets
}

/** Begins with `start` and repeats `piece` for as long as somebody reads. */
function pouring(start: string, piece: string | Buffer): OnRequest {
  const bytes = Buffer.from(piece)
  const chunk = Buffer.concat(Array.from({ length: Math.max(1, Math.ceil(65_536 / bytes.length)) }, () => bytes))
  return (socket) => {
    const more = () => {
      while (socket.writable && socket.write(chunk));
    }
    socket.on('drain', more)
    if (start !== '') socket.write(start)
    more()
  }
}

const OK = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`
const BOMB = gzipSync(Buffer.alloc(100_000_000))

const POURING: readonly (readonly [string, string, OnRequest])[] = [
  ['a body without a length', 'response 200', pouring(`${OK}\r\n`, 'x')],
  ['a body of terabytes', 'response 200', pouring(`${OK}Content-Length: 9007199254740991\r\n\r\n`, 'x')],
  ['a body in large chunks', 'response 200', pouring(CHUNKED, `ffff\r\n${'x'.repeat(65_535)}\r\n`)],
  ['a body in chunks of one byte', 'response 200', pouring(CHUNKED, '1\r\nx\r\n')],
  ['one chunk of an endless length', 'response 200', pouring(`${CHUNKED}fffffffffffff\r\n`, 'x')],
  ['a chunk extension', 'response 200', pouring(`${CHUNKED}1;`, 'x')],
  ['a trailer', 'response 200', pouring(`${CHUNKED}0\r\n`, 'x-trailer: x\r\n')],
  ['a gzip bomb', 'response 200', pouring(`${OK}Content-Encoding: gzip\r\n\r\n`, BOMB)],
  ['a stack of encodings', 'response 200', pouring(`${OK}Content-Encoding: ${'gzip, '.repeat(500)}br\r\n\r\n`, BOMB)],
  ['an error page', 'response 500', pouring('HTTP/1.1 500 Oops\r\n\r\n', '<p>oops</p>')],
  ['events', 'response 200', pouring(`${OK}Content-Type: text/event-stream\r\n\r\n`, 'data: x\n\n')],
  ['Early Hints', 'no_response protocol', pouring('', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')],
  ['empty Early Hints', 'no_response protocol', pouring('', 'HTTP/1.1 103 E\r\n\r\n')],
  ['100 Continue', 'no_response protocol', pouring('', 'HTTP/1.1 100 Continue\r\n\r\n')],
  ['102 Processing', 'no_response protocol', pouring('', 'HTTP/1.1 102 Processing\r\n\r\n')],
  ['one header', 'no_response protocol', pouring(`${OK}x-a: `, 'x')],
  ['headers', 'no_response protocol', pouring(OK, 'x-a: b\r\n')],
  ['a header name', 'no_response protocol', pouring(OK, 'x')],
  ['a status line', 'no_response protocol', pouring('HTTP/1.1 200 ', 'x')],
  ['empty lines', 'no_response protocol', pouring('', '\r\n')],
  ['NUL bytes', 'no_response protocol', pouring('', '\0')],
  ['random bytes', 'no_response protocol', pouring('', Buffer.from('c3a9ff00fe8081', 'hex'))],
]

async function expectEndBySize(receiver: Receiver, send: ReturnType<typeof sender>, expected: string): Promise<void> {
  const sockets = await socketsOf(async () => {
    const { summary, tookMs, exchange } = await send(receiver.url())
    expect(summary).toBe(expected)
    expect(exchange.responseExcerpt?.length ?? 0).toBeLessThanOrEqual(4_096)
    expect(tookMs).toBeLessThan(TOOK_MS_MAX)
  })
  expect(sockets).toHaveLength(1)
  for (const socket of sockets) expect(socket.bytesRead).toBeLessThanOrEqual(READ_BYTES_MAX)
  await receiver.untilOpen(0)
}

describe('a receiver that pours', () => {
  test.each(POURING)('%s ends by the size, as %s', async (_what, expected, onRequest) => {
    await expectEndBySize(await startReceiver(onRequest), sender(), expected)
  })

  test.each(POURING)('over TLS: %s ends by the size, as %s', async (_what, expected, onRequest) => {
    const certificate = fixture('certificate.pem')
    const receiver = await startReceiver(onRequest, { key: fixture('key.pem'), cert: certificate })
    await expectEndBySize(receiver, sender([certificate]), expected)
  })

  test('and another that answers 16 KB again and again on one connection are two things', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200, [], 'x'.repeat(16_000)))
    const send = sender()
    for (let count = 0; count < 10; count += 1) expect((await send(receiver.url())).summary).toBe('response 200')
    expect(receiver.connectionCount()).toBe(1)
  })

  test('leaves memory flat, however many pour at once', async () => {
    const garbageCollector = exposeGarbageCollector()
    const send = sender()
    const receivers = await Promise.all(POURING.map(([, , onRequest]) => startReceiver(onRequest)))
    const round = async () => {
      await Promise.all(receivers.flatMap((receiver) => [0, 1, 2].map(() => send(receiver.url()))))
      await Promise.all(receivers.map((receiver) => receiver.untilOpen(0)))
    }
    const settled = () => {
      garbageCollector()
      const { heapUsed, arrayBuffers, external } = process.memoryUsage()
      return heapUsed + arrayBuffers + external
    }
    await round()
    const before = settled()
    for (let count = 0; count < 8; count += 1) await round()
    // Eight rounds of 66 pouring receivers: had even 16 KiB of each been kept, it would be 8 MiB.
    expect(settled() - before).toBeLessThan(4 * 1024 * 1024)
  }, 240_000)
})

/** Without it the numbers would be those of garbage. */
function exposeGarbageCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
