/** Sending to receivers that behave: what is sent, what is kept of the answer, how connections are used again. */

import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import type { Exchange, PostRequest } from '../../src/ports.ts'
import { ALLOW_NOTHING, createAddressGuard, parseAllowList, type Resolve } from '../../src/webhook/address-guard.ts'
import { createPost, type PostOptions } from '../../src/webhook/post.ts'
import { answerWith, closeReceivers, fixture, startReceiver } from './receivers.ts'

const certificate = fixture('certificate.pem')
const serverTls = { key: fixture('key.pem'), cert: certificate }
const posts: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const post of posts.splice(0)) await post.close()
  await closeReceivers()
})

interface Setup extends Partial<PostOptions> {
  readonly allow?: readonly string[]
  readonly resolve?: Resolve
}

function postOf({ allow = ['127.0.0.0/8'], resolve, ...options }: Setup = {}) {
  const read = parseAllowList(allow)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => [], ...(resolve && { resolve }) })
  const made = createPost({ guard, connectionsMax: 8, userAgent: 'ringback/test', ...options })
  posts.push(made)
  return (url: string, request: Partial<PostRequest> = {}, signal = new AbortController().signal) =>
    made.post({ url, headers: {}, body: '{}', deadlineMs: 5_000, ...request }, signal)
}

const answeringWith = (address: string): Resolve => {
  return (_hostname, done) => done(null, [{ address, family: 4 }])
}

function statusOf({ result }: Exchange): number | string {
  return result.kind === 'response' ? result.status : `${result.kind} ${result.reason}`
}

describe('the request', () => {
  test('carries the body byte for byte, its length, and no wish for compression', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const body = '{"name":"ärger 😀"}'
    await postOf()(receiver.url(), { body, headers: { 'webhook-id': 'evt_1', 'X-Tenant': 'a' } })
    const [head = '', sentBody = ''] = receiver.requests[0]!.split('\r\n\r\n')
    expect(Buffer.from(sentBody, 'latin1').toString('utf8')).toBe(body)
    const lines = head.split('\r\n')
    expect(lines[0]).toBe('POST /hook?key=secret HTTP/1.1')
    expect(
      lines
        .slice(1)
        .map((line) => line.toLowerCase())
        .sort(),
    ).toEqual([
      'accept-encoding: identity',
      'connection: keep-alive',
      `content-length: ${Buffer.byteLength(body)}`,
      'content-type: application/json',
      `host: 127.0.0.1:${receiver.port}`,
      'user-agent: ringback/test',
      'webhook-id: evt_1',
      'x-tenant: a',
    ])
  })

  test('cannot be broken out of its frame by custom headers', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const headers = {
      ...{
        Host: 'other.test',
        'Content-Length': '1',
        'Transfer-Encoding': 'chunked',
        Connection: 'close',
        Expect: '100',
      },
      ...{ 'Accept-Encoding': 'gzip', 'User-Agent': 'custom' },
    }
    expect(statusOf(await postOf()(receiver.url(), { headers }))).toBe(200)
    const head = receiver.requests[0]!.toLowerCase()
    expect(head).toContain(`host: 127.0.0.1:${receiver.port}\r\n`)
    expect(head).toContain('content-length: 2\r\n')
    expect(head).toContain('user-agent: custom\r\n')
    expect(head).not.toMatch(/other\.test|chunked|gzip|expect/)
  })

  test('with a header that HTTP cannot carry is not sent, and that is said without throwing', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const { result } = await postOf()(receiver.url(), { headers: { 'x-bad': 'a\r\nx-injected: b' } })
    expect(result).toMatchObject({
      kind: 'no_response',
      reason: 'protocol',
      detail: expect.stringContaining('UND_ERR_INVALID_ARG'),
    })
    expect(receiver.requests).toEqual([])
  })
})

