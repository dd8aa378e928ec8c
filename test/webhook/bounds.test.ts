/**
 * What one attempt may leave behind or be led to: no address that is not judged, no timer, no socket, no word to a witness
 * that saw nothing, and no wait for an answer that says no more.
 */

import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import type { PostRequest } from '../../src/ports.ts'
import { createAddressGuard, parseAllowList, type Resolve } from '../../src/webhook/address-guard.ts'
import { createAnswer } from '../../src/webhook/answer.ts'
import { createDial, type Dial } from '../../src/webhook/dial.ts'
import { createPost, type PostOptions } from '../../src/webhook/post.ts'
import { MEASURED } from '../support/measured.ts'
import { answerWith, closeReceivers, fixture, startReceiver } from './receivers.ts'

function guardOf(entries: readonly string[], resolve?: Resolve) {
  const read = parseAllowList(entries)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return createAddressGuard({ allow: read.allow, ownOrigins: () => [], ...(resolve && { resolve }) })
}

function postOf(options: Partial<PostOptions> = {}) {
  const guard = guardOf(['127.0.0.0/8'])
  const made = createPost({ guard, connectionsMax: 8, userAgent: 'ringback/test', ...options })
  onTestFinished(async () => {
    await made.close()
    await closeReceivers()
  })
  const post = (url: string, request: Partial<PostRequest> = {}) =>
    made.post({ url, headers: {}, body: '{}', deadlineMs: 5_000, ...request }, new AbortController().signal)
  return { post, close: made.close }
}

const timerCount = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

test('a URL that its text condemns is not connected to, though its address is open', async () => {
  const receiver = await startReceiver((socket) => answerWith(socket, 200))
  const guard = guardOf(['127.0.0.0/8'])
  const judged = { isAllowed: false, code: 'loop', message: 'not this one' } as const
  const { post } = postOf({ guard: { ...guard, judgeUrl: () => judged } })
  expect((await post(receiver.url())).result).toMatchObject({ reason: 'blocked_address', detail: 'not this one' })
  expect(receiver.connectionCount()).toBe(0)
})

test('an attempt that has ended leaves no timer behind that would hold up the end of the process', async () => {
  const receiver = await startReceiver((socket) => answerWith(socket, 200, ['Connection: close']))
  const { post } = postOf()
  await post(receiver.url())
  const before = timerCount()
  for (let count = 0; count < 5; count += 1) await post(receiver.url(), { deadlineMs: 600_000 })
  await receiver.untilOpen(0)
  expect(timerCount()).toBeLessThanOrEqual(before)
})

test('a deadline further away than a timer goes is far away, and not over at once', async () => {
  const receiver = await startReceiver((socket) => void setImmediate(() => answerWith(socket, 200)))
  expect((await postOf().post(receiver.url(), { deadlineMs: 3_000_000_000 })).result).toMatchObject({ status: 200 })
})

test('closing closes the connections that were kept for later', async () => {
  const receiver = await startReceiver((socket) => answerWith(socket, 200))
  const { post, close } = postOf()
  await post(receiver.url())
  expect(receiver.openCount()).toBe(1)
  const startedAt = performance.now()
  await close()
  await receiver.untilOpen(0)
  // Of itself it would be kept for four seconds.
  expect(performance.now() - startedAt).toBeLessThan(2_000)
})

