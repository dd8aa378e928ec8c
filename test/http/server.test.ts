/** The app behind a real port: what only a socket can get wrong. */

import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/core/errors.ts'
import { type RunningServer, startServer } from '../../src/http/server.ts'
import { type AppParts, aLog, anApp, aTask, BEARER, problemOf, TOKEN } from './fakes.ts'

const running: RunningServer[] = []

afterEach(async () => {
  for (const server of running.splice(0)) {
    const closed = server.close()
    server.closeNow()
    await closed
  }
})

async function aServer(parts: AppParts = {}) {
  const { app, log } = anApp(parts)
  const server = await startServer(app, { host: '127.0.0.1', port: 0, log })
  running.push(server)
  return { ...server, log, url: `http://127.0.0.1:${server.port}` }
}

/** Sends bytes and reads until the server ends the connection. */
function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.setEncoding('utf8')
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('close', () => resolve(text))
    socket.on('error', reject)
  })
}

/** The answer to raw bytes as a Response. */
async function rawResponse(port: number, bytes: string): Promise<Response> {
  const text = await exchange(port, bytes)
  const [head = '', body = ''] = text.split('\r\n\r\n')
  const [line = '', ...fields] = head.split('\r\n')
  const headers = fields.map((field) => field.split(': ') as [string, string])
  return new Response(body, { status: Number(line.split(' ')[1]), headers })
}

const json = { ...BEARER, 'content-type': 'application/json' }
const GOOD = JSON.stringify({ taskId: 'a', callbackUrl: 'https://example.com' })

describe('a port', () => {
  test('serves the app', async () => {
    const { url } = await aServer()
    const response = await fetch(`${url}/v1/tasks`, { method: 'POST', headers: json, body: GOOD })
    expect([response.status, await response.json()]).toMatchObject([201, { taskId: 'a' }])
    expect(response.headers.get('server')).toBeNull()
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    await problemOf(await fetch(`${url}/nothing`), 404)
  })

  test('that is taken is refused in words that name it and the setting', async () => {
    const { port } = await aServer()
    const second = startServer(anApp().app, { host: '127.0.0.1', port, log: aLog() })
    await expect(second).rejects.toThrow(ConfigError)
    await expect(second).rejects.toThrow(new RegExp(`port ${port} .*RINGBACK_PORT`))
  })

  test('on an address that is not ours names RINGBACK_HOST', async () => {
    const started = startServer(anApp().app, { host: '203.0.113.1', port: 0, log: aLog() })
    await expect(started).rejects.toThrow(/203\.0\.113\.1.*RINGBACK_HOST/)
  })
})

describe('bytes that are no request', () => {
  const head = `POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\n`
  test.each([
    ['garbage', 'GARBAGE\r\n\r\n', 400],
    ['an unknown method', 'BREW / HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a host with a space', 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n', 400],
    ['two lengths', `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx`, 400],
    ['a length and chunks', `${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['headers of 20 KB', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['an expectation', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n', 417],
  ])('%s is a problem', async (_, bytes, status) => {
    const { port } = await aServer()
    await problemOf(await rawResponse(port, bytes), status)
  })

  test('after a good request on the same connection are a problem too', async () => {
    const { port } = await aServer()
    const text = await exchange(port, `GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGARBAGE\r\n\r\n`)
    expect(text).toMatch(
      /^HTTP\/1\.1 200 OK\r\n[\s\S]*"status":"ok"[\s\S]*HTTP\/1\.1 400 [\s\S]*urn:ringback:problem:unreadable/,
    )
  })
})

describe('bodies', () => {
  test('of a megabyte are 413, with a length and without', async () => {
    const { url } = await aServer()
    const bytes = new Uint8Array(1024 * 1024).fill(0x20)
    await problemOf(await fetch(`${url}/v1/tasks`, { method: 'POST', headers: json, body: bytes }), 413)
    const body = new Blob([bytes]).stream()
    const request = { method: 'POST', headers: json, body, duplex: 'half' } as RequestInit
    await problemOf(await fetch(`${url}/v1/tasks`, request), 413)
  })

  test('without a length are read', async () => {
    const { url } = await aServer()
    const request = { method: 'POST', headers: json, body: new Blob([GOOD]).stream(), duplex: 'half' } as RequestInit
    expect((await fetch(`${url}/v1/tasks`, request)).status).toBe(201)
  })

  test('whose sender leaves in the middle are no error of ours', async () => {
    const { port, log } = await aServer()
    const answered = log.next('http.answered')
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(
        `POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
        () => socket.destroy(),
      )
    })
    await answered
    expect(log.lines.filter(({ level }) => level === 'error')).toEqual([])
  })
})

describe('closing', () => {
  test('ends idle connections at once', async () => {
    const { port, close } = await aServer()
    const answered = new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'))
      socket.once('data', () => resolve())
    })
    await answered
    const startedAt = performance.now()
    await close()
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })

  test('lets a request that is under way end, and takes no new one', async () => {
    let answer = () => {}
    let reached = () => {}
    const asked = new Promise<void>((resolve) => {
      reached = resolve
    })
    const held = new Promise<void>((resolve) => {
      answer = resolve
    })
    const { url, close } = await aServer({
      store: {
        async listTasks() {
          reached()
          await held
          return { items: [aTask()], nextCursor: null }
        },
      },
    })
    const first = fetch(`${url}/v1/tasks`, { headers: BEARER })
    await asked
    const closed = close()
    await expect(fetch(`${url}/livez`)).rejects.toThrow()
    answer()
    expect((await first).status).toBe(200)
    const answeredAt = performance.now()
    await closed
    // The connection would be kept for ten seconds of itself.
    expect(performance.now() - answeredAt).toBeLessThan(5_000)
  })

  test('at once, when somebody says so, also ends a request that would never be answered', async () => {
    let reached = () => {}
    const asked = new Promise<void>((resolve) => {
      reached = resolve
    })
    const { url, close, closeNow } = await aServer({
      store: {
        listTasks() {
          reached()
          return new Promise(() => {})
        },
      },
    })
    const first = fetch(`${url}/v1/tasks`, { headers: BEARER })
    await asked
    const closed = close()
    closeNow()
    await expect(first).rejects.toThrow()
    await closed
  })
})

test('a connection is kept for ten seconds and no longer, which every answer says; one that was not understood is ended', async () => {
  const { url, port } = await aServer()
  expect((await fetch(`${url}/livez`)).headers.get('keep-alive')).toBe('timeout=10')
  const garbage = await rawResponse(port, 'GARBAGE\r\n\r\n')
  expect([garbage.status, garbage.headers.get('connection')]).toEqual([400, 'close'])
})
