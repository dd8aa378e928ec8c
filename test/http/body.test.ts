/** Reading bodies: everything that is not plain, small, UTF-8 JSON is refused, and as early as possible. */

import { describe, expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { BULK_BYTES_MAX, readJson, SINGLE_BYTES_MAX } from '../../src/http/body.ts'
import { anApp, BEARER, problemOf } from './fakes.ts'

const GOOD = '{"taskId":"a","callbackUrl":"https://example.com"}'

describe('media', () => {
  test.each([
    ['application/json'],
    ['application/json; charset=utf-8'],
    ['Application/JSON;charset="UTF-8"'],
    ['application/json; charset=utf8; v=1'],
  ])('%s is read', async (contentType) => {
    expect((await anApp().post('/v1/tasks', GOOD, { 'content-type': contentType })).status).toBe(201)
  })

  test.each([
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['application/jsonp'],
    ['application/json; charset=utf-16'],
    ['application/json;charset=latin1'],
  ])('%s is 415', async (contentType) => {
    const problem = await problemOf(await anApp().post('/v1/tasks', GOOD, { 'content-type': contentType }), 415)
    expect(problem.detail).toMatch(/application\/json|UTF-8/)
  })

  test('no content-type is 415', async () => {
    const body = new TextEncoder().encode(GOOD)
    const response = await anApp().app.request('/v1/tasks', { method: 'POST', headers: BEARER, body })
    expect((await problemOf(response, 415)).detail).toContain('missing')
  })

  test('where a body may be left out, one without a content-type is 415 and not taken for none', async () => {
    const { app } = anApp()
    const send = (body: Uint8Array<ArrayBuffer> | null) =>
      app.request('/v1/endpoints/ep_1/test', { method: 'POST', headers: BEARER, body })
    await problemOf(await send(new TextEncoder().encode('{"type":"task.failed"}')), 415)
    expect((await send(null)).status).not.toBe(415)
  })

  test.each(['gzip', 'br', 'gzip, identity'])('content-encoding %s is 415', async (encoding) => {
    await problemOf(await anApp().post('/v1/tasks', GOOD, { 'content-encoding': encoding }), 415)
  })
})

describe('text', () => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
  test.each([
    ['nothing', '', /empty/],
    ['spaces', '  ', /not JSON/],
    ['half an object', '{', /not JSON/],
    ['a word', 'taskId=1', /not JSON/],
    ['two values', '{}{}', /not JSON/],
    ['a trailing comma', '{"a":1,}', /not JSON/],
    ['a byte order mark', `\ufeff${GOOD}`, /byte order mark/],
    ['65 levels', nested(65), /nested deeper than 64/],
    ['a hundred thousand levels', '['.repeat(100_000), /nested deeper/],
    ['bytes that are not UTF-8', new Uint8Array([0x22, 0xff, 0x22]), /not valid UTF-8/],
    ['half a surrogate pair in bytes', new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), /not valid UTF-8/],
    ['a NUL', '\0', /not JSON.*\\u0000/],
  ])('%s is 400', async (_, body, said) => {
    expect((await problemOf(await anApp().post('/v1/tasks', body), 400)).detail).toMatch(said)
  })

  test.each([
    ['a number', '1'],
    ['null', 'null'],
    ['a list', '[]'],
    ['64 levels', nested(64)],
  ])('%s is JSON, but no task: 422', async (_, body) => {
    const { errors } = await problemOf(await anApp().post('/v1/tasks', body), 422)
    expect(errors).toMatchObject([{ pointer: '', code: 'invalid_type' }])
  })

  test('brackets inside of text do not count as nesting', async () => {
    const text = JSON.stringify({ taskId: 'a', callbackUrl: 'https://x', metadata: { a: '[{"\\'.repeat(100) } })
    expect((await anApp().post('/v1/tasks', text)).status).toBe(201)
  })

  test('of the same name twice the last one counts', async () => {
    const response = await anApp().post('/v1/tasks', '{"taskId":"a","taskId":"b","callbackUrl":"https://x"}')
    expect(await response.json()).toMatchObject({ taskId: 'b' })
  })
})

