/**
 * pg-boss on PostgreSQL: several workers that fetch batches, and fetch the next at once instead of after the polling
 * interval (`notifyWorker`); jobs are added with `insert`.
 *
 * docs/api/workers.md: `batchSize` and `notifyWorker`. A batch is completed as a whole when all of it is done.
 */

import PgBoss from 'pg-boss'

const QUEUE = 'poll'
const BATCH_COUNT = 16
const POLL_SECONDS = 0.5

export async function open({ serverUrl, concurrency, bulkCount, carryOut }) {
  const boss = new PgBoss({ connectionString: serverUrl, application_name: 'bench' })
  boss.on('error', (error) => {
    throw error
  })
  await boss.start()
  await boss.createQueue(QUEUE, { name: QUEUE, retryLimit: 10, retryBackoff: true })
  const workerCount = carryOut === null ? 0 : concurrency / BATCH_COUNT
  for (let index = 0; index < workerCount; index += 1) {
    const workerId = await boss.work(
      QUEUE,
      { batchSize: BATCH_COUNT, pollingIntervalSeconds: POLL_SECONDS },
      async (jobs) => {
        await Promise.all(jobs.map(({ data }) => carryOut(data.taskId)))
        boss.notifyWorker(workerId)
      },
    )
  }
  return {
    async enqueue(taskIds) {
      for (let from = 0; from < taskIds.length; from += bulkCount) {
        await boss.insert(taskIds.slice(from, from + bulkCount).map((taskId) => ({ name: QUEUE, data: { taskId } })))
      }
    },
  }
}
