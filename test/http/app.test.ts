/** What holds for every route: who may call, how errors look, what is logged, what the document says. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { MINUTE } from '../../src/core/time.ts'
import { anApp, aTask, BEARER, NOW, problemOf, TOKEN } from './fakes.ts'

describe('who may call', () => {
  test.each([
    ['no header', {}],
    ['no token', { authorization: 'Bearer' }],
    ['a wrong token', { authorization: 'Bearer wrong' }],
    ['the beginning of the token', { authorization: `Bearer ${TOKEN.slice(0, -1)}` }],
    ['the token and more', { authorization: `Bearer ${TOKEN}x` }],
    ['the token twice', { authorization: `Bearer ${TOKEN} ${TOKEN}` }],
    ['the token in another case', { authorization: `Bearer ${TOKEN.toUpperCase()}` }],
    ['another scheme', { authorization: `Basic ${btoa(TOKEN)}` }],
    ['the bare token', { authorization: TOKEN }],
    ['a token of a megabyte', { authorization: `Bearer ${'x'.repeat(1_000_000)}` }],
  ])('%s is 401', async (_, headers) => {
    const { app } = anApp()
    for (const path of ['/v1/tasks', '/v1/deliveries', '/v1/events/evt_1', '/v1/nothing', '/v1']) {
      const response = await app.request(path, { headers })
      const problem = await problemOf(response, 401)
      expect(problem.detail).not.toContain(TOKEN.slice(0, 8))
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="ringback"')
    }
  })

  test.each(['Bearer', 'bearer', 'BEARER'])('the token passes as %s', async (scheme) => {
    const response = await anApp().app.request('/v1/tasks', { headers: { authorization: `${scheme} ${TOKEN}` } })
    expect(response.status).toBe(200)
  })

  test.each(['token', 'access_token', 'api_key', 'apiKey', 'authorization', 'key'])(
    'the token as ?%s= is refused, even beside the header',
    async (name) => {
      const response = await anApp().get(`/v1/tasks?${name}=${TOKEN}`)
      expect((await problemOf(response, 401)).detail).toContain('query')
    },
  )

  test.each(['/livez', '/readyz', '/openapi.json'])('%s needs no token', async (path) => {
    expect((await anApp().app.request(path)).status).toBe(200)
  })

  test('after twenty wrong tokens in a minute an address is told to wait; others and the right token pass', async () => {
    const { app, clock, log } = anApp()
    const from = (address: string) => ({ incoming: { socket: { remoteAddress: address } } })
    const call = (token: string, address = '203.0.113.1') =>
      app.request('/v1/tasks', { headers: { authorization: `Bearer ${token}` } }, from(address))
    for (let count = 1; count <= 20; count += 1) await problemOf(await call(`wrong${count}`), 401)
    clock.set(NOW + 20_000)
    const response = await call('wrong')
    expect((await problemOf(response, 429)).detail).toContain('203.0.113.1')
    expect(response.headers.get('retry-after')).toBe('40')
    await problemOf(await call('wrong'), 429)
    expect(log.lines.filter(({ event }) => event === 'http.wrong_tokens')).toHaveLength(1)
    await problemOf(await call('wrong', '203.0.113.2'), 401)
    expect((await call(TOKEN)).status).toBe(200)
    clock.set(NOW + MINUTE)
    await problemOf(await call('wrong'), 401)
  })

  test('a request without any token is not counted as a guess', async () => {
    const { app } = anApp()
    for (let count = 0; count < 30; count += 1) await problemOf(await app.request('/v1/tasks'), 401)
  })

  test('a clock that is set back leaves nobody waiting for more than a minute', async () => {
    const { app, clock } = anApp()
    const call = () => app.request('/v1/tasks', { headers: { authorization: 'Bearer wrong' } })
    for (let count = 0; count < 25; count += 1) await call()
    clock.set(NOW - 60 * MINUTE)
    await problemOf(await call(), 401)
  })
})

describe('what is not served', () => {
  test.each([
    '/',
    '/v1',
    '/v1/',
    '/v1/taks',
    '/v1/tasks/',
    '/v1/tasks/task_1/x/y',
    '/metricz',
    '/%00',
    '/v1/tasks/task_1/ask',
  ])('%s is 404', async (path) => {
    const problem = await problemOf(await anApp().get(path), 404)
    expect(problem.type).toBe('urn:ringback:problem:not_found')
  })

  test.each([
    ['DELETE', '/v1/tasks', 'POST, GET, HEAD'],
    ['PUT', '/v1/tasks/task_1', 'GET, HEAD'],
    ['OPTIONS', '/v1/tasks', 'POST, GET, HEAD'],
    ['GET', '/v1/tasks/task_1/cancel', 'POST'],
    ['HEAD', '/v1/tasks/task_1/cancel', 'POST'],
    ['PATCH', '/v1/deliveries/dlv_1/redeliver', 'POST'],
    ['POST', '/livez', 'GET, HEAD'],
    ['POST', '/openapi.json', 'GET, HEAD'],
  ])('%s %s is 405, and says what is possible', async (method, path, allow) => {
    const response = await anApp().app.request(path, { method, headers: BEARER })
    expect(response.headers.get('allow')).toBe(allow)
    if (method === 'HEAD') expect(response.status).toBe(405)
    else expect((await problemOf(response, 405)).detail).toContain(allow)
  })

  test('HEAD answers like GET, without a body', async () => {
    const { app } = anApp({ store: { getTask: async () => aTask() } })
    for (const path of ['/v1/tasks', '/v1/tasks/task_01', '/livez', '/openapi.json']) {
      const response = await app.request(path, { method: 'HEAD', headers: BEARER })
      expect([response.status, await response.text()]).toEqual([200, ''])
      expect(response.headers.get('content-type')).toBe('application/json')
    }
  })
})

describe('what fails', () => {
  const failingWith = (error: unknown) => anApp({ store: { listTasks: () => Promise.reject(error) } })
  const coded = (code: string) => Object.assign(new Error(`${code}: secret detail`), { code })

  test.each([
    [coded('SQLITE_FULL'), 507, '60'],
    [coded('ENOSPC'), 507, '60'],
    [new Error('query failed', { cause: coded('SQLITE_FULL') }), 507, '60'],
    [coded('SQLITE_BUSY'), 503, '1'],
    [coded('SQLITE_BUSY_SNAPSHOT'), 503, '1'],
    [coded('SQLITE_CORRUPT'), 500, null],
    [new TypeError('x is not a function'), 500, null],
    [new AppError('unavailable', 'stopping', { retryAfterMs: 2500 }), 503, '3'],
    [new AppError('disk_full', 'full'), 507, null],
    [new AppError('conflict', 'no'), 409, null],
  ])('%s', async (error, status, retryAfter) => {
    const response = await failingWith(error).get('/v1/tasks')
    const problem = await problemOf(response, status)
    expect(response.headers.get('retry-after')).toBe(retryAfter)
    expect(JSON.stringify(problem)).not.toMatch(/secret detail|not a function/)
  })

  test('the text of a failure stays in the log, under the request id that the caller got', async () => {
    const error = new TypeError('x is not a function')
    const { get, log } = failingWith(error)
    const { instance } = await problemOf(await get('/v1/tasks'), 500)
    expect(log.lines).toMatchObject([
      { level: 'error', event: 'http.answered', requestId: instance, status: 500, error },
    ])
  })

  test('an answer that cannot be written is a problem too', async () => {
    const { get } = anApp({ store: { getTask: async () => aTask({ metadata: '{' }) } })
    await problemOf(await get('/v1/tasks/task_01'), 500)
  })
})

describe('one request', () => {
  test('is logged in one line, without the query', async () => {
    const { get, log } = anApp()
    const response = await get('/v1/tasks?taskId=secret')
    expect(log.lines).toEqual([
      {
        level: 'debug',
        event: 'http.answered',
        message: '200 GET',
        method: 'GET',
        path: '/v1/tasks',
        status: 200,
        durationMs: 0,
        requestId: response.headers.get('x-request-id'),
      },
    ])
  })

  test('is logged with two hundred characters of its path and no more', async () => {
    const { get, log } = anApp()
    await get(`/v1/tasks/${'x'.repeat(5_000)}`)
    expect(String(log.lines[0]?.['path'])).toHaveLength(200)
  })

  test('keeps the id that the caller gave it', async () => {
    const response = await anApp().app.request('/v1/nothing', { headers: { ...BEARER, 'x-request-id': 'abc-1.2_3~' } })
    expect((await problemOf(response, 404)).instance).toBe('abc-1.2_3~')
  })

  test.each(['a b', 'x'.repeat(129), '<script>', 'é'])('gets another id than %s', async (id) => {
    const response = await anApp().app.request('/livez', { headers: { 'x-request-id': id } })
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('is never kept by a cache, and says nothing of the server', async () => {
    const { headers } = await anApp().get('/v1/tasks')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('server')).toBeNull()
  })
})

describe('health', () => {
  test('a live and ready daemon says so, with its version', async () => {
    const { app } = anApp()
    for (const path of ['/livez', '/readyz']) {
      expect(await (await app.request(path)).json()).toEqual({ status: 'ok', version: '1.2.3', warnings: [] })
    }
  })

  test('a daemon that is not says why, and it is no error in the log', async () => {
    const reasons = ['the disk is full', 'stopping']
    const health = { isLive: () => false, isReady: () => ({ ok: false, reasons }) }
    const { app, log } = anApp({ health })
    const ready = await problemOf(await app.request('/readyz'), 503)
    expect(ready.detail).toBe('the disk is full; stopping.')
    expect(ready.errors.map(({ message }) => message)).toEqual(reasons)
    await problemOf(await app.request('/livez'), 503)
    expect(log.lines.map(({ level }) => level)).toEqual(['debug', 'debug'])
  })
})

describe('the OpenAPI document', () => {
  interface Document {
    openapi: string
    paths: Record<string, Record<string, { responses: Record<string, unknown>; security?: unknown }>>
    webhooks: Record<string, unknown>
    components: { schemas: Record<string, unknown> }
  }
  const read = async () => (await (await anApp().app.request('/openapi.json')).json()) as Document

  test('tells of every route, every schema it refers to, and the webhooks', async () => {
    const document = await read()
    expect(document.openapi).toBe('3.1.0')
    const operations = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method} ${path}`),
    )
    expect(operations.sort()).toEqual([
      'delete /v1/endpoints/{id}',
      'get /livez',
      'get /readyz',
      'get /v1/deliveries',
      'get /v1/deliveries/{id}',
      'get /v1/endpoints',
      'get /v1/endpoints/{id}',
      'get /v1/events',
      'get /v1/events/{id}',
      'get /v1/jobs',
      'get /v1/jobs/{id}',
      'get /v1/tasks',
      'get /v1/tasks/{id}',
      'get /v1/tasks/{id}/timeline',
      'patch /v1/endpoints/{id}',
      'post /v1/deliveries/redeliver',
      'post /v1/deliveries/{id}/redeliver',
      'post /v1/endpoints',
      'post /v1/endpoints/{id}/pause',
      'post /v1/endpoints/{id}/recover',
      'post /v1/endpoints/{id}/resume',
      'post /v1/endpoints/{id}/rotate-secret',
      'post /v1/endpoints/{id}/test',
      'post /v1/jobs/{id}/cancel',
      'post /v1/tasks',
      'post /v1/tasks/bulk',
      'post /v1/tasks/{id}/cancel',
      'post /v1/tasks/{id}/poll',
      'post /v1/tasks/{id}/redeliver',
    ])
    expect(Object.keys(document.webhooks)).toEqual(['task.succeeded', 'task.failed', 'task.expired'])
    for (const [, name] of JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      expect(document.components.schemas).toHaveProperty(name!)
    }
  })

  test('says that health needs no token', async () => {
    const { paths } = await read()
    expect(paths['/livez']!['get']!.security).toEqual([])
    expect(paths['/v1/tasks']!['post']!.security).toBeUndefined()
  })
})

test('the store is not asked for what cannot be an id of ours', async () => {
  const asked = () => {
    throw new Error('asked')
  }
  const { get } = anApp({ store: { getTask: asked, getDelivery: asked } })
  for (const path of ['/v1/tasks/nonsense', '/v1/deliveries/nonsense']) await problemOf(await get(path), 404)
})

test('a pointer to a field that nobody knows names at most a hundred characters of it', async () => {
  const body = { taskId: 'a', callbackUrl: 'https://example.com', ['k'.repeat(10_000)]: 1 }
  const { errors } = await problemOf(await anApp().post('/v1/tasks', body), 422)
  expect(errors.map(({ pointer }) => pointer)).toEqual([`/${'k'.repeat(100)}`])
})

test('for all requests: never a 5xx, and always a problem when something is wrong', async () => {
  const path = fc.oneof(
    fc.constantFrom('/v1/tasks', '/v1/tasks/bulk', '/v1/tasks/task_1', '/v1/tasks/task_1/cancel', '/v1/deliveries'),
    fc.constantFrom('/v1/deliveries/dlv_1/redeliver', '/v1/events/evt_1', '/livez', '/readyz'),
    fc.webPath().map((text) => `/v1${text}`),
    fc.webPath().map((text) => `/${text}`),
  )
  const query = fc.oneof(
    fc.constant(''),
    fc.webQueryParameters().map((text) => `?${text}`),
    fc.constant('?limit=0&%ff'),
  )
  const body = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc.uint8Array({ maxLength: 64 }),
    fc.jsonValue().map((value) => JSON.stringify({ tasks: [value, { taskId: 'x', callbackUrl: value }] })),
    fc.jsonValue().map((value) => JSON.stringify({ taskId: value, metadata: value, unknown: value })),
  )
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS')
  const media = fc.oneof(fc.constant('application/json'), fc.stringMatching(/^[a-z/;= "-]{0,30}$/))
  const { app } = anApp()
  await fc.assert(
    fc.asyncProperty(method, path, query, body, media, async (method, path, query, body, media) => {
      const hasBody = method !== 'GET' && method !== 'HEAD'
      const response = await app.request(`${path}${query}`, {
        method,
        headers: { ...BEARER, 'content-type': media },
        ...(hasBody ? { body: body as string } : {}),
      })
      expect(response.status).toBeLessThan(500)
      if (response.status >= 400 && method !== 'HEAD') await problemOf(response, response.status)
      else if (method !== 'HEAD') expect(await response.json()).toBeTypeOf('object')
    }),
    { numRuns: 500 },
  )
})
