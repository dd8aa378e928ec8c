/** SQLite keeps the store's contract. */

import { join } from 'node:path'
import { aDirectory, countingIds, openAt } from '../../support/store.ts'
import { describeStore } from '../contract.ts'
import type { StoreHarness } from '../steps.ts'

async function open(): Promise<StoreHarness> {
  const path = join(aDirectory(), 'test.db')
  const newId = countingIds()
  const start = async (): Promise<StoreHarness> => {
    const store = openAt(path, newId)
    return {
      store,
      reopen: async () => {
        await store.close()
        return start()
      },
    }
  }
  return start()
}

describeStore('sqlite', open)
