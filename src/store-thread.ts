/** The composition root of the store's thread: what `daemon.ts` is to the process. */

import { type MessagePort, workerData } from 'node:worker_threads'
import { DISK_SETTINGS } from './store/sqlite/disk.ts'
import { openSqliteStore } from './store/sqlite/store.ts'
import { serveStore } from './store/thread/far.ts'
import { systemClock, systemNewId } from './system.ts'
import { createVault } from './vault.ts'

export interface StoreThreadData {
  readonly port: MessagePort
  readonly path: string
  /** What seals secrets; null: they are kept as they are. */
  readonly vaultKey: Uint8Array | null
}

const { port, path, vaultKey } = workerData as StoreThreadData
const vault = vaultKey === null ? undefined : createVault(vaultKey)
const world = { clock: systemClock, newId: systemNewId, disk: DISK_SETTINGS, vault }
serveStore(port, (near) => openSqliteStore({ ...near, ...world, path }))
