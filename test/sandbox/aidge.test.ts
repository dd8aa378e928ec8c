/** The fake Aidge as a client meets it: over HTTP, signed, with every way in which an answer can go wrong. */

import { request as tlsRequest } from 'node:https'
import { afterEach, describe, expect, test } from 'vitest'
import { type AidgeSandbox, type AidgeSandboxOptions, startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { makeCertificate } from './certificate.ts'
import { answer, ask, call, type Json, QUERY_PATH, signedUrl } from './signed-call.ts'

const open: AidgeSandbox[] = []

async function start(options: AidgeSandboxOptions = {}): Promise<AidgeSandbox> {
  const sandbox = await startAidgeSandbox(options)
  open.push(sandbox)
  return sandbox
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((sandbox) => sandbox.close()))
})

/** A clock that stands until it is moved. */
function standingClock(at: number) {
  const clock = { at, now: () => clock.at }
  return clock
}

describe('the signature', () => {
  // Key, secret and signature were computed apart from this program, with three different tools.
  const AT = 1_735_689_600_000
  const CREDENTIALS = { accessKeyName: '500123', accessKeySecret: 'Tq7mZ2xV9bLs4KdW8eRy1NhJ6uPc3GfA' }
  const SIGNED = {
    partner_id: 'aidge',
    sign_method: 'sha256',
    sign_ver: 'v2',
    app_key: '500123',
    timestamp: String(AT),
    sign: '16C680BCD49E7542C30F7AAC386DC1DC30B4281EAD258940F94B2B21AD57B131',
  }

  async function askWith(changes: Readonly<Record<string, string | null>>, now = AT): Promise<Json> {
    const sandbox = await start({ credentials: CREDENTIALS, now: () => now })
    const parameters = Object.entries({ ...SIGNED, ...changes, taskId: 'ok-1' }).filter((entry) => entry[1] !== null)
    const query = new URLSearchParams(parameters as [string, string][])
    return (await fetch(`${sandbox.url}/rest${QUERY_PATH}?${query}`)).json()
  }

  test('the known example is let through', async () => {
    expect(await askWith({})).toMatchObject({ code: '0', data: { taskId: 'ok-1', taskStatus: 'finished' } })
  })

  test.each([
    ['IncompleteSignature', { sign: SIGNED.sign.replace('1', '2') }],
    ['IncompleteSignature', { sign: SIGNED.sign.toLowerCase() }],
    ['IncompleteSignature', { sign: SIGNED.sign.slice(1) }],
    ['IncompleteSignature', { timestamp: String(AT + 1) }],
    ['IncompleteSignature', { sign_ver: 'v1' }],
    ['IncompleteSignature', { sign_method: 'md5' }],
    ['InvalidAppKey', { app_key: '500124' }],
    ['MissingParameter', { sign: null }],
    ['MissingParameter', { timestamp: null }],
    ['MissingParameter', { partner_id: null }],
    ['InvalidParameter', { partner_id: 'another' }],
    ['IllegalTimestamp', { timestamp: String(AT / 1000) }],
    ['IllegalTimestamp', { timestamp: 'now' }],
  ])('%s: %j', async (code, changes) => {
    const refused = await askWith(changes)
    expect(refused).toMatchObject({ type: 'ISV', code, request_id: expect.any(String), message: expect.any(String) })
    expect(refused).not.toHaveProperty('data')
  })

  test('a timestamp is good for fifteen minutes, before and after', async () => {
    const tolerance = 15 * 60_000
    expect(await askWith({}, AT + tolerance)).toMatchObject({ code: '0' })
    expect(await askWith({}, AT - tolerance)).toMatchObject({ code: '0' })
    expect(await askWith({}, AT + tolerance + 1)).toMatchObject({ code: 'IllegalTimestamp' })
    expect(await askWith({}, AT - tolerance - 1)).toMatchObject({ code: 'IllegalTimestamp' })
  })

  test('every answer, a refusal too, carries the date by which timestamps are judged', async () => {
    const sandbox = await start({ credentials: CREDENTIALS, now: () => AT })
    const response = await fetch(`${sandbox.url}/rest${QUERY_PATH}`)
    expect(response.status).toBe(200)
    expect(response.headers.get('date')).toBe('Wed, 01 Jan 2025 00:00:00 GMT')
  })
})

test('unknown paths, and paths without /rest, are invalid api paths, and no query', async () => {
  const sandbox = await start()
  expect(await answer(sandbox, { path: '/ai/nothing', body: {} })).toMatchObject({ code: 'InvalidApiPath' })
  const url = signedUrl(sandbox, QUERY_PATH).replace('/rest/', '/')
  expect(await (await fetch(url)).json()).toMatchObject({ code: 'InvalidApiPath' })
  expect(sandbox.stats()).toMatchObject({ refusedCount: 2, queryCount: 0 })
})

