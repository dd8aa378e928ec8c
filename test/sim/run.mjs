/**
 * `npm run test:sim`: runs the simulation and sums up what it found.
 *
 *   npm run test:sim                      300 seeds and those that once failed
 *   npm run test:sim -- --seeds 20000     a night
 *   npm run test:sim -- --from 1001       other seeds
 *   SEED=0x0000002a npm run test:sim      one history, printed
 */

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** With fewer seeds it is no wonder when one of the rarer marks is missing. */
const SEEDS_FOR_ALL_MARKS = 300

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '300' }, from: { type: 'string', default: '1' } },
})
const isReplay = process.env.SEED !== undefined
const out = mkdtempSync(join(tmpdir(), 'ringback-sim-out-'))
const startedAt = Date.now()

const args = [
  vitest,
  'run',
  '--config',
  'vitest.sim.config.ts',
  'test/sim/shard-0',
  'test/sim/shard-1',
  ...(isReplay ? ['--disableConsoleIntercept'] : []),
]
const child = spawn(process.execPath, args, {
  cwd: root,
  env: { ...process.env, SIM_SEEDS: values.seeds, SIM_FROM: values.from, SIM_OUT: out },
  stdio: ['ignore', isReplay ? 'inherit' : 'ignore', 'inherit'],
})
const exitCode = await new Promise((resolve) => child.once('close', resolve))

const findings = readdirSync(out).map((name) => JSON.parse(readFileSync(join(out, name), 'utf8')))
rmSync(out, { recursive: true })
const sum = (pick) => {
  const total = {}
  for (const one of findings) for (const [name, n] of Object.entries(pick(one))) total[name] = (total[name] ?? 0) + n
  return total
}
const passed = findings.reduce((count, one) => count + one.passed, 0)
const failed = findings.flatMap((one) => one.failed)
const totals = sum((one) => one.totals)
const marks = sum((one) => one.marks)
const wantedMarks = readFileSync(join(root, 'test/sim/marks.ts'), 'utf8')
const names = [...wantedMarks.slice(0, wantedMarks.indexOf('} as const')).matchAll(/^ {2}(\w+): '/gm)].map(
  (match) => match[1],
)
const missing = names.filter((name) => marks[name] === undefined)
const rarest = names
  .filter((name) => marks[name] !== undefined)
  .sort((a, b) => marks[a] - marks[b])
  .slice(0, 5)

for (const { seed, violations } of failed) {
  console.log(`\nSEED=${seed} npm run test:sim`)
  for (const line of violations) console.log(`  ${line}`)
}
const hours = Math.round((totals.virtualMs ?? 0) / 3_600_000)
const seconds = ((Date.now() - startedAt) / 1000).toFixed(1)
console.log(
  `\n${passed + failed.length} histories: ${totals.lives ?? 0} lives of a daemon, ${totals.queries ?? 0} queries, ${totals.posts ?? 0} POSTs, ${hours} virtual hours, ${seconds} s`,
)
const isEnough = passed + failed.length >= SEEDS_FOR_ALL_MARKS
if (!isReplay) {
  console.log(
    missing.length === 0
      ? `marks: all ${names.length} were hit (rarest: ${rarest.map((name) => `${name} ${marks[name]}`).join(', ')})`
      : `marks never hit: ${missing.join(', ')}${isEnough ? '' : ' (too few seeds for all)'}`,
  )
}
const crashed = exitCode !== 0 && failed.length === 0 ? 1 : 0
if (crashed) console.log('the run itself failed: see above')
const badMarks = !isReplay && isEnough ? missing.length : 0
console.log(`${passed} passed, ${failed.length + crashed} failed`)
process.exitCode = failed.length + crashed + badMarks > 0 ? 1 : 0
