/** Secrets at rest: sealed under the operator's key, bound to their place, and never signed with when they cannot be opened. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { EndpointId } from '../src/core/ids.ts'
import { parseSecretKey } from '../src/core/secret-key.ts'
import { formatPrivateKey, formatSecret } from '../src/core/signature.ts'
import type { Vault } from '../src/ports.ts'
import { openSqliteStore } from '../src/store/sqlite/store.ts'
import { createVault } from '../src/vault.ts'
import { aDirectory, aRegistration, countingIds, START, standingClock } from './support/store.ts'

const KEY = Buffer.alloc(32, 7)
const SECRET = formatSecret(Buffer.alloc(32, 9))

test('what is sealed opens again, and no two sealings look alike', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (secret, context) => {
      const vault = createVault(KEY)
      const sealed = vault.seal(secret, context)
      expect(vault.open(sealed, vault.keyId, context)).toBe(secret)
      expect(vault.seal(secret, context)).not.toBe(sealed)
    }),
  )
})

test('it opens with no other key, at no other place, and not when a bit of it was changed', () => {
  const vault = createVault(KEY)
  const other = createVault(Buffer.alloc(32, 8))
  const sealed = vault.seal(SECRET, 'ep_1')
  expect(other.open(sealed, vault.keyId, 'ep_1')).toBeNull()
  expect(other.open(sealed, other.keyId, 'ep_1')).toBeNull()
  expect(vault.open(sealed, vault.keyId, 'ep_2')).toBeNull()
  const bytes = Buffer.from(sealed, 'base64')
  for (let index = 0; index < bytes.length; index += 1) {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(index) ^ 1, index)
    expect(vault.open(changed.toString('base64'), vault.keyId, 'ep_1')).toBeNull()
  }
  expect(vault.open('short', vault.keyId, 'ep_1')).toBeNull()
})

test('what was kept before there was a key still opens', () => {
  expect(createVault(KEY).open(SECRET, null, 'ep_1')).toBe(SECRET)
})

test.each([
  ['hexadecimal', '0f'.repeat(32), 32],
  ['base64', KEY.toString('base64'), 32],
  ['base64 without its padding', KEY.toString('base64').replace('=', ''), 32],
  ['too short', Buffer.alloc(31).toString('base64'), null],
  ['a pass phrase', 'correct horse battery staple', null],
  ['nothing', '', null],
])('a key given as %s', (_what, text, bytes) => {
  expect(parseSecretKey(text)?.length ?? null).toBe(bytes)
})

const newId = countingIds()

function openWith(path: string, vault: Vault | undefined) {
  const onDamaged = (error: Error) => {
    throw error
  }
  return openSqliteStore({ path, clock: standingClock, newId, vault, onDamaged })
}

async function databaseBytes(path: string): Promise<string> {
  return readFileSync(path, 'latin1') + readFileSync(`${path}-wal`, 'latin1')
}

test('with a key no byte of a secret is in the database; what was there before is sealed at the next start', async () => {
  const path = join(aDirectory(), 'sealed.db')
  const plain = openWith(path, undefined)
  await plain.createEndpoint({ now: START, url: 'https://a.example/', name: null, secret: SECRET })
  expect(await databaseBytes(path)).toContain(SECRET)
  await plain.close()
  const sealed = openWith(path, createVault(KEY))
  const second = formatSecret(Buffer.alloc(32, 3))
  await sealed.createEndpoint({ now: START, url: 'https://b.example/', name: null, secret: second })
  await sealed.close()
  const again = openWith(path, createVault(KEY))
  const bytes = await databaseBytes(path)
  expect(bytes).not.toContain(SECRET)
  expect(bytes).not.toContain(second)
  await again.close()
})

test('with a wrong key the endpoints it concerns are disabled in words, nothing is signed, and the right key heals it', async () => {
  const path = join(aDirectory(), 'wrong.db')
  const first = openWith(path, createVault(KEY))
  const made = await first.createEndpoint({ now: START, url: 'https://shop.example/hooks', name: null, secret: SECRET })
  await first.registerTasks({ now: START, registrations: [aRegistration()] })
  await first.close()

  for (const vault of [createVault(Buffer.alloc(32, 1)), undefined]) {
    const wrong = openWith(path, vault)
    const { id } = made.endpoint
    expect(await wrong.getEndpoint({ now: START, id })).toMatchObject({
      status: 'disabled',
      disabledReason: 'secret_unreadable',
    })
    expect(await wrong.setEndpointStatus({ now: START, id, status: 'enabled' })).toMatchObject({
      disabledReason: 'secret_unreadable',
    })
    await wrong.close()
  }

  const right = openWith(path, createVault(KEY))
  expect(await right.getEndpoint({ now: START, id: made.endpoint.id })).toMatchObject({
    status: 'enabled',
    disabledReason: null,
  })
  await right.close()
})

test('with a key no byte of a private key or a header is in the database, and what was there before is sealed', async () => {
  const path = join(aDirectory(), 'sealed-all.db')
  const url = 'https://a.example/'
  const privateKey = formatPrivateKey(Buffer.alloc(32, 4))
  const seed = Buffer.alloc(32, 4).toString('base64').slice(0, 40)
  const headers = { authorization: 'Bearer CanaryHeader0001' }
  const plain = openWith(path, undefined)
  const made = await plain.createEndpoint({ now: START, url, name: null, secret: SECRET, privateKey, headers })
  expect(await databaseBytes(path)).toContain(seed)
  expect(await databaseBytes(path)).toContain('CanaryHeader0001')
  await plain.close()
  await openWith(path, createVault(KEY)).close()
  const again = openWith(path, createVault(KEY))
  const second = { privateKey: formatPrivateKey(Buffer.alloc(32, 6)), headers: { 'x-a': 'CanaryHeader0002' } }
  await again.createEndpoint({ now: START, url: 'https://b.example/', name: null, secret: SECRET, ...second })
  const bytes = await databaseBytes(path)
  for (const planted of [seed, 'CanaryHeader0001', 'CanaryHeader0002', second.privateKey.slice(5, 45)]) {
    expect(bytes).not.toContain(planted)
  }
  expect(bytes).toContain('authorization')
  await again.registerTasks({ now: START, registrations: [aRegistration({ callback: { kind: 'url', url } })] })
  expect(await again.getEndpoint({ now: START, id: made.endpoint.id })).toEqual(made.endpoint)
  await again.close()
})

test.each([
  ['a private key', { privateKey: formatPrivateKey(Buffer.alloc(32, 4)) }],
  ['a header', { headers: { authorization: 'Bearer x' } }],
])(
  'an endpoint of which only %s cannot be opened is disabled as well, and still shows what is public',
  async (_what, one) => {
    const path = join(aDirectory(), 'wrong-one.db')
    // Found by its URL: it has no secret of its own.
    const first = openWith(path, createVault(KEY))
    const [registered] = await first.registerTasks({ now: START, registrations: [aRegistration()] })
    const id = registered?.kind === 'registered' ? registered.task.subscriptions[0]!.endpointId : 'ep_none'
    const updated = await first.updateEndpoint({ now: START, id, ...one })
    const { publicKeys, headerNames } = 'endpoint' in updated ? updated.endpoint : { publicKeys: [], headerNames: [] }
    expect(publicKeys.length + headerNames.length).toBe(1)
    await first.close()

    const wrong = openWith(path, createVault(Buffer.alloc(32, 1)))
    const disabled = { status: 'disabled', disabledReason: 'secret_unreadable', publicKeys, headerNames }
    expect(await wrong.getEndpoint({ now: START, id })).toMatchObject(disabled)
    expect(await wrong.setEndpointStatus({ now: START, id, status: 'enabled' })).toMatchObject(disabled)
    // What cannot be opened can be taken away.
    const change = 'headers' in one ? { headers: {} } : { privateKey: null }
    await wrong.updateEndpoint({ now: START, id, ...change })
    expect(await wrong.setEndpointStatus({ now: START, id, status: 'enabled' })).toMatchObject({ status: 'enabled' })
    await wrong.close()
  },
)

test('a sealed header does not open under another name, nor a private key beside another public key', async () => {
  const path = join(aDirectory(), 'moved.db')
  const store = openWith(path, createVault(KEY))
  const headers = { 'x-a': 'Bearer x' }
  const keys = { secret: SECRET, privateKey: formatPrivateKey(Buffer.alloc(32, 4)), headers }
  const urls = ['https://a.example/', 'https://b.example/']
  const ids: string[] = []
  for (const url of urls) ids.push((await store.createEndpoint({ now: START, url, name: null, ...keys })).endpoint.id)
  await store.close()
  const db = new Database(path)
  db.prepare(`update _endpoints set headers = replace(headers, 'x-a', 'x-b') where id = ?`).run(ids[0])
  db.prepare(`update _secrets set sealed = replace(sealed, 'whpk_', 'whpk_A') where endpoint_id = ?`).run(ids[1])
  db.close()
  const changed = openWith(path, createVault(KEY))
  for (const id of ids) {
    const status = await changed.setEndpointStatus({ now: START, id: id as EndpointId, status: 'enabled' })
    expect(status).toMatchObject({ disabledReason: 'secret_unreadable' })
  }
  await changed.close()
})
