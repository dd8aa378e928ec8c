/**
 * The process of one contender: `node contender.mjs MODULE ROLE SETTINGS`.
 *
 * MODULE exports `open(settings) → {enqueue(taskIds)}` and carries out what is enqueued when it is given
 * `carryOut(taskId)`. A `worker` is; a `producer` is not; `both` is in one process, for queues that live in a file.
 * SETTINGS (JSON): `{upstreamUrl, callbackUrl, account, concurrency, directory, serverUrl, options}`. Says `"ready"`;
 * `{seed, round, count}` on stdin enqueues these tasks, a thousand at a time.
 */

import { createInterface } from 'node:readline'
import { createExchange } from './exchange.mjs'
import { taskIdsOf } from './world.mjs'

const [module, role, settingsJson] = process.argv.slice(2)
const settings = JSON.parse(settingsJson)
const BULK_COUNT = 1_000

const { open } = await import(module)
const carryOut = role === 'producer' ? null : createExchange(settings)
const contender = await open({ ...settings, bulkCount: BULK_COUNT, carryOut })
// It is through, or it is too slow: there is nothing worth waiting for.
process.once('SIGTERM', () => process.exit(0))
process.stdout.write('"ready"\n')

for await (const line of createInterface({ input: process.stdin })) {
  const taskIds = taskIdsOf(JSON.parse(line))
  await contender.enqueue(taskIds)
  process.stdout.write('"enqueued"\n')
}
