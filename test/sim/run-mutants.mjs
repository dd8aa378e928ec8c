/**
 * `npm run test:mutants`: plants each mutant in turn and shows who catches it. One that nobody catches fails the run.
 *
 *   npm run test:mutants -- --only rate-in-memory     one of them
 *   npm run test:mutants -- --fast                    with 20 seeds for each
 */

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startVitest } from 'vitest/node'

const root = join(import.meta.dirname, '../..')
const { values } = parseArgs({ options: { only: { type: 'string' }, fast: { type: 'boolean' } } })
if (values.fast) process.env.MUTANTS_FAST = '1'
const startedAt = Date.now()
/** By project: who caught its mutant, or what kept anybody from trying. */
const caught = new Map()
const broken = new Map()
const all = []

/** What a file that failed says: `meta.caught` is set by the simulation, and other tests speak by their names. */
function note(testModule) {
  const { name } = testModule.project
  for (const error of testModule.errors()) broken.set(name, error.message)
  for (const test of testModule.children.allTests('failed')) {
    if (!caught.has(name)) caught.set(name, test.meta().caught ?? `${testModule.relativeModuleId}: ${test.name}`)
  }
  if (name !== 'unharmed') process.stdout.write(caught.has(name) ? '.' : '!')
}

/** The list is TypeScript, which Node 20 does not read: vitest does. */
async function readMutants(vitest) {
  const { MUTANTS } = await vitest.import(join(root, 'test/sim/mutants.ts'))
  all.push(...MUTANTS)
}

const vitest = await startVitest('test', [], {
  root,
  config: join(root, 'vitest.mutants.config.ts'),
  watch: false,
  reporters: [{ onInit: readMutants, onTestModuleEnd: note }],
  ...(values.only === undefined ? {} : { project: [values.only, 'unharmed'] }),
})
await vitest.close()

const mutants = all.filter(({ name }) => values.only === undefined || name === values.only)
console.log('\n')
for (const { name, number } of mutants.toSorted((a, b) => (a.number ?? 99) - (b.number ?? 99))) {
  const who = caught.get(name) ?? broken.get(name) ?? 'SURVIVED'
  console.log(`${String(number ?? '').padStart(2)} ${name.padEnd(28)} ${who}`)
}
const survivors = mutants.filter(({ name }) => !caught.has(name) || broken.has(name))
const seconds = Math.round((Date.now() - startedAt) / 1000)
console.log(`\n${mutants.length - survivors.length} of ${mutants.length} mutants caught, in ${seconds} s`)
for (const { name, says } of survivors) console.log(`nobody notices ${name}: ${says}`)
const harm = caught.get('unharmed') ?? broken.get('unharmed')
if (harm !== undefined) console.log(`the sources without any mutant go wrong already, mend that first: ${harm}`)
process.exitCode = survivors.length === 0 && harm === undefined && mutants.length > 0 ? 0 : 1
