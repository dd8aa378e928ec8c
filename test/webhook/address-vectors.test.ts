/**
 * Every URL that must not be called, through the real way of a webhook: refused by its text, refused again when a name
 * leads there, and in neither case a single connection or question to a name server — counted below all libraries.
 */

import type { LookupAddress } from 'node:dns'
import { readdirSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { PostRequest } from '../../src/ports.ts'
import {
  type AddressGuardOptions,
  ALLOW_NOTHING,
  createAddressGuard,
  parseAllowList,
  type Resolve,
} from '../../src/webhook/address-guard.ts'
import { createPost } from '../../src/webhook/post.ts'
import { DENIED_ANSWERS, VECTORS } from './address-vectors.ts'
import { answerWith, closeReceivers, startReceiver } from './receivers.ts'
import { NOTHING, touching } from './socket-witness.ts'

const PUBLIC = ['8.8.8.8', '2606:4700:4700::1111']
const posts: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const post of posts.splice(0)) await post.close()
  await closeReceivers()
})

function senderOf({ allow = [], ...options }: Partial<Omit<AddressGuardOptions, 'allow'>> & { allow?: string[] } = {}) {
  const read = parseAllowList(allow)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => [], ...options })
  const made = createPost({ guard, connectionsMax: 8, userAgent: 'ringback/test' })
  posts.push(made)
  return (url: string, request: Partial<PostRequest> = {}) =>
    touching(async () => {
      const { signal } = new AbortController()
      const { result } = await made.post({ url, headers: {}, body: '{}', deadlineMs: 2_000, ...request }, signal)
      return result.kind === 'response' ? String(result.status) : result.reason
    })
}

const answering = (...addresses: readonly string[]): Resolve => {
  const answers: LookupAddress[] = addresses.map((address) => ({ address, family: isIP(address) }))
  return (_hostname, done) => done(null, answers)
}

test('the witness sees a connection and a question to the system, or it would prove nothing', async () => {
  const receiver = await startReceiver((socket) => answerWith(socket, 200))
  const send = senderOf({ allow: ['127.0.0.0/8', '::1'] })
  expect(await send(receiver.url())).toEqual({ value: '200', touched: { connects: 1, lookUps: 0 } })
  const { value, touched } = await send(receiver.url('localhost'))
  expect([value, touched.lookUps]).toEqual(['200', 1])
  expect(touched.connects).toBeGreaterThan(0)
})

describe('a URL that leads astray is refused, and nothing is connected to', () => {
  test('of which there are at least 250, each once', () => {
    expect(VECTORS.length).toBeGreaterThanOrEqual(250)
    expect(new Set(VECTORS.map(({ url }) => url)).size).toBe(VECTORS.length)
  })

  test.each(VECTORS)('$fault $how: $url', async ({ url, code }) => {
    const guard = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [] })
    const verdict = guard.judgeUrl(url)
    expect(verdict.isAllowed ? 'allowed' : verdict.code).toBe(code)
    expect(await senderOf()(url)).toEqual({ value: 'blocked_address', touched: NOTHING })
  })
})

describe('a name that leads to such an address is refused when it is resolved, and nothing is connected to', () => {
  test('of which there are at least a hundred', () => {
    expect(DENIED_ANSWERS.length).toBeGreaterThanOrEqual(100)
    for (const address of DENIED_ANSWERS) expect([address, isIP(address) > 0]).toEqual([address, true])
  })

  test.each(DENIED_ANSWERS)('F61 %s: alone, after a public address, before one, and between two', async (address) => {
    const [one, other] = PUBLIC as [string, string]
    for (const answers of [[address], [one, address], [address, other], [one, address, other]]) {
      const send = senderOf({ resolve: answering(...answers) })
      expect(await send('https://receiver.example/hook')).toEqual({ value: 'blocked_address', touched: NOTHING })
    }
  })

  test('F61 whatever the name answered the time before', async () => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200, ['Connection: close']))
    // 127.0.0.2 stands for a public address: it alone is allowed.
    const answers = [['127.0.0.2'], ['127.0.0.1'], ['127.0.0.2'], ['127.0.0.2', '10.0.0.1'], ['::1'], ['127.0.0.2']]
    const resolve: Resolve = (hostname, done) => answering(...answers.shift()!)(hostname, done)
    const guard = createAddressGuard({ allow: allowing('127.0.0.2'), ownOrigins: () => [], resolve })
    const judged = { ...guard, judgeUrl: (url: string) => ({ isAllowed: true, url }) as const }
    const made = createPost({ guard: judged, connectionsMax: 8, userAgent: 'ringback/test' })
    posts.push(made)
    const history: string[] = []
    for (let count = 0; count < 6; count += 1) {
      const { value, touched } = await touching(() =>
        made.post(
          { url: receiver.url('receiver.example'), headers: {}, body: '{}', deadlineMs: 2_000 },
          new AbortController().signal,
        ),
      )
      history.push(`${value.result.kind} ${touched.connects}`)
    }
    const [sent, kept] = ['response 1', 'no_response 0']
    expect(history).toEqual([sent, kept, sent, kept, kept, sent])
  })
})

