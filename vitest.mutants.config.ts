/** The run of the mutants: a project for each, whose sources carry it, and one whose sources carry none. */

import { defineConfig } from 'vitest/config'
import { mutantPlugin } from './test/sim/mutant-plugin.ts'
import { MUTANTS } from './test/sim/mutants.ts'

const HUNT = 'test/sim/shard-all.sim.ts'
/** Without a mutant nothing may be caught: neither by the tests that are named, nor by some seeds. */
const NAMED = MUTANTS.flatMap(({ test = [] }) => test)
const UNHARMED = [HUNT, ...new Set(NAMED.map(({ file }) => file))]
const UNHARMED_SEEDS = '20'
/** What `npm run test:sim` tries, which must have passed without a mutant. Most are caught within ten. */
const SEEDS = '300'
const FAST_SEEDS = '20'
const isFast = process.env['MUTANTS_FAST'] === '1'
/** A mutant may make the program spin: that catches nobody's eye. */
const RUN_MS_MAX = 300_000

/** They only say whether something hangs. */
const limits = { testTimeout: 240_000, hookTimeout: 240_000 }

export default defineConfig({
  test: {
    maxWorkers: 2,
    // Of the files with named tests nothing else is run.
    testNamePattern: ['histories are as they must be', ...NAMED.map(({ title }) => title)].join('|'),
    projects: [
      { test: { name: 'unharmed', include: UNHARMED, env: { SIM_SEEDS: UNHARMED_SEEDS }, ...limits } },
      ...MUTANTS.map((mutant) => ({
        plugins: [mutantPlugin(mutant)],
        test: {
          name: mutant.name,
          include: [mutant.test?.file ?? HUNT],
          env: { MUTANT: mutant.name, SIM_SEEDS: isFast ? FAST_SEEDS : SEEDS, SIM_MS_MAX: String(RUN_MS_MAX) },
          ...limits,
        },
      })),
    ],
  },
})
