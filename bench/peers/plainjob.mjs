/**
 * plainjob on SQLite: a worker does one job at a time, so there are as many workers as jobs at once; `addMany`.
 *
 * Its README has no word on durability: it sets `synchronous = NORMAL`, with which a power loss may lose what was
 * acknowledged. With `options.isFull` it is as durable as Ringback. Workers look every 10 ms (default: every second),
 * so that none sleeps while the first jobs are added, and log nothing (default: several lines a job).
 */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { better, defineQueue, defineWorker } from 'plainjob'

const TYPE = 'poll'
const POLL_MS = 10
const quiet = { error: console.error, warn: console.error, info() {}, debug() {} }

export async function open({ directory, concurrency, bulkCount, carryOut, options }) {
  const database = new Database(join(directory, 'plainjob.db'))
  const queue = defineQueue({ connection: better(database), logger: quiet })
  if (options.isFull) database.pragma('synchronous = FULL')
  for (let index = 0; index < concurrency; index += 1) {
    const worker = defineWorker(TYPE, async ({ data }) => await carryOut(JSON.parse(data).taskId), {
      queue,
      logger: quiet,
      pollIntervall: POLL_MS,
    })
    worker.start().catch((error) => {
      throw error
    })
  }
  return {
    async enqueue(taskIds) {
      for (let from = 0; from < taskIds.length; from += bulkCount) {
        queue.addMany(
          TYPE,
          taskIds.slice(from, from + bulkCount).map((taskId) => ({ taskId })),
        )
        // It is synchronous: without this the workers would stand still until the last job is in.
        await new Promise(setImmediate)
      }
    },
  }
}
