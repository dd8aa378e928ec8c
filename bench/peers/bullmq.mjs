/**
 * BullMQ on Redis: one worker with as many jobs at once as everybody, jobs added with `addBulk`, finished ones removed.
 *
 * docs.bullmq.io: "Concurrency" and "Adding jobs in bulk" for throughput, "Auto-removal of jobs" and "Going to
 * production" for how to run it.
 */

import { Queue, Worker } from 'bullmq'

const QUEUE = 'tasks'

export async function open({ serverUrl, concurrency, bulkCount, carryOut }) {
  const connection = { url: serverUrl, maxRetriesPerRequest: null }
  const queue = new Queue(QUEUE, {
    connection,
    defaultJobOptions: { attempts: 10, backoff: { type: 'exponential', delay: 5_000 } },
  })
  await queue.waitUntilReady()
  const worker =
    carryOut === null
      ? null
      : new Worker(QUEUE, async ({ data }) => void (await carryOut(data.taskId)), {
          connection,
          concurrency,
          removeOnComplete: { count: 0 },
        })
  await worker?.waitUntilReady()
  return {
    async enqueue(taskIds) {
      for (let from = 0; from < taskIds.length; from += bulkCount) {
        await queue.addBulk(taskIds.slice(from, from + bulkCount).map((taskId) => ({ name: 'poll', data: { taskId } })))
      }
    },
  }
}
