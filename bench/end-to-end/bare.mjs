/** The bare loop: the two requests for each task and nothing else. What it holds is lost when it ends. */

export async function open({ concurrency, carryOut }) {
  return {
    async enqueue(taskIds) {
      const left = taskIds.values()
      const lane = async () => {
        for (const taskId of left) await carryOut(taskId)
      }
      await Promise.all(Array.from({ length: concurrency }, lane))
    },
  }
}