test('the trial header is taken as it comes', async () => {
  const sandbox = await start()
  expect(await ask(sandbox, 'ok-1', { headers: { 'x-iop-trial': 'true' } })).toMatchObject({ code: '0' })
})

describe('the life of a task', () => {
  test('an id made up elsewhere is submitted when first asked about, and finishes by the default life', async () => {
    const clock = standingClock(Date.now())
    const sandbox = await start({ now: clock.now, life: 'ok-4s' })
    const statusAt = async (ageMs: number) => {
      clock.at += ageMs
      return (await ask(sandbox, 'made-up-elsewhere', { at: clock.at })).data.taskStatus
    }
    expect([await statusAt(0), await statusAt(2000), await statusAt(1999)]).toEqual(['submitted', 'running', 'running'])
    expect(await statusAt(1)).toBe('finished')
  })

  test('a submitted task ages from its submission', async () => {
    const clock = standingClock(Date.now())
    const sandbox = await start({ now: clock.now, life: 'ok-4s' })
    const submitted = await answer(sandbox, { path: '/ai/virtual/model/generation/batch', body: {}, at: clock.at })
    clock.at += 4000
    const finished = await ask(sandbox, submitted.data.taskId, { at: clock.at })
    expect(finished.data.taskStatus).toBe('finished')
    expect(sandbox.stats()).toMatchObject({ submitCount: 1, queryCount: 1 })
  })

  test('a finished task tells the same results at every query', async () => {
    const clock = standingClock(Date.now())
    const sandbox = await start({ now: clock.now })
    const first = await ask(sandbox, 'ok-1', { at: clock.at })
    clock.at += 60_000
    const second = await ask(sandbox, 'ok-1', { at: clock.at })
    expect(second.data).toEqual(first.data)
    expect(second.requestId).not.toBe(first.requestId)
  })

  test('a failed task says so with a message', async () => {
    const failed = await ask(await start(), 'fail-1')
    expect(failed).toMatchObject({ success: true, resCode: 200, data: { taskStatus: 'failed', taskId: 'fail-1' } })
    expect(failed.data.taskMessage).toEqual(expect.any(String))
  })

  test('a partial task is finished, and one of its results has failed', async () => {
    const { data } = await ask(await start(), 'partial-1')
    expect(data.taskStatus).toBe('finished')
    expect(data.taskResult).toMatchObject([{ url: expect.any(String) }, { taskStatus: 'failed' }])
  })

  test('the odd ends: no results, a word that nobody knows, running for ever, a large answer', async () => {
    const sandbox = await start()
    expect((await ask(sandbox, 'nourls-1')).data).toEqual({
      taskResult: [],
      taskStatus: 'finished',
      taskId: 'nourls-1',
    })
    expect((await ask(sandbox, 'word-meditating-1')).data.taskStatus).toBe('meditating')
    expect((await ask(sandbox, 'never-1')).data.taskStatus).toBe('running')
    const huge = await call(sandbox, { path: QUERY_PATH, body: { taskId: 'huge-1mib-1' } })
    expect((await huge.text()).length).toBeGreaterThan(1024 * 1024)
  })

  test.each([500, 501, 700, 703, 704, 705, 801, 900, 1000, 1001, 1002])('service code %i', async (code) => {
    const refused = await ask(await start(), `code-${code}-1`)
    expect(refused).toMatchObject({ success: false, resCode: code, code: '0', resMessage: expect.any(String) })
  })

  test('a passing service code goes away after so many answers about this task', async () => {
    const sandbox = await start()
    const codes: unknown[] = []
    for (let count = 0; count < 3; count += 1) codes.push((await ask(sandbox, 'code-801x2-ok-1')).resCode)
    expect(codes).toEqual([801, 801, 200])
    expect((await ask(sandbox, 'code-801x2-ok-2')).resCode).toBe(801)
  })

  test.each([
    ['NoResource', 'ISV', /have been exhausted/],
    ['ServiceTimeout', 'ISP', /./],
    ['ServiceUnavailable', 'SYSTEM', /./],
    ['NeverHeardOf', 'ISV', /./],
  ])('gateway error %s of type %s', async (code, type, message) => {
    const refused = await ask(await start(), `gateway-${code}-1`)
    expect(refused).toMatchObject({ code, type, message: expect.stringMatching(message) })
  })

  test('a call limit says for how long it bans', async () => {
    const refused = await ask(await start(), 'gateway-ApiCallLimit-7s-1')
    expect(refused.message).toMatch(/this ban will last 7 seconds/)
  })

  test.each([401, 403, 404, 429, 500, 503, 302])('HTTP status %i, without JSON', async (status) => {
    const response = await call(await start(), { path: QUERY_PATH, body: { taskId: `http-${status}-9s-1` } })
    expect(response.status).toBe(status)
    expect(response.headers.get('retry-after')).toBe(status === 429 ? '9' : null)
    expect(response.headers.get('location')).toBe(status === 302 ? '/elsewhere' : null)
    expect(await response.text()).toMatch(/^<html>/)
  })

  test.each(['garbage', 'html', 'truncated', 'empty'])('%s is HTTP 200 and not JSON', async (life) => {
    const response = await call(await start(), { path: QUERY_PATH, body: { taskId: `${life}-1` } })
    expect(response.status).toBe(200)
    const text = await response.text()
    expect(text === '').toBe(life === 'empty')
    expect(() => JSON.parse(text)).toThrow(SyntaxError)
  })

  test('an answer without data, and one about another task', async () => {
    const sandbox = await start()
    expect(await ask(sandbox, 'nodata-1')).toMatchObject({ success: true, data: null })
    expect((await ask(sandbox, 'foreign-1')).data).toMatchObject({ taskStatus: 'finished', taskId: 'foreign-1-other' })
  })

  test('a reset connection gives no answer, and the next query goes on', async () => {
    const sandbox = await start()
    await expect(ask(sandbox, 'resetx1-ok-1')).rejects.toMatchObject({ cause: { code: 'ECONNRESET' } })
    expect((await ask(sandbox, 'resetx1-ok-1')).data.taskStatus).toBe('finished')
  })

  test('a stalled answer begins and does not end; an endless one does not stop', async () => {
    const sandbox = await start()
    const leave = new AbortController()
    const stalled = await call(sandbox, { path: QUERY_PATH, body: { taskId: 'stall-1' }, signal: leave.signal })
    expect(Buffer.from((await stalled.body!.getReader().read()).value!).toString()).toBe('{"data":')
    const endless = await call(sandbox, { path: QUERY_PATH, body: { taskId: 'endless-1' }, signal: leave.signal })
    const reader = endless.body!.getReader()
    let byteCount = 0
    while (byteCount < 4 * 1024 * 1024) byteCount += (await reader.read()).value!.length
    leave.abort()
  })

  test('a hanging query is not answered while others are, and close lets it go', async () => {
    const sandbox = await start()
    let isSettled = false
    const hanging = ask(sandbox, 'hang-1').finally(() => {
      isSettled = true
    })
    hanging.catch(() => {})
    while (!sandbox.stats().queriesByTask.has('hang-1')) await ask(sandbox, 'ok-1')
    for (let count = 0; count < 20; count += 1) await ask(sandbox, 'ok-1')
    expect(isSettled).toBe(false)
    await sandbox.close()
    await expect(hanging).rejects.toThrow()
  })

  test('a slow task answers late, and late is counted from its arrival', async () => {
    const sandbox = await start()
    const before = performance.now()
    expect((await ask(sandbox, 'slow-150ms-ok-1')).data.taskStatus).toBe('finished')
    expect(performance.now() - before).toBeGreaterThanOrEqual(149)
  })

  test('lives can be given and changed by hand, and a life that is none is refused', async () => {
    const sandbox = await start({ life: 'never' })
    sandbox.setLife('plain-1', 'code-1000')
    expect((await ask(sandbox, 'plain-1')).resCode).toBe(1000)
    sandbox.setLife('plain-1', 'ok')
    expect((await ask(sandbox, 'plain-1')).data.taskStatus).toBe('finished')
    sandbox.setDefaultLife('fail')
    expect((await ask(sandbox, 'plain-2')).data.taskStatus).toBe('failed')
    expect(() => sandbox.setDefaultLife('quick')).toThrow(RangeError)
    await expect(startAidgeSandbox({ life: 'quick' })).rejects.toThrow(RangeError)
  })
})

