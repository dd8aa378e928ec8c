/** The receiver: what it takes for genuine, judged by two official libraries, and how it misbehaves when told to. */

import { createHmac } from 'node:crypto'
import { Webhook as StandardWebhook } from 'standardwebhooks'
import { Webhook as SvixWebhook } from 'svix'
import { afterEach, describe, expect, test } from 'vitest'
import { formatSecret } from '../../src/core/signature.ts'
import { type Receiver, type ReceiverOptions, startReceiver } from '../../src/sandbox/receiver.ts'

const SECRET = formatSecret(Buffer.alloc(32, 7))
const OTHER_SECRET = formatSecret(Buffer.alloc(32, 9))
const NOW = 1_800_000_000_000
const BODY = '{"type":"task.succeeded","data":{"taskId":"ok-1","note":"Grüße, 你好"}}'

const open: Receiver[] = []

async function start(options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = await startReceiver({ secrets: [SECRET], now: () => NOW, ...options })
  open.push(receiver)
  return receiver
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((receiver) => receiver.close()))
})

function signedBy(secret: string, { id = 'evt_1', at = NOW, body = BODY } = {}): Record<string, string> {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at / 1000)),
    'webhook-signature': new StandardWebhook(secret).sign(id, new Date(at), body),
  }
}

interface Post {
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array<ArrayBuffer>
  readonly path?: string
  readonly signal?: AbortSignal
}

function post(receiver: Receiver, { headers = signedBy(SECRET), body = BODY, path = '/hook', signal }: Post = {}) {
  const aborts = signal === undefined ? {} : { signal }
  return fetch(receiver.url + path, { method: 'POST', headers, body, redirect: 'manual', ...aborts })
}

async function rejectionOf(sent: Post): Promise<string | null> {
  const receiver = await start()
  const { status } = await post(receiver, sent)
  const [request] = receiver.received
  expect(status).toBe(request?.isVerified ? 204 : 400)
  expect(receiver.eventIds.size).toBe(request?.isVerified ? 1 : 0)
  return request?.rejection ?? null
}

describe('a webhook is genuine', () => {
  test('when the official standardwebhooks library signed it', async () => {
    expect(await rejectionOf({})).toBeNull()
  })

  test('when the official svix library signed it', async () => {
    const signature = new SvixWebhook(SECRET).sign('msg_1', new Date(NOW), BODY)
    const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': String(NOW / 1000), 'webhook-signature': signature }
    expect(await rejectionOf({ headers })).toBeNull()
  })

  test('when any one of several signatures is right', async () => {
    const good = signedBy(SECRET)
    const wrong = signedBy(OTHER_SECRET)
    const several = `v1a,AAAA ${wrong['webhook-signature']} ${good['webhook-signature']}`
    expect(await rejectionOf({ headers: { ...good, 'webhook-signature': several } })).toBeNull()
  })

  test('when any one of several trusted secrets made it, one trusted later too', async () => {
    const receiver = await start({ secrets: [SECRET] })
    expect((await post(receiver, { headers: signedBy(OTHER_SECRET) })).status).toBe(400)
    receiver.trust(OTHER_SECRET)
    expect((await post(receiver, { headers: signedBy(OTHER_SECRET) })).status).toBe(204)
    expect((await post(receiver, { headers: signedBy(SECRET) })).status).toBe(204)
  })

  test('when its timestamp is five minutes off, in either direction, and not a second more', async () => {
    const at = (seconds: number) => rejectionOf({ headers: signedBy(SECRET, { at: NOW + seconds * 1000 }) })
    expect([await at(-300), await at(300)]).toEqual([null, null])
    expect([await at(-301), await at(301)]).toEqual(['too_old', 'too_new'])
  })

  test('over its bytes, not over what they look like as text', async () => {
    const bytes = Uint8Array.from([0x7b, 0xff, 0x7d])
    const mac = createHmac('sha256', Buffer.alloc(32, 7))
      .update(`evt_1.${NOW / 1000}.`)
      .update(bytes)
    const headers = { ...signedBy(SECRET), 'webhook-signature': `v1,${mac.digest('base64')}` }
    expect(await rejectionOf({ headers, body: bytes })).toBeNull()
    expect(await rejectionOf({ headers, body: '{\ufffd}' })).toBe('no_matching_signature')
  })
})