describe('size', () => {
  const sized = (byteCount: number) => GOOD.padEnd(byteCount, ' ')
  /** A body that says nothing of its length, and counts how much of it was taken. */
  const streamed = (byteCount: number) => {
    let taken = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (taken >= byteCount) return controller.close()
        taken += 64 * 1024
        controller.enqueue(new Uint8Array(64 * 1024).fill(0x20))
      },
    })
    return { body, takenBytes: () => taken }
  }

  test('256 KiB for one task is read, one byte more is 413', async () => {
    expect((await anApp().post('/v1/tasks', sized(SINGLE_BYTES_MAX))).status).toBe(201)
    const problem = await problemOf(await anApp().post('/v1/tasks', sized(SINGLE_BYTES_MAX + 1)), 413)
    expect(problem.detail).toContain('256 KiB')
  })

  test('a declared length that is too large is refused without reading', async () => {
    const { body, takenBytes } = streamed(SINGLE_BYTES_MAX * 4)
    const response = await anApp().app.request('/v1/tasks', {
      method: 'POST',
      headers: { ...BEARER, 'content-type': 'application/json', 'content-length': String(SINGLE_BYTES_MAX * 4) },
      body,
      duplex: 'half',
    } as RequestInit)
    await problemOf(response, 413)
    expect(takenBytes()).toBeLessThanOrEqual(64 * 1024)
  })

  test('a body without a length is read up to the limit and no further', async () => {
    const { body, takenBytes } = streamed(1024 * 1024 * 1024)
    const response = await anApp().app.request('/v1/tasks', {
      method: 'POST',
      headers: { ...BEARER, 'content-type': 'application/json' },
      body,
      duplex: 'half',
    } as RequestInit)
    await problemOf(response, 413)
    expect(takenBytes()).toBeLessThan(SINGLE_BYTES_MAX * 2)
  })

  test('a bulk call may be 8 MiB', async () => {
    const text = `{"tasks":[${GOOD}]}`
    expect((await anApp().post('/v1/tasks/bulk', text.padEnd(BULK_BYTES_MAX, ' '))).status).toBe(200)
    const response = await anApp().post('/v1/tasks/bulk', text.padEnd(BULK_BYTES_MAX + 1, ' '))
    expect((await problemOf(response, 413)).detail).toContain('8192 KiB')
  })

  test('a body that breaks off is 400, not an error of ours', async () => {
    const body = new ReadableStream({ pull: (controller) => controller.error(new Error('reset')) })
    const response = await anApp().app.request('/v1/tasks', {
      method: 'POST',
      headers: { ...BEARER, 'content-type': 'application/json' },
      body,
      duplex: 'half',
    } as RequestInit)
    expect((await problemOf(response, 400)).detail).toContain('ended before')
  })
})

describe('room in memory', () => {
  const MIB = 1024 * 1024

  async function heldFor(body: Uint8Array, headers: Record<string, string>): Promise<readonly number[]> {
    const held: number[] = []
    const chunks = Array.from({ length: Math.ceil(body.length / 65_536) }, (_, index) =>
      body.subarray(index * 65_536, (index + 1) * 65_536),
    )
    const stream = ReadableStream.from(chunks)
    const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: stream }
    const request = new Request('http://x/', { ...init, duplex: 'half' } as RequestInit)
    await readJson(request, BULK_BYTES_MAX, (byteCount) => void held.push(byteCount))
    return held
  }

  const aBody = (byteCount: number) => new TextEncoder().encode(`"${'x'.repeat(byteCount - 2)}"`)

  test('is taken for the whole of a small body that says its length, and for a large one only as it comes', async () => {
    expect(await heldFor(aBody(1_000), { 'content-length': '1000' })).toEqual([1_000])
    const whole = await heldFor(aBody(MIB), { 'content-length': String(MIB) })
    expect(Math.max(...whole)).toBeLessThanOrEqual(65_536)
    expect(whole.reduce((sum, byteCount) => sum + byteCount, 0)).toBe(MIB)
    expect((await heldFor(aBody(200_000), {})).reduce((sum, byteCount) => sum + byteCount, 0)).toBe(200_000)
  })

  test('is not taken for more than was allowed, whatever length was said', async () => {
    const headers = { 'content-type': 'application/json', 'content-length': '5' }
    const request = new Request('http://x/', { method: 'POST', headers, body: aBody(1_000) })
    await expect(readJson(request, 100, () => {})).rejects.toMatchObject({ code: 'too_large' })
  })

  test('where there is none left, the sender is told to stop', async () => {
    let reason: unknown = 'still sending'
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(aBody(1_000)),
      cancel: () => {
        reason = 'canceled'
      },
    })
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body, duplex: 'half' }
    const full = () => {
      throw new AppError('throttled', 'full')
    }
    const reading = readJson(new Request('http://x/', init as RequestInit), BULK_BYTES_MAX, full)
    await expect(reading).rejects.toMatchObject({ code: 'throttled' })
    expect(reason).toBe('canceled')
  })

  test('what the parser says of a body is made printable', async () => {
    const headers = { 'content-type': 'application/json' }
    const request = new Request('http://x/', { method: 'POST', headers, body: '\u202e\u202e' })
    const error = await readJson(request, 100, () => {}).catch((thrown: unknown) => thrown)
    expect((error as AppError).message).toMatch(/^The body is not JSON: [\x20-\x7e]*$/)
  })
})
