/** The simulation's own run: as many processes as the seeds are shared between. */

import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/sim/*.sim.ts'],
    maxWorkers: 2,
    testTimeout: 30_000,
  },
})
