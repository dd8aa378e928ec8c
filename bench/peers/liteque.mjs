/**
 * liteque on SQLite: one runner with as many jobs at once as everybody. There is no way to add jobs in bulk.
 *
 * Its defaults: `synchronous = NORMAL`. It looks every 10 ms when there is nothing to do.
 */

import { join } from 'node:path'
import { buildDBClient, Runner, SqliteQueue } from 'liteque'

const POLL_MS = 10
const TIMEOUT_SECONDS = 60
const YIELD_EVERY = 100

export async function open({ directory, concurrency, carryOut }) {
  const database = buildDBClient(join(directory, 'liteque.db'), { runMigrations: true })
  const queue = new SqliteQueue('poll', database, { defaultJobArgs: { numRetries: 10 }, keepFailedJobs: true })
  const runner = new Runner(
    queue,
    { run: async ({ data }) => await carryOut(data.taskId) },
    { concurrency, pollIntervalMs: POLL_MS, timeoutSecs: TIMEOUT_SECONDS },
  )
  runner.run().catch((error) => {
    throw error
  })
  return {
    async enqueue(taskIds) {
      for (const [index, taskId] of taskIds.entries()) {
        await queue.enqueue({ taskId })
        // Its promises are kept at once: without this the runner would stand still until the last job is in.
        if (index % YIELD_EVERY === 0) await new Promise(setImmediate)
      }
    },
  }
}
