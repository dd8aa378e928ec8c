/** Receivers and networks that misbehave: every attempt ends, in time, with a result, and leaves no socket behind. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Exchange } from '../../src/ports.ts'
import { createAddressGuard, parseAllowList, type Resolve } from '../../src/webhook/address-guard.ts'
import { createPost } from '../../src/webhook/post.ts'
import { MEASURED } from '../support/measured.ts'
import { answerWith, closeReceivers, fixture, type OnRequest, startReceiver } from './receivers.ts'

const DEADLINE_MS = 300
/** What a busy machine may take on top. */
const SLACK_MS = 2_000

const serverTls = { key: fixture('key.pem'), cert: fixture('certificate.pem') }
const closings: (() => void)[] = []
const posts: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const close of closings.splice(0)) close()
  for (const post of posts.splice(0)) await post.close()
  await closeReceivers()
})

function postOf({ allow = ['127.0.0.0/8'], resolve }: { allow?: string[]; resolve?: Resolve } = {}) {
  const read = parseAllowList(allow)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => [], ...(resolve && { resolve }) })
  const made = createPost({ guard, connectionsMax: 8, userAgent: 'ringback/test' })
  posts.push(made)
  return async (url: string, signal = new AbortController().signal, deadlineMs = DEADLINE_MS) => {
    const startedAt = performance.now()
    const exchange = await made.post({ url, headers: {}, body: '{}', deadlineMs }, signal)
    return { ...exchange, tookMs: performance.now() - startedAt }
  }
}

function summary({ result }: Exchange): string {
  return result.kind === 'response' ? `response ${result.status}` : `${result.kind} ${result.reason}`
}

/** Writes a byte now and then, until the test is over or the connection is. */
function drip(socket: Socket, text: string, everyMs = 20): void {
  let index = 0
  const timer = setInterval(() => {
    if (socket.writable) socket.write(text[index++ % text.length]!)
  }, everyMs)
  socket.on('close', () => clearInterval(timer))
  closings.push(() => clearInterval(timer))
}

function pour(socket: Socket): void {
  const chunk = Buffer.alloc(65_536, 'x')
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}

const OK = 'HTTP/1.1 200 OK\r\n'