describe('the answer', () => {
  test.each([200, 201, 204, 301, 307, 400, 404, 410, 429, 500, 503, 599, 999])(
    '%d is reported as it came',
    async (status) => {
      const receiver = await startReceiver((socket) => {
        if (status === 204) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
        else answerWith(socket, status, ['Location: https://elsewhere.example/path?token=secret'], 'text')
      })
      const exchange = await postOf()(receiver.url())
      expect(exchange.result).toEqual({ kind: 'response', status, retryAfter: null })
      expect(exchange.remoteAddress).toBe('127.0.0.1')
      expect(receiver.requests).toHaveLength(1)
    },
  )

  test.each(['5', '-1', '99999999999', 'Fri, 31 Dec 1999 23:59:59 GMT', 'soon'])(
    'passes Retry-After %s on raw',
    async (value) => {
      const receiver = await startReceiver((socket) =>
        answerWith(socket, 503, [`Retry-After: ${value}`, 'Retry-After: 7']),
      )
      const { result } = await postOf()(receiver.url())
      expect(result).toEqual({ kind: 'response', status: 503, retryAfter: value })
    },
  )

  test('keeps a few headers, short, and of a redirect only the host', async () => {
    const receiver = await startReceiver((socket) =>
      answerWith(socket, 302, [
        ...['Content-Type: text/plain', 'Server: test', 'X-Request-Id: 7', `CF-Ray: ${'a'.repeat(300)}`],
        ...[
          'Set-Cookie: session=secret',
          'X-Other: 1',
          'Location: https://tom:pw@elsewhere.example:8443/path?token=secret',
        ],
      ]),
    )
    expect((await postOf()(receiver.url())).responseHeaders).toEqual({
      'content-type': 'text/plain',
      'content-length': '0',
      server: 'test',
      'x-request-id': '7',
      'cf-ray': 'a'.repeat(256),
      location: 'https://elsewhere.example:8443',
    })
  })

  test.each([
    ['empty', Buffer.from(''), '', false],
    ['short', Buffer.from('ok'), 'ok', false],
    ['not UTF-8', Buffer.from([0x61, 0xff, 0x62]), 'a\ufffdb', false],
    ['with NUL in it', Buffer.from('a\0b'), 'ab', false],
    ['of exactly 4 KiB', Buffer.alloc(4_096, 'a'), 'a'.repeat(4_096), false],
    ['of more than 4 KiB', Buffer.alloc(4_097, 'a'), 'a'.repeat(4_096), true],
    ['cut in the middle of a character', Buffer.from(`a${'ä'.repeat(4_000)}`), `a${'ä'.repeat(2_047)}`, true],
  ])('keeps the beginning of a body that is %s', async (_name, body, excerpt, isTruncated) => {
    const receiver = await startReceiver((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`)
      socket.write(body)
    })
    const exchange = await postOf()(receiver.url())
    expect([exchange.responseExcerpt, exchange.responseTruncated]).toEqual([excerpt, isTruncated])
  })

  test('is never inflated', async () => {
    const bomb = gzipSync(Buffer.alloc(10_000_000))
    const receiver = await startReceiver((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`)
      socket.write(bomb)
    })
    const exchange = await postOf()(receiver.url())
    expect(statusOf(exchange)).toBe(200)
    expect(exchange.responseExcerpt!.length).toBeLessThanOrEqual(4_096)
  })

  test('may be announced by 103 Early Hints', async () => {
    const receiver = await startReceiver((socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    expect(statusOf(await postOf()(receiver.url()))).toBe(200)
  })
})

describe('connections', () => {
  test('are used again one after the other, and closed at the end', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200, [], 'ok'))
    const post = postOf()
    for (let count = 0; count < 5; count++) expect(statusOf(await post(receiver.url()))).toBe(200)
    expect([receiver.requests.length, receiver.connectionCount()]).toEqual([5, 1])
    await posts[0]!.close()
    await receiver.untilOpen(0)
  })

  test('carry one request each at a time, however many there are', async () => {
    const held: (() => void)[] = []
    const receiver = await startReceiver((socket) => held.push(() => answerWith(socket, 200)))
    const post = postOf()
    const all = Array.from({ length: 40 }, () => post(receiver.url()))
    await receiver.untilRequests(40)
    expect(receiver.connectionCount()).toBe(40)
    for (const answer of held) answer()
    for (const exchange of await Promise.all(all)) expect(statusOf(exchange)).toBe(200)
  })

  test('that are idle give way when there are too many, the oldest first', async () => {
    const receivers = await Promise.all([1, 2, 3].map(() => startReceiver((socket) => answerWith(socket, 200))))
    const post = postOf({ connectionsMax: 2 })
    for (const receiver of receivers) await post(receiver.url())
    await receivers[0]!.untilOpen(0)
    expect(receivers.map((receiver) => receiver.openCount())).toEqual([0, 1, 1])
  })

  test('that the receiver closes after its answer are not used again', async () => {
    const receiver = await startReceiver((socket) => {
      answerWith(socket, 200, ['Connection: close'])
      socket.end()
    })
    const post = postOf()
    for (let count = 0; count < 3; count++) expect(statusOf(await post(receiver.url()))).toBe(200)
    expect([receiver.requests.length, receiver.connectionCount()]).toEqual([3, 3])
  })

  test.each([
    ['closed', null, (socket: Socket) => socket.destroy()],
    ['reset', null, (socket: Socket) => socket.resetAndDestroy()],
    ['closed, under TLS,', serverTls, (socket: Socket) => socket.destroy()],
    ['ended, under TLS,', serverTls, (socket: Socket) => socket.end()],
  ])('that are %s while we write to them are replaced once, within the same attempt', async (_how, tls, close) => {
    const receiver = await startReceiver((socket, requestNumber) => {
      if (requestNumber === 2) close(socket)
      else answerWith(socket, 200, [], String(requestNumber))
    }, tls)
    const post = postOf({ trustedCertificates: [certificate] })
    await post(receiver.url())
    const exchange = await post(receiver.url())
    expect([statusOf(exchange), exchange.responseExcerpt]).toEqual([200, '3'])
    expect([receiver.requests.length, receiver.connectionCount()]).toEqual([3, 2])
  })

  test('that close again after the replacement are given up', async () => {
    const receiver = await startReceiver((socket, requestNumber) => {
      if (requestNumber === 1) answerWith(socket, 200)
      else socket.destroy()
    })
    const post = postOf()
    await post(receiver.url())
    expect(statusOf(await post(receiver.url()))).toBe('no_response reset')
    expect(receiver.requests).toHaveLength(3)
  })

  test('that close after part of an answer are not replaced: the receiver has seen the request', async () => {
    const receiver = await startReceiver((socket, requestNumber) => {
      if (requestNumber === 1) answerWith(socket, 200)
      else socket.end('HTTP/1.1 20')
    })
    const post = postOf()
    await post(receiver.url())
    expect(statusOf(await post(receiver.url()))).toMatch(/^no_response (reset|protocol)$/)
    expect(receiver.requests).toHaveLength(2)
  })

  test('that close late are not replaced: the receiver was at work', async () => {
    let clockMs = 0
    const receiver = await startReceiver((socket, requestNumber) => {
      if (requestNumber === 1) return answerWith(socket, 200)
      clockMs += 1_500
      socket.destroy()
    })
    const post = postOf({ now: () => clockMs })
    await post(receiver.url())
    const exchange = await post(receiver.url())
    expect([statusOf(exchange), exchange.durationMs, receiver.requests.length]).toEqual(['no_response reset', 1_500, 2])
  })
})