describe('what ails the whole server', () => {
  test('above so many queries in a second it answers 501, and only queries that it admits count', async () => {
    const clock = standingClock(Date.now())
    const sandbox = await start({ now: clock.now, faults: { queriesPerSecondMax: 2 } })
    const codeAfter = async (passMs: number) => {
      clock.at += passMs
      return (await ask(sandbox, 'ok-1', { at: clock.at })).resCode
    }
    expect([await codeAfter(0), await codeAfter(500), await codeAfter(499)]).toEqual([200, 200, 501])
    expect([await codeAfter(1), await codeAfter(0)]).toEqual([200, 501])
    expect(sandbox.stats().throttledCount).toBe(2)
  })

  test('a seed decides which share of the queries fails, with both faces of a server error', async () => {
    const facesOf = async (seed: number) => {
      const sandbox = await start({ seed, faults: { serverErrorRatio: 0.4 } })
      const faces: string[] = []
      for (let count = 0; count < 100; count += 1) {
        const response = await call(sandbox, { path: QUERY_PATH, body: { taskId: 'ok-1' } })
        faces.push(response.status === 200 ? String(((await response.json()) as Json).resCode) : 'http')
      }
      return faces
    }
    const faces = await facesOf(7)
    expect(await facesOf(7)).toEqual(faces)
    const failedCount = faces.filter((face) => face !== '200').length
    expect(failedCount).toBeGreaterThan(25)
    expect(failedCount).toBeLessThan(55)
    expect(new Set(faces)).toEqual(new Set(['200', '500', 'http']))
  })

  test('an outage hides every life and uses up no answer of a script', async () => {
    const sandbox = await start()
    sandbox.setFaults({ everyQuery: { kind: 'http', status: 503, retryAfterSeconds: 1 } })
    const during = await call(sandbox, { path: QUERY_PATH, body: { taskId: 'code-801x1-ok-1' } })
    expect(during.status).toBe(503)
    await during.text()
    sandbox.setFaults({ everyQuery: null })
    expect((await ask(sandbox, 'code-801x1-ok-1')).resCode).toBe(801)
    expect((await ask(sandbox, 'code-801x1-ok-1')).resCode).toBe(200)
  })
})

