/** SQLite keeps the store's contract. */

import { join } from 'node:path'
import { aDirectory, countingIds, openAt } from '../../support/store.ts'
import { describeStore, type StoreHarness } from '../contract.ts'
import { describeJobs } from '../jobs-contract.ts'
import { describeOperator } from '../operator-contract.ts'
import { describePulling } from '../pull-contract.ts'
import { describeSigning } from '../signing-contract.ts'

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
describePulling('sqlite', open)
describeSigning('sqlite', open)
describeOperator('sqlite', open)
describeJobs('sqlite', open)
