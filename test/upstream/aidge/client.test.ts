/** The client against real servers on loopback: what leaves, what every kind of answer and silence becomes. */

import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Observation } from '../../../src/core/observation.ts'
import type { DueTask } from '../../../src/core/task.ts'
import { epochMs } from '../../../src/core/time.ts'
import type { Answered } from '../../../src/ports.ts'
import { type AidgeUpstreamOptions, createAidgeUpstream } from '../../../src/upstream/aidge/client.ts'
import { AIDGE_KINDS } from '../../../src/upstream/aidge/kinds.ts'
import { signV2 } from '../../../src/upstream/aidge/sign.ts'
import { answering, aTask, json, type Loopback, tcp } from './loopback.ts'

const SECRET = 'canary-Tq7mZ2xV9bLs4KdW8eRy1NhJ'
const KEY_NAME = 'canary-500123'
const NOW = epochMs(1_735_689_600_000)

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()))
})

async function serve(server: Promise<Loopback>): Promise<Loopback> {
  const open = await server
  opened.push(open)
  return open
}

type Differences = Partial<Omit<AidgeUpstreamOptions, 'credential'>> & { readonly trial?: boolean }

function anUpstream(baseUrl: string, { trial = false, ...differences }: Differences = {}) {
  const upstream = createAidgeUpstream({
    clock: { now: () => NOW, wall: () => NOW },
    credential: { name: 'default', baseUrl, accessKeyName: KEY_NAME, accessKeySecret: SECRET, trial },
    userAgent: 'ringback/0.1.0',
    timeoutMs: 5_000,
    ...differences,
  })
  opened.push(upstream)
  return upstream
}

async function ask(baseUrl: string, differences: Differences = {}, task: DueTask = aTask()): Promise<Answered> {
  const { answers, queryCount } = await anUpstream(baseUrl, differences).query([task], new AbortController().signal)
  expect(answers).toHaveLength(1)
  expect(queryCount).toBe(1)
  const text = JSON.stringify(answers)
  for (const secret of [SECRET, KEY_NAME, signV2({ secret: SECRET, timestamp: NOW }), '127.0.0.1']) {
    expect(text).not.toContain(secret)
  }
  return answers[0]!
}

async function observe(baseUrl: string, differences: Differences = {}): Promise<Observation> {
  return (await ask(baseUrl, differences)).observation
}

const FINISHED = { code: '0', requestId: 'r-1', data: { taskId: 'aaaa-1', taskStatus: 'finished', taskResult: [] } }

