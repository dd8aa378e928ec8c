/** Endpoints whose secrets cannot be opened, and those that a person changes: each fence tried alone. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { EpochMs } from '../../../src/core/time.ts'
import { UNSEALED } from '../../../src/store/sqlite/secrets.ts'
import { openSqliteStore } from '../../../src/store/sqlite/store.ts'
import type { Store } from '../../../src/store/store.ts'
import { createVault } from '../../../src/vault.ts'
import { aDirectory, countingIds, START, standingClock } from '../../support/store.ts'
import { at, claimDeliveries, SECRETS, settle } from '../steps.ts'

const [KEY, OTHER_KEY] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)] as const
const URL_OF_SHOP = 'https://shop.example/hooks'

function sqlOf(path: string): Database.Database {
  const db = new Database(path)
  onTestFinished(() => void db.close())
  return db
}

/** One database, opened again and again: with another key, or none, at a later instant. */
function aDatabase() {
  const path = join(aDirectory(), 'endpoints.db')
  const newId = countingIds()
  async function withKey<T>(key: Uint8Array | null, use: (store: Store) => Promise<T>, now: EpochMs = START) {
    const vault = key === null ? undefined : createVault(key)
    const onDamaged = (error: Error) => {
      throw error
    }
    const store = openSqliteStore({ path, clock: { ...standingClock, now: () => now }, newId, vault, onDamaged })
    onTestFinished(() => store.close())
    const result = await use(store)
    await store.close()
    return result
  }
  return { path, withKey }
}

async function anEndpoint(store: Store) {
  const made = await store.createEndpoint({ now: START, url: URL_OF_SHOP, name: null, secret: SECRETS[0]! })
  return made.endpoint.id
}

test('with a wrong key an endpoint that a person paused stays paused, and so it does with the right one', async () => {
  const { withKey } = aDatabase()
  const id = await withKey(KEY, async (store) => {
    const made = await anEndpoint(store)
    await store.setEndpointStatus({ now: START, id: made, status: 'paused' })
    return made
  })
  const look = (store: Store) => store.getEndpoint({ now: START, id })
  expect(await withKey(OTHER_KEY, look)).toMatchObject({ status: 'paused', disabledReason: null })
  expect(await withKey(KEY, look)).toMatchObject({ status: 'paused', disabledReason: null })
})

test('a person can pause an endpoint whose secret cannot be opened, and the right key does not undo it', async () => {
  const { withKey } = aDatabase()
  const id = await withKey(KEY, anEndpoint)
  const paused = { status: 'paused', disabledReason: null }
  await withKey(OTHER_KEY, async (store) => {
    expect(await store.getEndpoint({ now: START, id })).toMatchObject({ disabledReason: 'secret_unreadable' })
    expect(await store.setEndpointStatus({ now: START, id, status: 'paused' })).toMatchObject(paused)
  })
  expect(await withKey(KEY, (store) => store.getEndpoint({ now: START, id }))).toMatchObject(paused)
})

test('replacing what cannot be opened enables it again, as soon as nothing of it is left that has to sign', async () => {
  const { withKey } = aDatabase()
  const id = await withKey(KEY, anEndpoint)
  await withKey(OTHER_KEY, async (store) => {
    const rotate = (secret: string, overlapMs: number) => store.rotateSecret({ now: START, id, secret, overlapMs })
    expect(await rotate(SECRETS[1]!, 10_000)).toMatchObject({ disabledReason: 'secret_unreadable' })
    expect(await rotate(SECRETS[0]!, 0)).toMatchObject({ status: 'enabled', disabledReason: null })
    await store.setEndpointStatus({ now: START, id, status: 'paused' })
    expect(await rotate(SECRETS[1]!, 0), 'what a person paused').toMatchObject({ status: 'paused' })
  })
})

