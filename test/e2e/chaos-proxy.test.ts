/** The bad network that the tests of the network trust in: that it does to connections what it says, and no more. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/chaos.ts'
import { type ChaosProxy, startChaosProxy, type Weather } from '../support/chaos-proxy.ts'

const REQUEST = `POST / HTTP/1.1\r\nwebhook-id: evt_1\r\n\r\n${'a'.repeat(40)}`
const ANSWER = `HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n${'b'.repeat(60)}`

interface Ends {
  readonly proxy: ChaosProxy
  /** What the target heard, over all connections. */
  readonly heard: () => string
  readonly open: () => Client
}

interface Client {
  readonly socket: Socket
  readonly text: () => string
  /** Resolves with the error that ended it, or with `end`. */
  readonly ended: Promise<string>
}

/** A target that answers each whole request, and keeps its connections. */
async function aPair(): Promise<Ends> {
  let heard = ''
  const server = createServer((socket) => {
    socket.on('error', () => {})
    let request = ''
    socket.setEncoding('latin1').on('data', (text: string) => {
      heard += text
      request += text
      if (request.length < REQUEST.length) return
      request = request.slice(REQUEST.length)
      socket.write(ANSWER)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => void server.close())
  const proxy = await startChaosProxy({
    targetUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    nameOf: (request) => /webhook-id: (\S+)\r\n/.exec(request)?.[1] ?? null,
  })
  const open = (): Client => {
    const socket = connect(Number(new URL(proxy.url).port), '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece
    })
    onTestFinished(() => void socket.destroy())
    const ended = new Promise<string>((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)))
      socket.on('close', () => resolve('end'))
    })
    return { socket, text: () => text, ended }
  }
  return { proxy, heard: () => heard, open }
}

const untilText = ({ text }: Client, expected: string) => eventually(() => (text() === expected ? true : null))

test.each<[string, Weather, number]>([
  ['calm', { kind: 'calm' }, 0],
  ['latency', { kind: 'latency', delayMs: 100 }, 190],
  ['throttle', { kind: 'throttle', bytesPerSecond: 1_000 }, 190],
  ['drip', { kind: 'drip', everyMs: 1 }, 150],
])('%s: all of it arrives, and not too soon', async (_kind, weather, msMin) => {
  const { proxy, heard, open } = await aPair()
  const client = open()
  proxy.turn(weather)
  const startedAt = performance.now()
  client.socket.write(REQUEST)
  await untilText(client, ANSWER)
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(msMin)
  expect(heard()).toBe(REQUEST)
  client.socket.end()
  expect(await client.ended).toBe('end')
  expect(proxy.unanswered).toEqual([])
})

test('silence: what was held back arrives when the weather changes', async () => {
  const { proxy, heard, open } = await aPair()
  const client = open()
  proxy.turn({ kind: 'silence' })
  client.socket.write(REQUEST)
  await eventually(() => (proxy.met.has('silence') ? true : null))
  expect(heard()).toBe('')
  proxy.turn({ kind: 'calm' })
  await untilText(client, ANSWER)
})

test('half open: a connection stays and carries nothing ever again, another one is well', async () => {
  const { proxy, heard, open } = await aPair()
  const client = open()
  proxy.turn({ kind: 'half_open' })
  client.socket.write(REQUEST)
  await eventually(() => (proxy.met.has('half_open') ? true : null))
  proxy.turn({ kind: 'calm' })
  client.socket.write(REQUEST)
  const other = open()
  other.socket.write(REQUEST)
  await untilText(other, ANSWER)
  expect(heard()).toBe(REQUEST)
  expect([client.text(), client.socket.destroyed]).toEqual(['', false])
})

test('refuse: those who are connected are reset, and so is who comes', async () => {
  const { proxy, open } = await aPair()
  const client = open()
  client.socket.write(REQUEST)
  await untilText(client, ANSWER)
  proxy.turn({ kind: 'refuse' })
  expect(await client.ended).toBe('ECONNRESET')
  expect(await open().ended).toBe('ECONNRESET')
})

test.each(['reset', 'end'] as const)(
  'cut by %s within the body of an answer: no more of it arrives, and the request counts as answered',
  async (by) => {
    const { proxy, open } = await aPair()
    proxy.turn({ kind: 'cut', of: 'answer', afterBytes: 50, by })
    const client = open()
    client.socket.write(REQUEST)
    // Node may take a reset that comes together with data for an end.
    expect(['ECONNRESET', 'end']).toContain(await client.ended)
    expect(client.text()).toBe(ANSWER.slice(0, 50))
    expect(proxy.unanswered).toEqual([])
  },
)

test.each<[string, Weather, string]>([
  ['before the head of its answer was there', { kind: 'cut', of: 'answer', afterBytes: 30, by: 'reset' }, REQUEST],
  ['in the middle of a request', { kind: 'cut', of: 'request', afterBytes: 60, by: 'end' }, REQUEST.slice(0, 60)],
])('a request cut %s is known by its name', async (_when, weather, expected) => {
  const { proxy, heard, open } = await aPair()
  const client = open()
  client.socket.write(REQUEST)
  await untilText(client, ANSWER)
  proxy.turn(weather)
  client.socket.write(REQUEST)
  await client.ended
  await eventually(() => (proxy.unanswered.length > 0 ? true : null))
  expect(proxy.unanswered).toEqual(['evt_1'])
  expect(heard()).toBe(REQUEST + expected)
})