describe('what could lead a request elsewhere leads nowhere', () => {
  test.each([301, 302, 303, 307, 308])('F62 a redirect by %d', async (status) => {
    const inner = await startReceiver((socket) => answerWith(socket, 200))
    const outer = await startReceiver((socket) => answerWith(socket, status, [`Location: ${inner.url()}`]))
    const send = senderOf({ allow: ['127.0.0.0/8'] })
    expect(await send(outer.url())).toEqual({ value: String(status), touched: { connects: 1, lookUps: 0 } })
    expect([outer.requests.length, inner.connectionCount()]).toEqual([1, 0])
  })

  test('F62 a page that refreshes itself, a Refresh header, a Link and an Alt-Svc', async () => {
    const inner = await startReceiver((socket) => answerWith(socket, 200))
    const page = `<meta http-equiv="refresh" content="0;url=${inner.url()}">`
    const headers = [
      `Refresh: 0;url=${inner.url()}`,
      `Link: <${inner.url()}>; rel=preload`,
      `Alt-Svc: h2=":${inner.port}"`,
    ]
    const outer = await startReceiver((socket) =>
      answerWith(socket, 200, ['Content-Type: text/html', ...headers], page),
    )
    const send = senderOf({ allow: ['127.0.0.0/8'] })
    for (let count = 0; count < 2; count += 1) expect((await send(outer.url())).value).toBe('200')
    expect(inner.connectionCount()).toBe(0)
  })

  test('F66 proxies that the environment names, for an allowed receiver and for a denied one', async () => {
    const proxy = await startReceiver((socket) => answerWith(socket, 200))
    const receiver = await startReceiver((socket) => answerWith(socket, 204))
    const names = [
      'HTTP_PROXY',
      'HTTPS_PROXY',
      'ALL_PROXY',
      'http_proxy',
      'https_proxy',
      'all_proxy',
      'npm_config_proxy',
    ]
    const before = new Map([...names, 'NODE_USE_ENV_PROXY', 'NO_PROXY'].map((name) => [name, process.env[name]]))
    for (const name of names) process.env[name] = `http://127.0.0.1:${proxy.port}`
    process.env['NODE_USE_ENV_PROXY'] = '1'
    delete process.env['NO_PROXY']
    try {
      const send = senderOf({ allow: ['127.0.0.0/8'], resolve: answering('10.0.0.1') })
      expect((await send(receiver.url())).value).toBe('204')
      expect(await send('https://receiver.example/')).toEqual({ value: 'blocked_address', touched: NOTHING })
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    }
    expect(proxy.connectionCount()).toBe(0)
  })
})

