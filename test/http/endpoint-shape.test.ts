/** What may be set at an endpoint over HTTP, over the real store: each rule refused in words, and no value ever shown. */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { formatPrivateKey, formatSecret } from '../../src/core/signature.ts'
import { aDirectory, openAt } from '../support/store.ts'
import { anApp, BEARER, problemOf } from './fakes.ts'

interface Shown {
  readonly id: string
  readonly url: string | null
  readonly headerNames: readonly string[]
  readonly publicKeys: readonly string[]
  readonly asymmetric: boolean
  readonly secrets: readonly object[]
}

const URL = 'https://shop.example/hooks'

function aRealApp() {
  const store = openAt(join(aDirectory(), 'endpoints.db'))
  let keyCount = 0
  const newPrivateKey = () => {
    keyCount += 1
    return privateKeyOf(keyCount)
  }
  const parts = anApp({ store, newPrivateKey })
  const patch = (id: string, body: unknown) =>
    parts.app.request(`/v1/endpoints/${id}`, {
      method: 'PATCH',
      headers: { ...BEARER, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const make = async (body: object = {}) =>
    (await (await parts.post('/v1/endpoints', { url: URL, ...body })).json()) as Shown
  const changed = async (id: string, body: object) => (await (await patch(id, body)).json()) as Shown
  return { ...parts, patch, make, changed, store }
}

function privateKeyOf(byte: number): string {
  return formatPrivateKey(Buffer.alloc(32, byte))
}

test('all that can be set reads back, but for the values of headers', async () => {
  const { make, get } = aRealApp()
  const settings = { name: 'shop', eventTypes: ['task.succeeded', 'task.failed'], rate: 2.5, concurrency: 3 }
  const headers = { Authorization: 'Bearer canary', 'X-Shop': '7' }
  const made = await make({ ...settings, headers, asymmetric: true })
  expect(made).toMatchObject({ ...settings, headerNames: ['Authorization', 'X-Shop'], asymmetric: true })
  expect(made.publicKeys).toEqual([expect.stringMatching(/^whpk_[A-Za-z0-9+/]{43}=$/)])
  const shown = await (await get(`/v1/endpoints/${made.id}`)).text()
  expect(JSON.parse(shown)).toMatchObject({ ...settings, publicKeys: made.publicKeys })
  expect(`${JSON.stringify(made)} ${shown} ${await (await get('/v1/endpoints')).text()}`).not.toMatch(/canary|whsk_/)
})

test('nothing is set when nothing is said, and null takes away what was set', async () => {
  const { make, changed } = aRealApp()
  const none = { name: null, headerNames: [], eventTypes: null, rate: null, concurrency: null, asymmetric: false }
  const { id } = await make()
  expect(await make({ url: 'https://b.example/' })).toMatchObject({ ...none, publicKeys: [] })
  const set = { name: 'a', headers: { a: 'b' }, eventTypes: ['task.failed'], rate: 1, concurrency: 1 }
  expect(await changed(id, set)).toMatchObject({ headerNames: ['a'], rate: 1 })
  expect(await changed(id, {})).toMatchObject({ headerNames: ['a'], rate: 1 })
  const taken = { name: null, headers: null, eventTypes: null, rate: null, concurrency: null }
  expect(await changed(id, taken)).toMatchObject(none)
})

test('v1a is begun once, replaced with the secret, and ended', async () => {
  const { make, changed, post } = aRealApp()
  const { id } = await make()
  const begun = await changed(id, { asymmetric: true })
  expect(begun.publicKeys).toHaveLength(1)
  expect((await changed(id, { asymmetric: true })).publicKeys).toEqual(begun.publicKeys)
  const rotated = (await (await post(`/v1/endpoints/${id}/rotate-secret`, {})).json()) as Shown
  expect(rotated.publicKeys).toEqual([expect.not.stringMatching(begun.publicKeys[0]!), begun.publicKeys[0]])
  expect(JSON.stringify(rotated)).not.toContain('whsk_')
  expect(await changed(id, { asymmetric: false })).toMatchObject({ asymmetric: false, publicKeys: [] })
})

test('an endpoint without a URL is made by saying so, and stays without', async () => {
  const { make, patch, post, changed } = aRealApp()
  const pulling = await make({ url: null })
  const sentTo = await make()
  expect(pulling.url).toBeNull()
  expect((await make({ url: null })).id).not.toBe(pulling.id)
  expect(await changed(pulling.id, { url: null, name: 'nat' })).toMatchObject({ url: null, name: 'nat' })
  const turned = await problemOf(await patch(pulling.id, { url: 'https://b.example/' }), 422)
  expect(turned).toMatchObject({ errors: [{ pointer: '/url', code: 'fixed' }] })
  expect(await problemOf(await patch(sentTo.id, { url: null }), 422)).toMatchObject({ errors: [{ pointer: '/url' }] })
  expect(await problemOf(await post('/v1/endpoints', {}), 422)).toMatchObject({
    errors: [{ pointer: '/url', code: 'missing' }],
  })
})

const CANARY = 'Canary0001canary'

/** What is sent, where the fault is, and which. */
const REFUSED: readonly (readonly [string, object, string, string])[] = [
  ['a rate of 0', { rate: 0 }, '/rate', 'out_of_range'],
  ['a rate of -1', { rate: -1 }, '/rate', 'out_of_range'],
  ['a rate of 10⁹', { rate: 1e9 }, '/rate', 'out_of_range'],
  ['a rate a little above the most', { rate: 10_000.5 }, '/rate', 'out_of_range'],
  ['a rate that is next to nothing', { rate: 1e-300 }, '/rate', 'out_of_range'],
  ['a rate in words', { rate: '5/s' }, '/rate', 'invalid_type'],
  ['a concurrency of 0', { concurrency: 0 }, '/concurrency', 'out_of_range'],
  ['a concurrency of 1001', { concurrency: 1001 }, '/concurrency', 'out_of_range'],
  ['half an attempt at once', { concurrency: 1.5 }, '/concurrency', 'invalid_type'],
  ['a type that there is not', { eventTypes: ['task.succeeded', 'task.done'] }, '/eventTypes/1', 'invalid_value'],
  ['no types', { eventTypes: [] }, '/eventTypes', 'out_of_range'],
  ['a type that is no list', { eventTypes: 'task.failed' }, '/eventTypes', 'invalid_type'],
  ['a secret of 23 bytes', { secret: formatSecret(Buffer.alloc(23)) }, '/secret', 'invalid_secret'],
  ['a secret of 65 bytes', { secret: formatSecret(Buffer.alloc(65)) }, '/secret', 'invalid_secret'],
  ['a private key as secret', { secret: privateKeyOf(1) }, '/secret', 'invalid_secret'],
  ['asymmetric in words', { asymmetric: 'yes' }, '/asymmetric', 'invalid_type'],
  ['a header with a line break', { headers: { 'x-a': `${CANARY}\r\nx-b: c` } }, '/headers/x-a', 'invalid_header_value'],
  ['a header with a NUL', { headers: { 'x-a': `${CANARY}\0` } }, '/headers/x-a', 'invalid_header_value'],
  ['a reserved header', { headers: { 'Webhook-Id': CANARY } }, '/headers/Webhook-Id', 'reserved_header'],
  ['a header of the connection', { headers: { connection: CANARY } }, '/headers/connection', 'reserved_header'],
  ['a name with a line break', { headers: { 'a\nb': CANARY } }, '/headers/a\nb', 'invalid_header_name'],
  ['a name with a slash', { headers: { 'a/~b': CANARY } }, '/headers/a~1~0b', 'invalid_header_name'],
  ['a header that is a number', { headers: { 'x-a': 7 } }, '/headers/x-a', 'invalid_type'],
  ['a header that is an object', { headers: { 'x-a': { CANARY } } }, '/headers/x-a', 'invalid_type'],
  ['the same header twice', { headers: { a: CANARY, A: CANARY } }, '/headers/A', 'duplicate'],
  ['headers as text', { headers: `authorization: ${CANARY}` }, '/headers', 'invalid_type'],
  ['headers as a list', { headers: [['authorization', CANARY]] }, '/headers', 'invalid_type'],
  ['5 KiB of headers', { headers: { 'x-a': CANARY.repeat(320) } }, '/headers', 'too_large'],
  [
    '21 headers',
    { headers: Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`x-${index}`, CANARY])) },
    '/headers',
    'too_many',
  ],
  ['an unknown field', { colour: CANARY }, '/colour', 'unknown_field'],
]