describe('a webhook is rejected', () => {
  const good = signedBy(SECRET)
  const signature = good['webhook-signature'] ?? ''
  test.each([
    ['one changed byte of the body', { body: BODY.replace('ok-1', 'ok-2') }],
    ['a space behind the body', { body: `${BODY} ` }],
    ['another id', { headers: { ...good, 'webhook-id': 'evt_2' } }],
    ['another timestamp', { headers: { ...good, 'webhook-timestamp': String(NOW / 1000 + 1) } }],
    ['another secret', { headers: signedBy(OTHER_SECRET) }],
    ['a changed signature', { headers: { ...good, 'webhook-signature': signature.replace(/.=$/, 'A=') } }],
    ['a signature with something behind it', { headers: { ...good, 'webhook-signature': `${signature}!` } }],
    ['a shorter signature', { headers: { ...good, 'webhook-signature': signature.slice(0, -4) } }],
    ['the right bytes under another version', { headers: { ...good, 'webhook-signature': `v2${signature.slice(2)}` } }],
    ['a signature without a version', { headers: { ...good, 'webhook-signature': signature.slice(3) } }],
  ])('with %s', async (_, sent) => {
    expect(await rejectionOf(sent)).toBe('no_matching_signature')
  })

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('without %s', async (name) => {
    const { [name]: _, ...headers } = signedBy(SECRET)
    expect(await rejectionOf({ headers })).toBe('missing_header')
  })

  test('with a timestamp that is no number', async () => {
    expect(await rejectionOf({ headers: { ...good, 'webhook-timestamp': 'now' } })).toBe('bad_timestamp')
  })

  test('while no secret is trusted', async () => {
    const receiver = await start({ secrets: [] })
    expect((await post(receiver)).status).toBe(400)
    expect(receiver.received[0]?.rejection).toBe('no_secret')
  })
})

test('text that is no secret is refused without being repeated', async () => {
  await expect(startReceiver({ secrets: ['hunter2'] })).rejects.toThrow(/whsec_/)
  await expect(startReceiver({ secrets: ['hunter2'] })).rejects.not.toThrow(/hunter2/)
})

test('a request is remembered as it came', async () => {
  const receiver = await start()
  await post(receiver, { path: '/hook?customer=7' })
  expect(receiver.received).toEqual([
    {
      method: 'POST',
      path: '/hook?customer=7',
      headers: expect.objectContaining(signedBy(SECRET)),
      body: BODY,
      isVerified: true,
      rejection: null,
      webhookId: 'evt_1',
      attemptNumber: 1,
      at: NOW,
    },
  ])
})

test('an event that comes again is counted once, and a forged one not at all', async () => {
  const receiver = await start()
  await post(receiver)
  await post(receiver)
  await post(receiver, { headers: { ...signedBy(SECRET), 'webhook-id': 'evt_forged' } })
  await post(receiver, { headers: signedBy(SECRET, { id: 'evt_2' }) })
  expect([...receiver.eventIds]).toEqual(['evt_1', 'evt_2'])
  expect(receiver.received.map((request) => request.attemptNumber)).toEqual([1, 2, 1, 1])
})

