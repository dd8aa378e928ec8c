import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Two cores: more workers than cores only make the process tests slower and their deadlines tighter.
    maxWorkers: 2,
    // Many times what the slowest take: time says whether something hangs, and never how fast it is.
    testTimeout: 240_000,
    hookTimeout: 240_000,
  },
})