describe('no answer comes to an end by the deadline', () => {
  test.each<[string, OnRequest]>([
    ['is silent', () => {}],
    ['drips its headers', (socket) => drip(socket, `${OK}${'x-a: b\r\n'.repeat(1_000)}`)],
    ['sends one status line and stops', (socket) => socket.write(OK)],
    ['sends Early Hints without end', (socket) => drip(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n', 1)],
  ])('of a receiver that %s', async (_name, onRequest) => {
    const receiver = await startReceiver(onRequest)
    const exchange = await postOf()(receiver.url())
    expect(exchange.result).toEqual({ kind: 'no_response', reason: 'timeout', detail: 'no answer within 300 ms' })
    expect(exchange.tookMs).toBeGreaterThan(DEADLINE_MS - 20)
    expect(exchange.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    await receiver.untilOpen(0)
  })

  test('of a receiver that accepts the connection and never gets done with TLS', async () => {
    const receiver = await startReceiver(() => {})
    const exchange = await postOf()(receiver.url().replace('http:', 'https:'))
    expect(summary(exchange)).toBe('no_response timeout')
    expect(exchange.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    await receiver.untilOpen(0)
  })

  test('of a name server that is silent, and an answer that comes later connects to nothing', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const late: (() => void)[] = []
    const resolve: Resolve = (_hostname, done) => late.push(() => done(null, [{ address: '127.0.0.1', family: 4 }]))
    const post = postOf({ allow: ['receiver.test', '127.0.0.0/8'], resolve })
    expect(summary(await post(receiver.url('receiver.test')))).toBe('no_response timeout')
    for (const answer of late) answer()
    // A whole exchange later, any connection of the first would have arrived too.
    expect(summary(await post(receiver.url()))).toBe('response 200')
    expect(receiver.connectionCount()).toBe(1)
  })

  test('and sixty-four silent ones keep nobody waiting', async () => {
    const silent = await startReceiver(() => {})
    const healthy = await startReceiver((socket) => answerWith(socket, 200))
    const post = postOf()
    const dead = Array.from({ length: 64 }, () => post(silent.url(), undefined, 2_000))
    await silent.untilRequests(64)
    const exchange = await post(healthy.url())
    expect(summary(exchange)).toBe('response 200')
    // The silent ones take their two seconds.
    expect(exchange.tookMs).toBeLessThan(1_500)
    await posts[0]!.close()
    expect(new Set((await Promise.all(dead)).map(summary))).toEqual(new Set(['own_fault shutdown']))
    await silent.untilOpen(0)
  })
})

describe('the status line decides, whatever follows', () => {
  test.each<[string, string, OnRequest]>([
    [
      'a body without end',
      'response 200',
      (socket) => {
        socket.write(`${OK}\r\n`)
        pour(socket)
      },
    ],
    [
      'a body of six gigabytes',
      'response 200',
      (socket) => {
        socket.write(`${OK}Content-Length: 6442450944\r\n\r\n`)
        pour(socket)
      },
    ],
    [
      'a body that drips',
      'response 200',
      (socket) => {
        socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\n`)
        drip(socket, '1\r\nx\r\n')
      },
    ],
    [
      'a body that never comes',
      'response 500',
      (socket) => socket.write('HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n'),
    ],
    ['a body that is too short', 'response 200', (socket) => socket.end(`${OK}Content-Length: 99\r\n\r\nshort`)],
    [
      'a reset in the middle of the body',
      'response 200',
      (socket) => {
        socket.write(`${OK}Content-Length: 99\r\n\r\nshort`, () => setImmediate(() => socket.resetAndDestroy()))
      },
    ],
    [
      'a broken chunk',
      'response 200',
      (socket) => socket.write(`${OK}Transfer-Encoding: chunked\r\n\r\nnot a length\r\n`),
    ],
    ['204 with a body', 'response 204', (socket) => socket.write('HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello')],
    [
      'a second answer nobody asked for',
      'response 200',
      (socket) => {
        socket.write(`${OK}Content-Length: 0\r\n\r\n${OK}Content-Length: 0\r\n\r\n`)
      },
    ],
    ['a redirect', 'response 307', (socket) => answerWith(socket, 307, ['Location: http://169.254.169.254/latest'])],
  ])('with %s', async (_name, expected, onRequest) => {
    const receiver = await startReceiver(onRequest)
    const exchange = await postOf()(receiver.url())
    expect(summary(exchange)).toBe(expected)
    expect(exchange.tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
    expect(exchange.responseExcerpt!.length).toBeLessThanOrEqual(4_096)
    expect(receiver.requests).toHaveLength(1)
    await posts[0]!.close()
    await receiver.untilOpen(0)
  })

  test('of a body without end only the beginning is read', MEASURED, async () => {
    const receiver = await startReceiver((socket) => {
      socket.write(`${OK}\r\n`)
      pour(socket)
    })
    // Far less than the second that a slow body may take: it was the size that ended it.
    expect((await postOf()(receiver.url(), undefined, 60_000)).tookMs).toBeLessThan(500)
    await receiver.untilOpen(0)
  })

  test('a body may take a second, however long the deadline is', async () => {
    const receiver = await startReceiver((socket) => socket.write(`${OK}Content-Length: 99\r\n\r\nbeginning`))
    const exchange = await postOf()(receiver.url(), undefined, 60_000)
    expect(summary(exchange)).toBe('response 200')
    expect([exchange.responseExcerpt, exchange.responseTruncated]).toEqual(['beginning', true])
    expect(exchange.tookMs).toBeLessThan(1_000 + SLACK_MS)
    await receiver.untilOpen(0)
  })
})

describe('what is no answer', () => {
  test.each<[string, string, OnRequest]>([
    ['a close', 'no_response reset', (socket) => socket.end()],
    ['a reset', 'no_response reset', (socket) => socket.resetAndDestroy()],
    ['garbage', 'no_response protocol', (socket) => socket.end('\x00\xffgarbage\r\n\r\n')],
    ['HTTP/0.9', 'no_response protocol', (socket) => socket.end('<html>hello</html>')],
    ['another protocol', 'no_response protocol', (socket) => socket.end('-ERR unknown command\r\n')],
    ['status 099', 'no_response protocol', (socket) => socket.write('HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n')],
    [
      '101 without having been asked',
      'no_response protocol',
      (socket) => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n')
      },
    ],
    [
      '100 Continue without having been asked',
      'no_response protocol',
      (socket) => {
        socket.write(`HTTP/1.1 100 Continue\r\n\r\n${OK}Content-Length: 0\r\n\r\n`)
      },
    ],
    [
      'two lengths',
      'no_response protocol',
      (socket) => socket.write(`${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`),
    ],
    [
      'a length and chunks',
      'no_response protocol',
      (socket) => {
        socket.write(`${OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`)
      },
    ],
    ['70 KB of headers', 'no_response protocol', (socket) => socket.write(`${OK}x-big: ${'a'.repeat(70_000)}\r\n\r\n`)],
    ['headers without end', 'no_response protocol', pour],
    ['a NUL in a header', 'no_response protocol', (socket) => socket.write(`${OK}x-a: b\0c\r\n\r\n`)],
  ])('%s', async (_name, expected, onRequest) => {
    const receiver = await startReceiver(onRequest)
    const exchange = await postOf()(receiver.url())
    expect(summary(exchange)).toBe(expected)
    expect([exchange.responseExcerpt, exchange.responseHeaders]).toEqual([null, {}])
    expect(JSON.stringify(exchange)).not.toContain('secret')
    expect(receiver.requests).toHaveLength(1)
    await receiver.untilOpen(0)
  })

  test('a refused connection', async () => {
    const receiver = await startReceiver(() => {})
    await receiver.close()
    const { result } = await postOf()(receiver.url())
    const detail = `connection refused at 127.0.0.1:${receiver.port} (ECONNREFUSED)`
    expect(result).toEqual({ kind: 'no_response', reason: 'connect', detail })
  })

  test('a connection refused at every address of a name', async () => {
    const receiver = await startReceiver(() => {})
    await receiver.close()
    const addresses = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }))
    const post = postOf({ allow: ['receiver.test'], resolve: (_hostname, done) => done(null, addresses) })
    expect(summary(await post(receiver.url('receiver.test')))).toBe('no_response connect')
  })

  test('a connection refused at one address of a name is no end: the next one is tried', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => answerWith(socket, 200, [], 'x'.repeat(10_000)))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closings.push(() => void server.close())
    const addresses = ['127.0.0.2', '127.0.0.1'].map((address) => ({ address, family: 4 }))
    const post = postOf({ allow: ['receiver.test'], resolve: (_hostname, done) => done(null, addresses) })
    const exchange = await post(`http://receiver.test:${(server.address() as AddressInfo).port}/`)
    expect([summary(exchange), exchange.remoteAddress]).toEqual(['response 200', '127.0.0.1'])
    expect(exchange.responseExcerpt).toBe('x'.repeat(4_096))
  })

  test('plain HTTP to a question in TLS', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closings.push(() => void server.close())
    const { result } = await postOf()(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    const detail = 'no TLS on this port (ERR_SSL_WRONG_VERSION_NUMBER)'
    expect(result).toEqual({ kind: 'no_response', reason: 'tls', detail })
  })
})

describe('names', () => {
  const failing = (code: string): Resolve => {
    return (hostname, done) => {
      if (hostname === 'private.test') done(null, [{ address: '10.0.0.1', family: 4 }])
      else done(Object.assign(new Error(`getaddrinfo ${code}`), { code }), [])
    }
  }

  test('that do not exist are the receiver’s fault', async () => {
    const { result } = await postOf({ resolve: failing('ENOTFOUND') })('https://receiver.test/?key=secret')
    expect(result).toEqual({ kind: 'no_response', reason: 'dns', detail: 'no such host (ENOTFOUND)' })
  })

  test('that no name server answers for are our fault, unless another name was resolved just now', async () => {
    const post = postOf({ resolve: failing('EAI_AGAIN') })
    expect(summary(await post('https://other.test/'))).toBe('own_fault our_dns')
    expect(summary(await post('https://receiver.test/'))).toBe('own_fault our_dns')
    expect(summary(await post('https://private.test/'))).toBe('no_response blocked_address')
    expect(summary(await post('https://receiver.test/'))).toBe('no_response dns')
  })
})

describe('an abort', () => {
  test('before the request leaves nothing to send', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    expect(summary(await postOf()(receiver.url(), AbortSignal.abort()))).toBe('own_fault shutdown')
    expect(receiver.connectionCount()).toBe(0)
  })

  test('while we wait is our fault and closes the connection', async () => {
    const stop = new AbortController()
    const receiver = await startReceiver(() => stop.abort())
    const exchange = await postOf()(receiver.url(), stop.signal, 10_000)
    expect(exchange.result).toMatchObject({ kind: 'own_fault', reason: 'shutdown' })
    await receiver.untilOpen(0)
  })

  test('after the status line does not take the result back', async () => {
    const stop = new AbortController()
    const receiver = await startReceiver((socket) => socket.write(`${OK}Content-Length: 9\r\n\r\nhalf`))
    const exchanged = postOf()(receiver.url(), stop.signal, 10_000)
    const onHeaders = () => setImmediate(() => stop.abort())
    subscribe('undici:request:headers', onHeaders)
    closings.push(() => void unsubscribe('undici:request:headers', onHeaders))
    expect(summary(await exchanged)).toBe('response 200')
    await receiver.untilOpen(0)
  })

  test('of everything leaves later requests unsent', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const post = postOf()
    await posts[0]!.close()
    expect(summary(await post(receiver.url()))).toBe('own_fault shutdown')
    expect(receiver.connectionCount()).toBe(0)
  })

  test('can be shared by many exchanges without a warning', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    const stop = new AbortController()
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const post = postOf()
    const exchanges = await Promise.all(Array.from({ length: 50 }, () => post(receiver.url(), stop.signal)))
    expect(new Set(exchanges.map(summary))).toEqual(new Set(['response 200']))
    expect(EventEmitter.getEventListeners(stop.signal, 'abort').length).toBeLessThanOrEqual(1)
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })
})

test('two hundred attempts at receivers of every kind leave no socket behind', async () => {
  const kinds: OnRequest[] = [
    () => {},
    (socket) => socket.destroy(),
    (socket) => answerWith(socket, 200),
    (socket) => answerWith(socket, 200, [], 'x'.repeat(50_000)),
    (socket) => socket.write(`${OK}Content-Length: 9\r\n\r\nhalf`),
  ]
  const receiver = await startReceiver((socket, requestNumber) =>
    kinds[requestNumber % kinds.length]!(socket, requestNumber, ''),
  )
  const secure = await startReceiver(() => {}, serverTls)
  const post = postOf()
  await Promise.all(Array.from({ length: 200 }, (_, index) => post(index % 4 === 0 ? secure.url() : receiver.url())))
  await Promise.all([receiver.untilOpen(8), secure.untilOpen(0)])
  await posts[0]!.close()
  await receiver.untilOpen(0)
})
