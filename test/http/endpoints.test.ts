/** Endpoints over HTTP, over the real store. */

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { formatSecret, parseSecret } from '../../src/core/signature.ts'
import { aDirectory, openAt } from '../support/store.ts'
import { anApp, BEARER, problemOf } from './fakes.ts'

interface Shown {
  readonly id: string
  readonly secret: string
  readonly secrets: readonly { createdAt: string; expiresAt: string | null }[]
}

const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='
const OTHER_SECRET = formatSecret(Buffer.alloc(24, 1))

function aRealApp() {
  const store = openAt(join(aDirectory(), 'endpoints.db'))
  const woken: string[] = []
  const parts = anApp({
    store,
    wakeDispatcher: () => void woken.push('dispatcher'),
    guardUrl: (text) =>
      text.startsWith('https:')
        ? { isAllowed: true, url: new URL(text).href }
        : { isAllowed: false, code: 'insecure_scheme', message: 'must be https' },
  })
  const patch = (path: string, body: unknown) =>
    parts.app.request(path, {
      method: 'PATCH',
      headers: { ...BEARER, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const make = async (body: object = {}) =>
    (await (await parts.post('/v1/endpoints', { url: 'https://shop.example/hooks', ...body })).json()) as {
      id: string
      secret: string
    }
  return { ...parts, patch, make, woken, store }
}

test('a new endpoint is 201 with its secret, which is shown this once', async () => {
  const { post, get } = aRealApp()
  const response = await post('/v1/endpoints', { url: 'https://shop.example/hooks', name: 'shop' })
  const endpoint = (await response.json()) as Shown
  expect(response.status).toBe(201)
  expect(response.headers.get('location')).toBe(`/v1/endpoints/${endpoint.id}`)
  expect(endpoint).toMatchObject({
    name: 'shop',
    status: 'enabled',
    disabledReason: null,
    secrets: [{ expiresAt: null }],
  })
  expect(parseSecret(endpoint.secret)).not.toBeNull()
  const shown = await (await get(`/v1/endpoints/${endpoint.id}`)).text()
  expect(shown).not.toContain('whsec_')
  expect(await (await get('/v1/endpoints')).text()).not.toContain('whsec_')
})

test('a secret of one’s own is taken; one that is none is refused without being shown', async () => {
  const { make, post } = aRealApp()
  expect((await make({ secret: SECRET })).secret).toBe(SECRET)
  const response = await post('/v1/endpoints', { url: 'https://b.example/', secret: 'whsec_tooshort' })
  expect(response.status).toBe(422)
  const text = await response.text()
  expect(JSON.parse(text).errors).toEqual([expect.objectContaining({ pointer: '/secret', code: 'invalid_secret' })])
  expect(text).not.toContain('tooshort')
})

test('a URL that has an endpoint is 409 naming it; a URL that is not allowed is 422', async () => {
  const { make, post } = aRealApp()
  const { id } = await make()
  const taken = await problemOf(await post('/v1/endpoints', { url: 'https://shop.example/hooks' }), 409)
  expect(taken).toMatchObject({ detail: expect.stringContaining(id) })
  const insecure = await problemOf(await post('/v1/endpoints', { url: 'http://shop.example/' }), 422)
  expect(insecure).toMatchObject({ errors: [{ pointer: '/url', code: 'insecure_scheme' }] })
})

test('whatever may let something be sent sooner wakes the dispatcher, and what was refused does not', async () => {
  const { make, post, patch, woken } = aRealApp()
  const { id } = await make()
  await patch('/v1/endpoints/ep_none', { rate: '5/s' })
  await patch(`/v1/endpoints/${id}`, { colour: 'blue' })
  expect(woken).toEqual([])
  await patch(`/v1/endpoints/${id}`, { name: 'shop' })
  await post(`/v1/endpoints/${id}/rotate-secret`)
  await post(`/v1/endpoints/${id}/resume`)
  expect(woken).toEqual(['dispatcher', 'dispatcher', 'dispatcher'])
})

test('pausing and resuming say the state', async () => {
  const { make, post } = aRealApp()
  const { id } = await make()
  expect(await (await post(`/v1/endpoints/${id}/pause`)).json()).toMatchObject({ status: 'paused' })
  expect(await (await post(`/v1/endpoints/${id}/resume`)).json()).toMatchObject({ status: 'enabled' })
})

test('a changed URL and name read back; an unknown field and an unknown endpoint are refused', async () => {
  const { make, patch } = aRealApp()
  const { id } = await make()
  const changed = await (await patch(`/v1/endpoints/${id}`, { url: 'https://moved.example/', name: null })).json()
  expect(changed).toMatchObject({ url: 'https://moved.example/', name: null })
  expect((await patch(`/v1/endpoints/${id}`, { colour: 'blue' })).status).toBe(422)
  expect((await patch('/v1/endpoints/ep_none', { name: 'x' })).status).toBe(404)
})

test('rotating shows the new secret once and keeps the old one alive for the overlap', async () => {
  const { make, post } = aRealApp()
  const { id, secret } = await make({ secret: OTHER_SECRET })
  const rotated = (await (
    await post(`/v1/endpoints/${id}/rotate-secret`, { secret: SECRET, overlap: '2h' })
  ).json()) as Shown
  expect(rotated.secret).toBe(SECRET)
  expect(rotated.secret).not.toBe(secret)
  expect(rotated.secrets).toHaveLength(2)
  expect(Date.parse(rotated.secrets[1]!.expiresAt!) - Date.parse(rotated.secrets[0]!.createdAt)).toBe(7_200_000)
  expect((await post(`/v1/endpoints/${id}/rotate-secret`, { overlap: '8d' })).status).toBe(422)
  expect((await post('/v1/endpoints/ep_none/rotate-secret', {})).status).toBe(404)
  // Nothing in it is needed, so that it may be left out.
  expect((await post(`/v1/endpoints/${id}/rotate-secret`)).status).toBe(200)
})