describe('this machine itself', () => {
  const own = ['9.9.9.9', '2620:fe::fe', '10.7.7.7', 'fe80::1%eth0']
  const ownAddresses = () => own

  test.each(['https://9.9.9.9/', 'https://[2620:fe::fe]/', 'https://[2620:00fe:0:0::fe]:8443/'])(
    'F65 %s is an interface of ours: denied although the address is public',
    async (url) => {
      expect(await senderOf({ ownAddresses })(url)).toEqual({ value: 'blocked_address', touched: NOTHING })
    },
  )

  test('F65 a name that leads to an interface of ours is denied, and says how to allow it', async () => {
    const guard = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [], ownAddresses })
    expect(guard.judgeAddress('9.9.9.9', 'hooks.example', 443)).toEqual({
      isAllowed: false,
      reason:
        'hooks.example has the address 9.9.9.9, which is an address of this machine. Set RINGBACK_CALLBACK_ALLOW=hooks.example if this receiver is yours',
    })
    const send = senderOf({ ownAddresses, resolve: answering('9.9.9.9') })
    expect(await send('https://hooks.example/')).toEqual({ value: 'blocked_address', touched: NOTHING })
  })

  test.each(['hooks.example', '9.9.9.9', '9.9.9.0/24'])('F65 %s in the allow list opens it', (entry) => {
    const guard = createAddressGuard({ allow: allowing(entry), ownOrigins: () => [], ownAddresses })
    expect(guard.judgeAddress('9.9.9.9', 'hooks.example', 443)).toEqual({ isAllowed: true })
  })

  test('F65 which interfaces there are, the system is asked', () => {
    const real = Object.values(networkInterfaces()).flatMap((one) => (one ?? []).map(({ address }) => address))
    const allow = allowing(...real)
    const guard = createAddressGuard({ allow, ownOrigins: () => ['http://0.0.0.0:7464'] })
    expect(real.length).toBeGreaterThan(0)
    for (const address of real) {
      const { isAllowed } = guard.judgeAddress(address, address, 7_464)
      expect([address, isAllowed, guard.judgeAddress(address, address, 7_465).isAllowed]).toEqual([
        address,
        false,
        true,
      ])
    }
  })

  test('F65 an allowed name that leads to where we listen is denied on that port only', async () => {
    const daemon = await startReceiver((socket) => answerWith(socket, 200))
    const receiver = await startReceiver((socket) => answerWith(socket, 204))
    for (const origin of [`http://127.0.0.1:${daemon.port}`, `http://0.0.0.0:${daemon.port}`]) {
      const send = senderOf({ allow: ['hooks.test'], ownOrigins: () => [origin], resolve: answering('127.0.0.1') })
      expect(await send(daemon.url('hooks.test'))).toEqual({ value: 'blocked_address', touched: NOTHING })
      expect((await send(receiver.url('hooks.test'))).value).toBe('204')
    }
    expect(daemon.connectionCount()).toBe(0)
  })

  test.each([
    ['http://0.0.0.0:7464', 'http://10.7.7.7:7464/', 'loop'],
    ['http://[::]:7464', 'http://10.7.7.7:7464/', 'loop'],
    ['http://[::]:7464', 'http://127.0.0.1:7464/', 'loop'],
    ['http://10.7.7.7:7464', 'http://10.7.7.7:7464/', 'loop'],
    ['http://127.0.0.1:7464', 'http://10.7.7.7:7464/', 'allowed'],
    ['http://10.7.7.7:7464', 'http://127.0.0.1:7464/', 'allowed'],
    ['http://0.0.0.0:7464', 'http://10.7.7.8:7464/', 'allowed'],
    ['http://0.0.0.0:7464', 'http://10.7.7.7:7465/', 'allowed'],
  ])('F65 listening at %s, %s is: %s', (origin, url, expected) => {
    const allow = allowing('10.0.0.0/8', '127.0.0.0/8')
    const verdict = createAddressGuard({ allow, ownOrigins: () => [origin], ownAddresses }).judgeUrl(url)
    expect(verdict.isAllowed ? 'allowed' : verdict.code).toBe(expected)
  })
})

test('sockets to receivers are opened in one file', () => {
  const folder = join(import.meta.dirname, '../../src/webhook')
  const opening = readdirSync(folder).filter((name) => {
    const text = readFileSync(join(folder, name), 'utf8').replace(/import type [^;]*?from '[^']+'/g, '')
    const imports = [
      ...text.matchAll(/import\s+(\{[^}]*\}|\w+|\*[^;]*?)\s+from\s+'(node:)?(net|tls|http|https|http2|dgram)'/g),
    ]
    return imports.some((found) => /\b(connect|createConnection|request|get|Agent|default)\b|\*/.test(found[1] ?? ''))
  })
  expect(opening).toEqual(['dial.ts'])
})

function allowing(...entries: string[]) {
  const read = parseAllowList(entries)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return read.allow
}