describe('a query', () => {
  test('is one signed POST with the id in a flat JSON body', async () => {
    const server = await serve(answering((response) => json(response, FINISHED)))
    const answered = await ask(server.baseUrl)
    expect(answered).toMatchObject({ httpStatus: 200, requestId: 'r-1', askedAt: NOW, answeredAt: NOW })
    expect(answered.observation.kind).toBe('finished')
    const sign = signV2({ secret: SECRET, timestamp: NOW })
    expect(server.asked).toMatchObject([
      {
        method: 'POST',
        url: `/rest/ai/virtual/model/generation/query?partner_id=aidge&sign_method=sha256&sign_ver=v2&app_key=${KEY_NAME}&timestamp=${NOW}&sign=${sign}`,
        body: '{"taskId":"aaaa-1"}',
        headers: { 'content-type': 'application/json', 'accept-encoding': 'identity', 'user-agent': 'ringback/0.1.0' },
      },
    ])
    expect(server.asked[0]?.headers).not.toHaveProperty('x-iop-trial')
  })

  test('says that it is a trial only when it is', async () => {
    const server = await serve(answering((response) => json(response, FINISHED)))
    await ask(server.baseUrl, { trial: true })
    expect(server.asked[0]?.headers['x-iop-trial']).toBe('true')
  })

  test('goes to the path of its kind, with the method and the parameter name of its kind', async () => {
    const server = await serve(answering((response) => json(response, { data: { taskStatus: 'running' } })))
    for (const { name } of AIDGE_KINDS) await ask(server.baseUrl, {}, aTask({ kind: name, taskId: 'a&b=c/é#' }))
    server.asked.forEach(({ method, url, body }, index) => {
      const kind = AIDGE_KINDS[index]!
      const { pathname, searchParams } = new URL(url, 'http://h.example')
      expect({ method, pathname }).toEqual({ method: kind.method, pathname: `/rest${kind.queryPath}` })
      const parameters: unknown = method === 'GET' ? { taskId: searchParams.get('taskId') } : JSON.parse(body)
      expect(parameters).toEqual({ [kind.idParameter]: 'a&b=c/é#' })
    })
    expect(server.asked).toHaveLength(9)
  })

  test('is stamped anew each time', async () => {
    const server = await serve(answering((response) => json(response, FINISHED)))
    let now = NOW
    const upstream = anUpstream(server.baseUrl, { clock: { now: () => NOW, wall: () => now } })
    await upstream.query([aTask()], new AbortController().signal)
    now = epochMs(NOW + 1)
    await upstream.query([aTask()], new AbortController().signal)
    const stamps = server.asked.map(({ url }) => new URL(url, 'http://h.example').searchParams.get('timestamp'))
    expect(stamps).toEqual([`${NOW}`, `${NOW + 1}`])
  })

  test('does not wait for another: forty are under way at once', async () => {
    const warnings: Error[] = []
    const onWarning = (warning: Error): number => warnings.push(warning)
    process.on('warning', onWarning)
    const waiting: (() => void)[] = []
    const server = await serve(
      answering((response, _asked, count) => {
        waiting.push(() => json(response, { data: { taskStatus: 'running' } }))
        if (count === 40) for (const answer of waiting) answer()
      }),
    )
    const upstream = anUpstream(server.baseUrl)
    const { signal } = new AbortController()
    const all = await Promise.all(Array.from({ length: 40 }, () => upstream.query([aTask()], signal)))
    process.off('warning', onWarning)
    expect(all.every(({ answers }) => answers[0]?.observation.kind === 'running')).toBe(true)
    expect(warnings).toEqual([])
  })

  test('about a kind that nobody configured is not sent, and fails nothing', async () => {
    const upstream = anUpstream('http://127.0.0.1:9')
    expect(upstream.idsPerQuery('gone')).toBeNull()
    const { answers, queryCount } = await upstream.query([aTask({ kind: 'gone' })], new AbortController().signal)
    expect(queryCount).toBe(0)
    expect(answers[0]?.observation).toMatchObject({ kind: 'unavailable', reason: 'unknown_kind' })
  })

  test('about no task is no query, and one about two is our own mistake', async () => {
    const upstream = anUpstream('http://127.0.0.1:9')
    const { signal } = new AbortController()
    expect(await upstream.query([], signal)).toEqual({ answers: [], queryCount: 0 })
    await expect(upstream.query([aTask(), aTask()], signal)).rejects.toThrow('carries one id')
  })
})

describe('the kinds of an upstream', () => {
  test('are known by name, one id to a query, all paid by its credential', () => {
    const shared = { ...AIDGE_KINDS[1]!, idParameter: 'taskId' }
    const upstream = anUpstream('http://127.0.0.1:9', { kinds: [...AIDGE_KINDS, shared] })
    expect(upstream.kinds()).toEqual(AIDGE_KINDS.map(({ name }) => name))
    expect(upstream.idsPerQuery('video-removal')).toBe(1)
    expect(upstream.credentialOf('video-removal')).toBe('default')
  })

  test('can be replaced by a later one of the same name', async () => {
    const server = await serve(answering((response) => json(response, FINISHED)))
    const kinds = [...AIDGE_KINDS, { ...AIDGE_KINDS[1]!, idParameter: 'taskId' }]
    await ask(server.baseUrl, { kinds }, aTask({ kind: 'virtual-tryon' }))
    expect(server.asked[0]?.body).toBe('{"taskId":"aaaa-1"}')
  })
})

describe('an HTTP status', () => {
  test.each<[number, Record<string, string>, unknown]>([
    [500, {}, { kind: 'unavailable', reason: 'http_status' }],
    [503, { 'retry-after': '7' }, { kind: 'unavailable', reason: 'http_status' }],
    [429, {}, { kind: 'throttled', retryAfterMs: null }],
    [429, { 'retry-after': '7' }, { kind: 'throttled', retryAfterMs: 7_000 }],
    [429, { 'retry-after': new Date(NOW + 9_000).toUTCString() }, { kind: 'throttled', retryAfterMs: 9_000 }],
    [401, {}, { kind: 'refused', code: 'http_401' }],
    [403, {}, { kind: 'refused', code: 'http_403' }],
    [404, {}, { kind: 'refused', code: 'http_404' }],
    [200, {}, { kind: 'unavailable', reason: 'not_json' }],
    [204, {}, { kind: 'unavailable', reason: 'not_json' }],
    [999, {}, { kind: 'unavailable', reason: 'http_status' }],
  ])('%i with %j', async (status, headers, expected) => {
    const server = await serve(answering((response) => json(response, status === 204 ? '' : '<html>', status, headers)))
    const answered = await ask(server.baseUrl)
    expect(answered.observation).toMatchObject(expected as Record<string, unknown>)
    expect(answered.httpStatus).toBe(status)
  })

  test('that redirects is not followed: another host must not get the signature', async () => {
    const other = await serve(answering((response) => json(response, FINISHED)))
    const moved = { location: `${other.baseUrl}/rest` }
    const server = await serve(answering((response) => json(response, FINISHED, 307, moved)))
    expect(await observe(server.baseUrl)).toMatchObject({ kind: 'unavailable', reason: 'http_status' })
    expect(other.asked).toEqual([])
  })

  test('that is refused may say why in its body', async () => {
    const server = await serve(answering((response) => json(response, { code: 'NoResource', message: 'buy' }, 403)))
    expect(await observe(server.baseUrl)).toMatchObject({ kind: 'refused', code: 'NoResource' })
  })
})

