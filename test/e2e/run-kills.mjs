/**
 * `npm run test:kills`: kills the built daemon at random instants, more often than the tests do.
 *
 *   npm run test:kills                    100 kills
 *   npm run test:kills -- --kills 1000    before a release: about ten minutes
 *   npm run test:kills -- --seed 42       the same load and the same instants again
 */

import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '100' }, seed: { type: 'string' } } })
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/e2e/kills.test.ts'], {
  cwd: join(dirname(fileURLToPath(import.meta.url)), '../..'),
  env: { ...process.env, KILLS: values.kills, ...(values.seed === undefined ? {} : { SEED: values.seed }) },
  stdio: 'inherit',
})
process.exitCode = status ?? 1