describe('what the sandbox remembers', () => {
  test('queries are counted by task and kept with their times', async () => {
    const clock = standingClock(1_800_000_000_000)
    const sandbox = await start({ now: clock.now })
    await ask(sandbox, 'ok-1', { at: clock.at })
    clock.at += 250
    await ask(sandbox, 'ok-2', { at: clock.at })
    await ask(sandbox, 'ok-1', { at: clock.at })
    const { queriesByTask, queries, queryCount } = sandbox.stats()
    expect(queryCount).toBe(3)
    expect([...queriesByTask]).toEqual([
      ['ok-1', 2],
      ['ok-2', 1],
    ])
    expect(queries.map(({ taskId, at }) => [taskId, at - 1_800_000_000_000])).toEqual([
      ['ok-1', 0],
      ['ok-2', 250],
      ['ok-1', 250],
    ])
  })

  test('two open queries about one task are seen, and two about two tasks are not held against anyone', async () => {
    const sandbox = await start()
    await Promise.all([ask(sandbox, 'slow-50ms-ok-1'), ask(sandbox, 'slow-50ms-ok-2')])
    expect(sandbox.stats()).toMatchObject({ maxConcurrentQueriesPerTask: 1, maxConcurrentQueries: 2 })
    await Promise.all([ask(sandbox, 'slow-50ms-ok-3'), ask(sandbox, 'slow-50ms-ok-3')])
    expect(sandbox.stats().maxConcurrentQueriesPerTask).toBe(2)
  })

  test('a thousand queries one after the other are never two at once', async () => {
    const sandbox = await start()
    for (let count = 0; count < 1000; count += 1) await ask(sandbox, 'ok-1')
    expect(sandbox.stats().maxConcurrentQueriesPerTask).toBe(1)
  })

  test('its history has an end', async () => {
    const sandbox = await start({ historyMax: 10 })
    for (let count = 0; count < 25; count += 1) await ask(sandbox, `ok-${count}`)
    expect(sandbox.stats().queryCount).toBe(25)
    expect(sandbox.stats().queries.length).toBeLessThanOrEqual(10)
    expect(sandbox.stats().queries.at(-1)?.taskId).toBe('ok-24')
  })

  test('a hook hears of every call before it is answered', async () => {
    const heard: string[] = []
    const sandbox = await start({ onRequest: ({ method, path, body }) => heard.push(`${method} ${path} ${body}`) })
    await ask(sandbox, 'ok-1')
    expect(heard).toEqual([`POST /rest${QUERY_PATH} {"taskId":"ok-1"}`])
  })
})

test('it speaks TLS when it is given a certificate, and its results are https then', async () => {
  const tls = makeCertificate()
  const sandbox = await start({ tls })
  expect(sandbox.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
  const text = await new Promise<string>((resolve, reject) => {
    const url = `${signedUrl(sandbox, QUERY_PATH)}&taskId=ok-1`
    const request = tlsRequest(url, { ca: tls.cert }, (response) => {
      response.setEncoding('utf8')
      let body = ''
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.once('end', () => resolve(body))
    })
    request.once('error', reject)
    request.end()
  })
  expect(JSON.parse(text).data.taskResult[0].url.startsWith(`${sandbox.url}/`)).toBe(true)
})