const RESPONSE_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'

describe('no answer', () => {
  test.each<[string, string | null, unknown]>([
    ['a connection that closes without a word', '', { reason: 'reset' }],
    ['half a body', `${RESPONSE_HEAD}content-length: 100\r\n\r\n{"data":`, { reason: 'reset' }],
    ['a reset', null, { reason: 'reset' }],
    ['words that are not HTTP', 'SSH-2.0-OpenSSH_9.9\r\n', { reason: 'protocol' }],
    ['a status line of 099', 'HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n', { reason: 'protocol' }],
    ['an upgrade', 'HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n', {}],
    ['headers without end', `${RESPONSE_HEAD}x: ${'y'.repeat(70_000)}\r\n\r\n`, { reason: 'protocol' }],
  ])('for %s', async (_name, bytes, expected) => {
    const server = await serve(
      tcp((socket) => {
        socket.once('data', () => (bytes === null ? socket.resetAndDestroy() : socket.end(bytes)))
      }),
    )
    const answered = await ask(server.baseUrl)
    expect(answered.observation).toMatchObject({ kind: 'unavailable', ...(expected as Record<string, unknown>) })
    expect(answered).toMatchObject({ httpStatus: null, requestId: null })
  })

  test('when nothing listens', async () => {
    const server = await tcp(() => {})
    await server.close()
    const observation = await observe(server.baseUrl)
    expect(observation).toMatchObject({ reason: 'connect', detail: 'no connection (ECONNREFUSED)' })
  })

  test('when the name does not exist', async () => {
    const upstream = anUpstream('http://nobody.invalid')
    const { answers } = await upstream.query([aTask()], new AbortController().signal)
    expect(answers[0]?.observation).toMatchObject({ kind: 'unavailable', reason: 'dns' })
    expect(JSON.stringify(answers)).not.toMatch(/nobody|canary/)
  })

  test('when the other side does not speak TLS', async () => {
    const server = await serve(answering((response) => json(response, FINISHED)))
    expect(await observe(server.baseUrl.replace('http:', 'https:'))).toMatchObject({ reason: 'tls' })
  })

  test.each<[string, (socket: Socket) => void]>([
    ['silence', () => {}],
    ['a head without a body', (socket) => socket.write(`${RESPONSE_HEAD}content-length: 100\r\n\r\n`)],
    [
      'a body that drips for ever',
      (socket) => {
        socket.write(`${RESPONSE_HEAD}transfer-encoding: chunked\r\n\r\n`)
        const drip = setInterval(() => socket.write('1\r\n \r\n'), 20)
        socket.once('close', () => clearInterval(drip))
      },
    ],
  ])('in time, for %s', async (_name, behave) => {
    const server = await serve(
      tcp((socket) => {
        socket.once('data', () => behave(socket))
      }),
    )
    const startedAt = performance.now()
    expect(await observe(server.baseUrl, { timeoutMs: 150 })).toMatchObject({
      reason: 'timeout',
      detail: 'no whole answer within 150 ms',
    })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })

  test('of a bearable size: it is cut off, with or without a declared length', async () => {
    const text = JSON.stringify({ data: 'x'.repeat(20_000) })
    for (const headers of [{ 'content-length': `${text.length}` }, { 'transfer-encoding': 'chunked' }]) {
      const server = await serve(answering((response) => json(response, text, 200, headers)))
      expect(await observe(server.baseUrl, { bytesMax: 10_000 })).toMatchObject({ reason: 'too_large' })
      expect(await observe(server.baseUrl, { bytesMax: text.length })).not.toMatchObject({ reason: 'too_large' })
    }
  })

  test('that is compressed against our wish', async () => {
    const server = await serve(
      answering((response) => json(response, '\u001f\u008b\u0008', 200, { 'content-encoding': 'gzip' })),
    )
    expect(await observe(server.baseUrl)).toMatchObject({ reason: 'not_json' })
  })
})