describe('TLS', () => {
  const failing = { kind: 'no_response', reason: 'tls' }

  test('with a trusted certificate for the name works, and the name is what the receiver sees', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200), serverTls)
    const post = postOf({ trustedCertificates: [certificate], resolve: answeringWith('127.0.0.1') })
    expect(statusOf(await post(receiver.url('receiver.test')))).toBe(200)
    expect(receiver.requests[0]).toContain(`host: receiver.test:${receiver.port}\r\n`)
  })

  test.each([
    [
      'self-signed',
      { cert: certificate },
      [],
      'receiver.test',
      'self-signed certificate (DEPTH_ZERO_SELF_SIGNED_CERT)',
    ],
    [
      'for another name',
      { cert: certificate },
      [certificate],
      'other.test',
      'certificate for the wrong name (ERR_TLS_CERT_ALTNAME_INVALID)',
    ],
    [
      'expired',
      { cert: fixture('certificate-expired.pem') },
      [fixture('certificate-expired.pem')],
      'receiver.test',
      'certificate expired (CERT_HAS_EXPIRED)',
    ],
    [
      'sent over TLS 1.1',
      { cert: certificate, maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
      [certificate],
      'receiver.test',
      'no TLS 1.2 or newer',
    ],
    [
      'right but wants one from us',
      { cert: certificate, requestCert: true, rejectUnauthorized: true },
      [certificate],
      'receiver.test',
      null,
    ],
  ] as const)('with a certificate that is %s fails, in words', async (_name, tls, trusted, host, detail) => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200), { key: serverTls.key, ...tls })
    const setup = trusted.length === 0 ? {} : { trustedCertificates: trusted }
    const { result } = await postOf({ ...setup, resolve: answeringWith('127.0.0.1') })(receiver.url(host))
    if (detail === null)
      expect(result).toMatchObject({ kind: 'no_response', reason: expect.stringMatching(/tls|reset/) })
    else expect(result).toMatchObject({ ...failing, detail: expect.stringContaining(detail) })
    expect(receiver.requests).toEqual([])
    await receiver.untilOpen(0)
  })

  test('cannot be switched off by the environment', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200), serverTls)
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    try {
      expect((await postOf()(receiver.url())).result).toMatchObject(failing)
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
    }
  })

  test('on a port that was asked for plain http is a reset', async () => {
    const receiver = await startReceiver(() => {}, serverTls)
    expect(statusOf(await postOf()(receiver.url().replace('https:', 'http:')))).toBe('no_response reset')
  })
})

