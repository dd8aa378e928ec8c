/**
 * Every way in which TLS can fail (F41, F50), on real sockets with certificates made for the run: the attempt ends in
 * time, says in words what is wrong, nothing of the webhook has left, and no socket stays open.
 */

import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createAddressGuard, parseAllowList } from '../../src/webhook/address-guard.ts'
import { createPost } from '../../src/webhook/post.ts'
import { type Certificates, hasOpenssl, makeCertificates } from './certificates.ts'
import { answerWith, closeReceivers, startReceiver } from './receivers.ts'

const DEADLINE_MS = 500
const SLACK_MS = 3_000

const closings: (() => Promise<unknown>)[] = []
let certificates: Certificates

if (!hasOpenssl) console.warn('SKIPPED: test/webhook/tls-faults.test.ts needs the openssl command, which is not there')

beforeAll(() => {
  if (hasOpenssl) certificates = makeCertificates()
})

afterEach(async () => {
  for (const close of closings.splice(0)) await close()
  await closeReceivers()
})

function allowing(...entries: string[]) {
  const read = parseAllowList(entries)
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return read.allow
}

async function send(port: number, trusted: readonly string[] = [certificates.authority]) {
  const guard = createAddressGuard({
    allow: allowing('receiver.test'),
    ownOrigins: () => [],
    resolve: (_hostname, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  })
  const made = createPost({ guard, connectionsMax: 4, userAgent: 'ringback/test', trustedCertificates: trusted })
  closings.push(made.close)
  const startedAt = performance.now()
  const { signal } = new AbortController()
  const url = `https://receiver.test:${port}/hook?key=secret`
  const { result } = await made.post({ url, headers: {}, body: '{"canary":1}', deadlineMs: DEADLINE_MS }, signal)
  const tookMs = performance.now() - startedAt
  expect(tookMs).toBeLessThan(DEADLINE_MS + SLACK_MS)
  expect(JSON.stringify(result)).not.toContain('secret')
  return result
}

describe.skipIf(!hasOpenssl)('a certificate', () => {
  const settings: Readonly<Record<string, TlsOptions>> = {
    old: { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
    older: { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
  }

  test('that is good works, over TLS 1.2 and 1.3: the faults below are what the others fail by', async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const receiver = await startReceiver((socket) => answerWith(socket, 200), { ...certificates.good, maxVersion })
      expect(await send(receiver.port)).toEqual({ kind: 'response', status: 200, retryAfter: null })
      expect(receiver.requests).toHaveLength(1)
    }
  })

  test.each<[string, (of: Certificates) => TlsOptions, string]>([
    ['is self-signed', (of) => of.selfSigned, 'self-signed certificate (DEPTH_ZERO_SELF_SIGNED_CERT)'],
    ['is for another name', (of) => of.wrongName, 'certificate for the wrong name (ERR_TLS_CERT_ALTNAME_INVALID)'],
    ['has expired', (of) => of.expired, 'certificate expired (CERT_HAS_EXPIRED)'],
    ['is not valid yet', (of) => of.notYetValid, 'certificate not valid yet (CERT_NOT_YET_VALID)'],
    [
      'is by an unknown authority',
      (of) => of.unknownAuthority,
      'certificate chain incomplete (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
    ],
    [
      'lacks the one between',
      (of) => of.incompleteChain,
      'certificate chain incomplete (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
    ],
    ['is shown over TLS 1.1', (of) => ({ ...of.good, ...settings['old'] }), 'no TLS 1.2 or newer'],
    ['is shown over TLS 1.0', (of) => ({ ...of.good, ...settings['older'] }), 'no TLS 1.2 or newer'],
  ])('that %s fails the attempt, in words', async (_what, of, detail) => {
    const receiver = await startReceiver((socket) => answerWith(socket, 200), of(certificates))
    expect(await send(receiver.port)).toMatchObject({
      kind: 'no_response',
      reason: 'tls',
      detail: expect.stringContaining(detail),
    })
    expect(receiver.requests).toEqual([])
    await receiver.untilOpen(0)
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'that wants one from us fails the attempt, over %s',
    async (maxVersion) => {
      const demanding = { ...certificates.good, maxVersion, requestCert: true, rejectUnauthorized: true }
      const receiver = await startReceiver((socket) => answerWith(socket, 200), demanding)
      // Over TLS 1.3 the refusal comes after our side of the handshake is done, as an alert or as a reset.
      expect(await send(receiver.port)).toMatchObject({
        kind: 'no_response',
        reason: expect.stringMatching(/^(tls|reset)$/),
      })
      expect(receiver.requests).toEqual([])
      await receiver.untilOpen(0)
    },
  )
})

describe.skipIf(!hasOpenssl)('a handshake', () => {
  const ALERT_HANDSHAKE_FAILURE = Buffer.from([0x15, 3, 3, 0, 2, 2, 40])
  const HELLO_THAT_NEVER_ENDS = Buffer.from([0x16, 3, 3, 0x3f, 0xff])

  function drip(socket: Socket, bytes: Buffer): void {
    let at = 0
    const timer = setInterval(
      () => socket.writable && socket.write(bytes.subarray(at % bytes.length, (at++ % bytes.length) + 1)),
      10,
    )
    socket.once('close', () => clearInterval(timer))
  }

  function pour(socket: Socket): void {
    const record = Buffer.concat([Buffer.from([0x17, 3, 3, 0x3f, 0xff]), Buffer.alloc(0x3fff)])
    const more = () => {
      while (socket.writable && socket.write(record));
    }
    socket.on('drain', more)
    more()
  }

  test.each<[string, string, (socket: Socket) => void]>([
    ['that nobody answers', 'timeout', () => {}],
    ['that drips', 'timeout', (socket) => drip(socket, HELLO_THAT_NEVER_ENDS)],
    ['that is announced and never comes', 'timeout', (socket) => socket.write(HELLO_THAT_NEVER_ENDS)],
    ['that is reset at its first byte', 'reset', (socket) => socket.resetAndDestroy()],
    ['that is closed at its first byte', 'reset', (socket) => socket.end()],
    [
      'that is reset in the middle',
      'reset',
      (socket) => socket.write(HELLO_THAT_NEVER_ENDS, () => socket.resetAndDestroy()),
    ],
    ['that is answered in plain HTTP', 'tls', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['that is answered by SSH', 'tls', (socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n')],
    ['that is refused by an alert', 'tls', (socket) => socket.end(ALERT_HANDSHAKE_FAILURE)],
    ['that is answered with records without end', 'tls', pour],
  ])('%s ends as %s', async (_what, reason, behave) => {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.once('data', () => behave(socket))
      socket.on('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closings.push(async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    })
    expect(await send((server.address() as AddressInfo).port)).toMatchObject({ kind: 'no_response', reason })
  })

  test('that is begun in plain HTTP on a TLS port ends as reset', async () => {
    const receiver = await startReceiver(() => {}, certificates.good)
    const guard = createAddressGuard({ allow: allowing('127.0.0.1'), ownOrigins: () => [] })
    const made = createPost({ guard, connectionsMax: 4, userAgent: 'ringback/test' })
    closings.push(made.close)
    const url = `http://127.0.0.1:${receiver.port}/`
    const { result } = await made.post(
      { url, headers: {}, body: '{}', deadlineMs: DEADLINE_MS },
      new AbortController().signal,
    )
    expect(result).toMatchObject({ kind: 'no_response', reason: 'reset' })
    await receiver.untilOpen(0)
  })
})