test('a secret that was replaced and has expired keeps no endpoint from being sent to', async () => {
  const { withKey } = aDatabase()
  const id = await withKey(KEY, anEndpoint)
  await withKey(OTHER_KEY, async (store) => {
    expect(await store.getEndpoint({ now: START, id })).toMatchObject({ disabledReason: 'secret_unreadable' })
    await store.rotateSecret({ now: START, id, secret: SECRETS[1]!, overlapMs: 10_000 })
  })
  for (const ms of [11_000, 12_000]) {
    const found = await withKey(OTHER_KEY, (store) => store.getEndpoint({ now: at(ms), id }), at(ms))
    expect(found).toMatchObject({ status: 'enabled', disabledReason: null })
  }
})

test('a secret that was changed in the database disables its endpoint before anything is sent with it', async () => {
  const { path, withKey } = aDatabase()
  const id = await withKey(KEY, async (store) => {
    const made = await anEndpoint(store)
    await settle(store)
    return made
  })
  sqlOf(path).exec(`update _secrets set sealed = 'AAAA' || substr(sealed, 5)`)
  await withKey(KEY, async (store) => {
    expect((await claimDeliveries(store, 'a')).deliveries).toEqual([])
    const unreadable = { status: 'disabled', disabledReason: 'secret_unreadable' }
    expect(await store.getEndpoint({ now: START, id })).toMatchObject(unreadable)
    expect(await store.setEndpointStatus({ now: START, id, status: 'enabled' })).toMatchObject(unreadable)
  })
})

test('without a key a sealed secret does not open', () => {
  expect(UNSEALED.open('sealed text', 'some key', 'ep_1')).toBeNull()
  expect(UNSEALED.open('whsec_x', null, 'ep_1')).toBe('whsec_x')
})

test('the daemon’s own secret is never in the database: its row in an overlap stays empty when a key is given', async () => {
  const { path, withKey } = aDatabase()
  await withKey(null, async (store) => {
    const { subscriptions } = await settle(store)
    const id = subscriptions[0]!.endpointId
    await store.rotateSecret({ now: START, id, secret: SECRETS[0]!, overlapMs: 10_000 })
  })
  await withKey(KEY, async () => {})
  const rows = sqlOf(path)
    .prepare('select by_daemon, sealed, key_id is null as is_open from _secrets order by id')
    .all()
  expect(rows).toEqual([
    { by_daemon: 1, sealed: '', is_open: 1 },
    { by_daemon: 0, sealed: expect.not.stringContaining('whsec_'), is_open: 0 },
  ])
})

test('an endpoint keeps its own URL when it is named anew, and one that is not there has no secret to replace', async () => {
  const { withKey } = aDatabase()
  await withKey(KEY, async (store) => {
    const id = await anEndpoint(store)
    const kept = await store.updateEndpoint({ now: START, id, url: URL_OF_SHOP, name: 'the shop' })
    expect(kept).toMatchObject({ kind: 'kept', endpoint: { url: URL_OF_SHOP, name: 'the shop' } })
    const nowhere = { now: START, id: 'ep_none', secret: SECRETS[1]!, overlapMs: 0 } as const
    expect(await store.rotateSecret(nowhere)).toBeNull()
  })
})

test('a secret that has ceased to sign is deleted a retention later, and one that signs is not', async () => {
  const { path, withKey } = aDatabase()
  const kept = await withKey(KEY, async (store) => {
    const id = await anEndpoint(store)
    await store.rotateSecret({ now: START, id, secret: SECRETS[1]!, overlapMs: 1_000 })
    const count = () => sqlOf(path).prepare('select count(*) from _secrets').pluck().get()
    const forget = async (usedBefore: EpochMs) => {
      await store.forgetEndpoints({ usedBefore, after: null, limit: 9 })
      return count()
    }
    return [await forget(at(1_000)), await forget(at(1_001)), await forget(at(9_999_999))]
  })
  expect(kept).toEqual([2, 1, 1])
})
