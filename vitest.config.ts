import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Two cores: more workers than cores only make the process tests slower and their deadlines tighter.
    maxWorkers: 2,
    // Four times what the slowest take on a busy machine: time says whether something hangs, and never how fast it is.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