test('a body that goes on is let go of when enough of it was read, not when its second is over', MEASURED, async () => {
  const pouring = await startReceiver((socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(20_000)}`)
  })
  const { post } = postOf()
  const startedAt = performance.now()
  expect(await post(pouring.url())).toMatchObject({ result: { status: 200 }, responseTruncated: true })
  expect(performance.now() - startedAt).toBeLessThan(800)
  await pouring.untilOpen(0)
})

test('of a body no more than a little is read, and less is kept', () => {
  const answer = createAnswer(200, {})
  expect(answer.add(Buffer.alloc(16_384, 'x'))).toBe(true)
  expect(answer.add(Buffer.alloc(1, 'x'))).toBe(false)
  expect(answer.excerpt(true).text).toHaveLength(4_096)
})

test('headers of more than 16 KiB are no answer', async () => {
  const headers = Array.from({ length: 20 }, (_, index) => `X-${index}: ${'x'.repeat(1_000)}`)
  const receiver = await startReceiver((socket) => answerWith(socket, 200, headers))
  expect((await postOf().post(receiver.url())).result).toMatchObject({ kind: 'no_response', reason: 'protocol' })
})

test('of a name with a dead address and a living one the living one is found', async () => {
  const receiver = await startReceiver((socket) => answerWith(socket, 200))
  const resolve: Resolve = (_name, done) =>
    done(null, [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ])
  const { post } = postOf({ guard: guardOf(['receiver.test', '::1', '127.0.0.1'], resolve) })
  expect((await post(receiver.url('receiver.test'))).result).toMatchObject({ status: 200 })
})

/** Opens a socket as a connection would, and tells what was said of it. */
function aDial(resolve?: Resolve) {
  const seen: string[] = []
  const dial = createDial({
    guard: guardOf(['127.0.0.0/8', 'here.test'], resolve),
    trustedCertificates: null,
    onResolved: (host) => void seen.push(`resolved ${host}`),
    onConnected: (host) => void seen.push(`connected ${host}`),
  })
  const ends: (Error | null)[] = []
  async function open(hostname: string, port: number): Promise<Socket> {
    const target = { hostname, port: String(port), protocol: 'http:' } as Parameters<Dial>[0]
    const opening = { onResolved() {}, onTcpConnected() {}, onConnected() {} }
    const socket = await new Promise<Socket | null>((settle) => {
      const opened = dial(
        target,
        (...[error]) => {
          ends.push(error)
          settle(opened)
        },
        opening,
      )
    })
    if (socket === null) throw new Error('no socket')
    onTestFinished(() => void socket.destroy())
    return socket
  }
  return { open, seen, ends }
}

test('what is reached on this machine says nothing about the network or its name servers', async () => {
  const receiver = await startReceiver(() => {})
  onTestFinished(closeReceivers)
  const { open, seen, ends } = aDial((_name, done) => done(null, [{ address: '127.0.0.1', family: 4 }]))
  await open('127.0.0.1', receiver.port)
  await open('here.test', receiver.port)
  expect(ends).toEqual([null, null])
  expect(seen).toEqual([])
})

test('a connection that breaks after it was handed over is not handed over again', async () => {
  const receiver = await startReceiver(() => {})
  onTestFinished(closeReceivers)
  const { open, ends } = aDial()
  const socket = await open('127.0.0.1', receiver.port)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.destroy(new Error('later'))
  await closed
  expect(ends).toEqual([null])
})

test('TLS asks for HTTP/1.1, under a name without the dot at its end, and under no name for an address', async () => {
  const names: (string | false | null)[] = []
  const server = createTlsServer(
    { key: fixture('key.pem'), cert: fixture('certificate.pem'), ALPNProtocols: ['h2', 'http/1.1'] },
    (socket) => {
      names.push(socket.alpnProtocol, (socket as TLSSocket & { servername: string | false }).servername)
      socket.on('data', () => answerWith(socket, 200, ['Connection: close']))
      socket.on('error', () => {})
    },
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const resolve: Resolve = (_name, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
  const guard = guardOf(['receiver.test', '127.0.0.0/8'], resolve)
  const warnings: string[] = []
  const warn = ({ message }: Error) => void warnings.push(message)
  process.on('warning', warn)
  onTestFinished(() => void process.off('warning', warn))
  const { post } = postOf({ guard, trustedCertificates: [fixture('certificate.pem')] })
  for (const host of ['receiver.test', 'receiver.test.', '127.0.0.1']) await post(`https://${host}:${port}/`)
  await new Promise((resolveTurn) => setImmediate(resolveTurn))
  expect(names.slice(0, 4)).toEqual(['http/1.1', 'receiver.test', 'http/1.1', 'receiver.test'])
  expect(warnings).toEqual([])
})

test('a name under localhost leads to where the daemon listens, though it was opened by name', () => {
  const read = parseAllowList(['app.localhost'])
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  const guard = createAddressGuard({ allow: read.allow, ownOrigins: () => ['http://127.0.0.1:7464'] })
  expect(guard.judgeUrl('https://app.localhost:7464/hook')).toMatchObject({ isAllowed: false, code: 'loop' })
  expect(guard.judgeUrl('https://app.localhost:7465/hook')).toMatchObject({ isAllowed: true })
})