describe('waiting for a request', () => {
  test('ends when it arrives, before it is answered', async () => {
    const receiver = await start({ behave: () => ({ kind: 'hang' }) })
    const leave = new AbortController()
    const waiting = receiver.next((request) => request.path === '/second')
    const first = post(receiver, { path: '/first', signal: leave.signal }).catch(() => 'left')
    const second = post(receiver, { path: '/second', signal: leave.signal }).catch(() => 'left')
    expect((await waiting).path).toBe('/second')
    leave.abort()
    expect(await Promise.all([first, second])).toEqual(['left', 'left'])
  })

  test('ends at once when it is there already', async () => {
    const receiver = await start()
    await post(receiver)
    expect((await receiver.next((request) => request.isVerified, 1)).webhookId).toBe('evt_1')
  })

  test('fails after its time, and says how many others came', async () => {
    const receiver = await start()
    await post(receiver)
    await expect(receiver.next(() => false, 5)).rejects.toThrow('no matching request within 5 ms; 1 others came')
  })

  test('fails on close, and when its own predicate stumbles, without harm to the sender', async () => {
    const receiver = await start()
    const stumbling = receiver.next((request) => JSON.parse(request.body).data.missing.deep)
    const stumbled = expect(stumbling).rejects.toThrow(TypeError)
    expect((await post(receiver)).status).toBe(204)
    await stumbled
    const waiting = expect(receiver.next(() => false)).rejects.toThrow(/closed/)
    await receiver.close()
    await waiting
  })
})

describe('misbehaviour', () => {
  test('a script answers the n-th attempt at an event with its n-th entry, and then with its last', async () => {
    const receiver = await start({
      scripts: {
        '/down': [
          { kind: 'answer', status: 503, headers: { 'retry-after': '7' }, body: 'later' },
          { kind: 'redirect', location: 'http://169.254.169.254/' },
          { kind: 'answer', status: 200 },
        ],
      },
    })
    const first = await post(receiver, { path: '/down?a' })
    expect([first.status, first.headers.get('retry-after'), await first.text()]).toEqual([503, '7', 'later'])
    const second = await post(receiver, { path: '/down' })
    expect([second.status, second.headers.get('location')]).toEqual([307, 'http://169.254.169.254/'])
    expect((await post(receiver, { path: '/down' })).status).toBe(200)
    expect((await post(receiver, { path: '/down' })).status).toBe(200)
    expect((await post(receiver, { path: '/down', headers: signedBy(SECRET, { id: 'evt_2' }) })).status).toBe(503)
    expect((await post(receiver, { path: '/up' })).status).toBe(204)
  })

  test('a function decides by request and attempt, and leaves the rest to the receiver', async () => {
    const receiver = await start({
      behave: (request, attemptNumber) =>
        request.path === '/flaky' && attemptNumber < 3 ? { kind: 'answer', status: 500 } : null,
    })
    const statuses = []
    for (let count = 0; count < 3; count += 1) statuses.push((await post(receiver, { path: '/flaky' })).status)
    expect(statuses).toEqual([500, 500, 204])
    expect((await post(receiver, { path: '/flaky', headers: {} })).status).toBe(500)
  })

  test('a reset gives no answer', async () => {
    const receiver = await start({ behave: () => ({ kind: 'reset' }) })
    await expect(post(receiver)).rejects.toMatchObject({ cause: { code: 'ECONNRESET' } })
    expect(receiver.eventIds.size).toBe(1)
  })

  test('a delay answers late', async () => {
    const receiver = await start({
      behave: () => ({ kind: 'delay', delayMs: 60, next: { kind: 'answer', status: 202 } }),
    })
    const before = performance.now()
    expect((await post(receiver)).status).toBe(202)
    expect(performance.now() - before).toBeGreaterThanOrEqual(59)
  })

  test('an endless body comes after a status line of its own', async () => {
    const receiver = await start({ behave: () => ({ kind: 'endless', status: 201 }) })
    const leave = new AbortController()
    const response = await post(receiver, { signal: leave.signal })
    expect(response.status).toBe(201)
    const reader = response.body!.getReader()
    let byteCount = 0
    while (byteCount < 1024 * 1024) byteCount += (await reader.read()).value!.length
    leave.abort()
  })
})

test('its memory has an end, and the count of events goes on', async () => {
  const receiver = await start({ receivedMax: 10 })
  for (let count = 0; count < 25; count += 1)
    await post(receiver, { headers: signedBy(SECRET, { id: `evt_${count}` }) })
  expect(receiver.received.length).toBeLessThanOrEqual(10)
  expect(receiver.received.at(-1)?.webhookId).toBe('evt_24')
  expect(receiver.eventIds.size).toBe(25)
})