test.each(REFUSED)(
  '%s is 422 at its place, at POST and at PATCH, and changes nothing',
  async (_what, body, pointer, code) => {
    const { post, patch, make, get } = aRealApp()
    const { id } = await make()
    const before = await (await get('/v1/endpoints')).text()
    const asked = [await post('/v1/endpoints', { url: 'https://b.example/', ...body })]
    if ('secret' in body) asked.push(await post(`/v1/endpoints/${id}/rotate-secret`, body))
    else asked.push(await patch(id, body))
    for (const response of asked) {
      const problem = await problemOf(response, 422)
      expect(problem.errors).toMatchObject([{ pointer, code }])
      expect(JSON.stringify(problem)).not.toContain(CANARY)
      expect(JSON.stringify(problem)).not.toMatch(/whs[ek]c?_[A-Za-z0-9+/]{20}/)
    }
    expect(await (await get('/v1/endpoints')).text()).toBe(before)
  },
)

test('all that is wrong is told at once', async () => {
  const { post } = aRealApp()
  const body = { url: URL, headers: { host: 'a', 'x-a': '\n' }, secret: 'whsec_short' }
  const { errors } = await problemOf(await post('/v1/endpoints', body), 422)
  expect(errors.map(({ pointer }) => pointer).sort()).toEqual(['/headers/host', '/headers/x-a', '/secret'])
})