describe('the guard', () => {
  test('sees every URL again before each attempt', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const exchange = await postOf({ allow: [] })(receiver.url())
    expect(exchange.result).toMatchObject({ kind: 'no_response', reason: 'blocked_address' })
    expect(JSON.stringify(exchange)).not.toContain('secret')
    expect(receiver.connectionCount()).toBe(0)
  })

  test('stands at the socket too: an address that slipped past the judgement of the URL is not connected to', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200))
    const strict = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [] })
    const guard = { ...strict, judgeUrl: (url: string) => ({ isAllowed: true, url }) as const }
    expect(statusOf(await postOf({ guard })(receiver.url()))).toBe('no_response blocked_address')
    expect(receiver.connectionCount()).toBe(0)
  })

  test('blocks a name that has turned to a private address since it was registered: no connection is made', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200, ['Connection: close']), serverTls)
    // 127.0.0.2 stands for a public address: it is the only one that is allowed.
    const answers = [
      ['127.0.0.2'],
      ['127.0.0.1'],
      ['127.0.0.2', '127.0.0.1'],
      ['127.0.0.1', '127.0.0.2'],
      ['127.0.0.2'],
    ]
    const resolve: Resolve = (_hostname, done) => {
      done(
        null,
        answers.shift()!.map((address) => ({ address, family: 4 })),
      )
    }
    const post = postOf({ allow: ['127.0.0.2'], resolve, trustedCertificates: [certificate] })
    const exchanges: Exchange[] = []
    for (let count = 0; count < 5; count++) exchanges.push(await post(receiver.url('receiver.test')))
    const blocked = 'no_response blocked_address'
    expect(exchanges.map(statusOf)).toEqual([200, blocked, blocked, blocked, 200])
    expect(exchanges[1]!.result).toMatchObject({
      detail: expect.stringContaining('receiver.test has the address 127.0.0.1'),
    })
    expect(exchanges[0]!.remoteAddress).toBe('127.0.0.2')
    expect(receiver.connectionCount()).toBe(2)
  })

  test('asks for a name once per connection: what was judged is what is connected to', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200, ['Connection: close']))
    let questionCount = 0
    const resolve: Resolve = (_hostname, done) => {
      questionCount += 1
      done(null, [{ address: '127.0.0.1', family: 4 }])
    }
    expect(statusOf(await postOf({ allow: ['receiver.test'], resolve })(receiver.url('receiver.test')))).toBe(200)
    expect(questionCount).toBe(1)
  })
})
