/**
 * graphile-worker on PostgreSQL, with the settings of worker.graphile.org/docs/performance: a local queue of 500 and
 * completion in batches; jobs are added with `addJobs`.
 */

import { Logger, makeWorkerUtils, run } from 'graphile-worker'

const TASK = 'poll'
const quiet = new Logger(() => (level, message) => {
  if (level === 'error' || level === 'warning') console.error(message)
})

export async function open({ serverUrl, concurrency, bulkCount, carryOut }) {
  const worker = {
    connectionString: serverUrl,
    concurrentJobs: concurrency,
    maxPoolSize: concurrency + 2,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  }
  const utils = await makeWorkerUtils({ connectionString: serverUrl, logger: quiet })
  await utils.migrate()
  if (carryOut !== null) {
    await run({
      preset: { worker },
      logger: quiet,
      noHandleSignals: true,
      taskList: { [TASK]: async ({ taskId }) => await carryOut(taskId) },
    })
  }
  return {
    async enqueue(taskIds) {
      for (let from = 0; from < taskIds.length; from += bulkCount) {
        const specs = taskIds.slice(from, from + bulkCount)
        await utils.addJobs(specs.map((taskId) => ({ identifier: TASK, payload: { taskId } })))
      }
    },
  }
}
