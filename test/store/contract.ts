/** What every store promises, as sentences. An adapter's own test file only says how to open one. */

import { describeDeliveries } from './deliveries-contract.ts'
import { describeEndpoints } from './endpoints-contract.ts'
import { describeJobs } from './jobs-contract.ts'
import { describeOperator } from './operator-contract.ts'
import { describePulling } from './pull-contract.ts'
import { describeSigning } from './signing-contract.ts'
import type { StoreHarness } from './steps.ts'
import { describeTasks } from './tasks-contract.ts'
import { describeTime } from './time-contract.ts'

export function describeStore(name: string, open: () => Promise<StoreHarness>): void {
  describeTasks(name, open)
  describeDeliveries(name, open)
  describeEndpoints(name, open)
  describeTime(name, open)
  describePulling(name, open)
  describeSigning(name, open)
  describeOperator(name, open)
  describeJobs(name, open)
}
