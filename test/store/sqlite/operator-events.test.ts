/** What the operator is told of the disk and of the key: noticed by the store alone, and told once, also across starts. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { OperatorFact } from '../../../src/core/operator-event.ts'
import type { Vault } from '../../../src/ports.ts'
import { DISK_SETTINGS, type DiskSettings } from '../../../src/store/sqlite/disk.ts'
import { openSqliteStore } from '../../../src/store/sqlite/store.ts'
import type { Store } from '../../../src/store/store.ts'
import { createVault } from '../../../src/vault.ts'
import { aSmallDisk, fillDisk } from '../../support/chaos.ts'
import { aDirectory, countingIds, START, standingClock } from '../../support/store.ts'
import { at, claimDeliveries, SECRETS, settle } from '../steps.ts'

const OPERATOR = 'https://operator.example/alerts'
const [KEY, OTHER_KEY] = [createVault(Buffer.alloc(32, 1)), createVault(Buffer.alloc(32, 2))] as const

/** One database, opened again and again; `facts` is what each life told, in order. */
function aDatabase(path: string) {
  const newId = countingIds()
  const facts: OperatorFact[] = []
  function open({ vault, disk }: { vault?: Vault; disk?: DiskSettings }): Store {
    const onDamaged = (error: Error) => {
      throw error
    }
    const store = openSqliteStore({ path, clock: standingClock, newId, vault, disk, onDamaged })
    onTestFinished(() => store.close())
    store.onTold((told) => facts.push(...told.map(({ fact }) => fact)))
    return store
  }
  return { facts, open }
}

/** The event types that wait for the operator, the first first. */
async function owedTo(store: Store, operatorId: `ep_${string}`): Promise<readonly string[]> {
  const { items } = await store.listDeliveries({ endpointId: operatorId, status: 'pending', limit: 100 })
  return items.map(({ eventType }) => eventType).toReversed()
}

test('a disk that is nearly full is told once, also across a start, and again when it is so again', async ({
  skip,
}) => {
  const folder = aSmallDisk(24)
  if (folder === null) return skip('no tmpfs')
  const { facts, open } = aDatabase(join(folder, 'ringback.db'))
  const first = open({ disk: DISK_SETTINGS })
  const operator = await first.keepOperatorEndpoint({ now: START, url: OPERATOR })
  let ms = 0
  /** The first of two finds out, the second tells of it. */
  const probeTwice = async (store: Store) => {
    for (let count = 0; count < 2; count += 1) {
      ms += 1
      await store.probe({ now: at(ms) })
    }
  }
  await probeTwice(first)
  expect(facts).toEqual([])

  const free = fillDisk(folder, 512 * 1024)
  await probeTwice(first)
  await probeTwice(first)
  const low = { type: 'disk.low', isFull: false, freeBytes: expect.any(Number) }
  expect(facts).toEqual([low])
  await first.close()

  const second = open({ disk: DISK_SETTINGS })
  await probeTwice(second)
  expect(facts).toEqual([low])
  free()
  await probeTwice(second)
  expect(facts, 'room is nothing to tell of').toEqual([low])
  fillDisk(folder, 512 * 1024)
  await probeTwice(second)
  expect(facts).toEqual([low, low])
  expect(await owedTo(second, operator!.id)).toEqual(['disk.low', 'disk.low'])
  const { deliveries } = await claimDeliveries(second, 'a', at(ms))
  expect(JSON.parse(deliveries[0]!.body)).toMatchObject({ type: 'disk.low', data: { isFull: false } })
})

test('an endpoint whose secret cannot be read is told of, and that the right key enabled it again: its backlog goes', async () => {
  const { facts, open } = aDatabase(join(aDirectory(), 'operator.db'))
  const first = open({ vault: KEY })
  const operator = await first.keepOperatorEndpoint({ now: START, url: OPERATOR })
  const url = 'https://shop.example/hooks'
  const made = await first.createEndpoint({ now: START, url, name: 'the shop', secret: SECRETS[0]! })
  const endpointId = made.endpoint.id
  await settle(first)
  await first.close()

  const wrong = open({ vault: OTHER_KEY })
  expect(await wrong.getEndpoint({ now: START, id: endpointId })).toMatchObject({
    status: 'disabled',
    disabledReason: 'secret_unreadable',
  })
  const toShop = (store: Store, name: string) =>
    claimDeliveries(store, name).then(({ deliveries }) => deliveries.filter((one) => one.endpointId === endpointId))
  expect(await toShop(wrong, 'a')).toEqual([])
  await wrong.close()

  const right = open({ vault: KEY })
  expect(await right.getEndpoint({ now: START, id: endpointId })).toMatchObject({ status: 'enabled' })
  const subject = { endpointId, name: 'the shop', host: 'shop.example' }
  expect(facts).toEqual([
    { type: 'endpoint.disabled', ...subject, reason: 'secret_unreadable', failingSince: null },
    { type: 'endpoint.enabled', ...subject, reason: 'secret_unreadable', by: 'key' },
  ])
  expect(await owedTo(right, operator!.id)).toEqual(['endpoint.disabled', 'endpoint.enabled'])
  expect(await toShop(right, 'b')).toHaveLength(1)
  await right.close()
  open({ vault: KEY })
  expect(facts, 'the same key again is nothing to tell of').toHaveLength(2)
})
