/**
 * Every bench, one after another, and then what became of the goals.
 *
 *     npm run build && npm --prefix bench/peers ci
 *     npm run bench [-- --only isolation,scale] [--json]
 *
 * Each is a program of its own that prints one JSON document with `--json` (README.md, "JSON"). Exits with 1 when one of
 * them could not be measured; a goal that was missed is no failure.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { text as textOf } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { goalTable } from './report.mjs'

/** In the order of their goals: B1 to B7. */
const BENCHES = [
  { name: 'end-to-end', id: 'B1' },
  { name: 'latency', id: 'B2' },
  { name: 'cadence', id: 'B3' },
  { name: 'scale', id: 'B4' },
  { name: 'register', id: 'B5' },
  { name: 'isolation', id: 'B6' },
  { name: 'outage', id: 'B7' },
]

const { values } = parseArgs({
  options: { only: { type: 'string' }, json: { type: 'boolean', default: false } },
})

function chosenBenches(only) {
  const names = only?.split(',').map((name) => name.trim()) ?? BENCHES.map(({ name }) => name)
  const unknown = names.filter((name) => BENCHES.every((bench) => bench.name !== name))
  if (unknown.length === 0) return BENCHES.filter(({ name }) => names.includes(name))
  console.error(`--only: no ${unknown.join(', ')}; there are ${BENCHES.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}

/** Its document, or null when it did not come to its end. What it says on stderr is passed on. */
async function play({ name }) {
  const program = fileURLToPath(new URL(`./${name}/run.mjs`, import.meta.url))
  if (!existsSync(program)) return null
  const child = spawn(process.execPath, [program, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const endOnExit = () => child.kill()
  process.once('exit', endOnExit)
  const [output, [exitCode]] = await Promise.all([textOf(child.stdout), once(child, 'exit')])
  process.off('exit', endOnExit)
  return exitCode === 0 ? JSON.parse(output) : null
}

const documents = []
const unplayed = []
const goals = []
for (const bench of chosenBenches(values.only)) {
  process.stderr.write(`\n${bench.name}\n`)
  const document = await play(bench)
  if (document === null) {
    unplayed.push(bench)
    goals.push({ id: bench.id, what: `${bench.name} could not be run`, measured: null, goal: '', isMet: false })
    continue
  }
  documents.push(document)
  goals.push(...document.goal)
  if (!values.json) process.stdout.write(`## ${document.name}\n\n${document.text}\n\n`)
}

if (values.json) process.stdout.write(`${JSON.stringify({ goal: goals, benches: documents })}\n`)
else process.stdout.write(`## Goals\n\n${goalTable(goals)}\n`)
process.exitCode = unplayed.length > 0 ? 1 : 0
