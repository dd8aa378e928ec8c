/** The receiver that strangers copy: it takes what is genuine, does its work once, and survives what is not. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { formatSecret } from '../../src/core/signature.ts'

const SECRET = formatSecret(Buffer.alloc(32, 7))
const EVENT = { type: 'task.succeeded', data: { taskId: 'ok-1', images: [{ url: 'http://example.com/a%2Fb.png' }] } }
const printed: unknown[][] = []
let port = 0
let stop = async () => {}

beforeAll(async () => {
  vi.stubEnv('WEBHOOK_SECRET', SECRET)
  vi.stubEnv('PORT', '0')
  vi.spyOn(console, 'log').mockImplementation((...words: unknown[]) => {
    printed.push(words)
  })
  const { server } = await import('../../examples/receiver.ts')
  if (!server.listening) await once(server, 'listening')
  port = (server.address() as AddressInfo).port
  stop = async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})

afterAll(async () => {
  await stop()
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

async function post(id: string, sent: { body?: string; signedBody?: string } = {}): Promise<number> {
  const body = sent.body ?? JSON.stringify(EVENT)
  const at = new Date()
  const headers = {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(SECRET).sign(id, at, sent.signedBody ?? body),
  }
  return (await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers, body })).status
}

test('it is short enough to be copied', () => {
  const text = readFileSync(new URL('../../examples/receiver.ts', import.meta.url), 'utf8')
  expect(text.trimEnd().split('\n').length).toBeLessThanOrEqual(40)
})

test('a genuine event is answered 204, and its work is done once however often it comes', async () => {
  expect([await post('evt_1'), await post('evt_1'), await post('evt_2')]).toEqual([204, 204, 204])
  const line = ['task.succeeded', 'ok-1', 'http://example.com/a%2Fb.png']
  expect(printed).toEqual([line, line])
})

test('a changed event is answered 400 and no work is done', async () => {
  const before = printed.length
  expect(await post('evt_3', { signedBody: `${JSON.stringify(EVENT)} ` })).toBe(400)
  expect(printed.length).toBe(before)
})

test('work that fails is answered 500, and done when the event comes again', async () => {
  const body = '{"type":"task.succeeded","data":{}}'
  expect([await post('evt_4', { body }), await post('evt_4', { body })]).toEqual([500, 500])
  expect(await post('evt_4')).toBe(204)
})

test('a sender that leaves in the middle of a body harms nobody', async () => {
  const socket = connect(port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf')
  await once(socket, 'connect')
  socket.resetAndDestroy()
  expect(await post('evt_5')).toBe(204)
})