describe('what an answer quotes of our request', () => {
  test('is taken out before it is read', async () => {
    const server = await serve(
      answering((response, { url }) => json(response, { code: 'InvalidApi', message: `no ${url} with ${SECRET}` })),
    )
    const observation = await observe(server.baseUrl)
    expect(observation).toMatchObject({ kind: 'refused', code: 'InvalidApi' })
    expect(JSON.stringify(observation)).toContain('[redacted]')
  })
})

describe('a clock that the upstream finds wrong', () => {
  const upstreamAheadMs = 3_600_000

  function strictUpstream(date: string | null): Promise<Loopback> {
    return answering((response, { url }) => {
      const timestamp = Number(new URL(url, 'http://h.example').searchParams.get('timestamp'))
      response.sendDate = false
      const headers: Record<string, string> = date === null ? {} : { date }
      const isRight = Math.abs(timestamp - (NOW + upstreamAheadMs)) <= 1_000
      json(response, isRight ? FINISHED : { code: 'IllegalTimestamp', message: 'too old' }, 200, headers)
    })
  }

  test('is corrected from the Date header and asked again at once, and stays corrected', async () => {
    const server = await serve(strictUpstream(new Date(NOW + upstreamAheadMs).toUTCString()))
    const upstream = anUpstream(server.baseUrl)
    const { signal } = new AbortController()
    const first = await upstream.query([aTask()], signal)
    expect(first.queryCount).toBe(2)
    expect(first.answers[0]?.observation.kind).toBe('finished')
    const second = await upstream.query([aTask()], signal)
    expect(second.queryCount).toBe(1)
    expect(second.answers[0]?.observation.kind).toBe('finished')
    expect(server.asked).toHaveLength(3)
  })

  test('is asked again once, not for ever', async () => {
    const server = await serve(strictUpstream(new Date(NOW - upstreamAheadMs).toUTCString()))
    const { answers, queryCount } = await anUpstream(server.baseUrl).query([aTask()], new AbortController().signal)
    expect(queryCount).toBe(2)
    expect(answers[0]?.observation).toMatchObject({ kind: 'refused', isClockSkew: true })
  })

  test.each([null, 'yesterday'])('is not asked again when the Date header is %j', async (date) => {
    const server = await serve(strictUpstream(date))
    expect(await observe(server.baseUrl)).toMatchObject({ kind: 'refused', isClockSkew: true })
    expect(server.asked).toHaveLength(1)
  })
})

describe('giving up', () => {
  async function silent(): Promise<{ server: Loopback; connected: Promise<unknown> }> {
    let onAsked = (): void => {}
    const connected = new Promise<void>((resolve) => {
      onAsked = resolve
    })
    const server = await serve(tcp((socket) => socket.once('data', onAsked)))
    return { server, connected }
  }

  test('before asking sends nothing', async () => {
    const upstream = anUpstream('http://127.0.0.1:9')
    expect(await upstream.query([aTask()], AbortSignal.abort())).toEqual({ answers: [], queryCount: 0 })
  })

  test('while waiting answers for no task, at once', async () => {
    const { server, connected } = await silent()
    const controller = new AbortController()
    const asked = anUpstream(server.baseUrl).query([aTask()], controller.signal)
    await connected
    controller.abort()
    expect(await asked).toEqual({ answers: [], queryCount: 1 })
  })

  test('by closing does the same, and closes the connections', async () => {
    const { server, connected } = await silent()
    const upstream = anUpstream(server.baseUrl)
    const asked = upstream.query([aTask()], new AbortController().signal)
    await connected
    await upstream.close()
    expect(await asked).toEqual({ answers: [], queryCount: 1 })
    expect(await upstream.query([aTask()], new AbortController().signal)).toEqual({ answers: [], queryCount: 0 })
  })

  test('ends the request itself, not only the wait for it', async () => {
    let [onAsked, onClosed] = [(): void => {}, (): void => {}]
    const asked = new Promise<void>((resolve) => {
      onAsked = resolve
    })
    const closed = new Promise<void>((resolve) => {
      onClosed = resolve
    })
    const server = await serve(tcp((socket) => void socket.once('data', onAsked).once('close', onClosed)))
    const controller = new AbortController()
    const answered = anUpstream(server.baseUrl, { timeoutMs: 10_000 }).query([aTask()], controller.signal)
    await asked
    controller.abort()
    await answered
    const startedAt = performance.now()
    await closed
    // By its own limits the client would close it after ten seconds.
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })
})
