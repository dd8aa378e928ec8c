/** The documentation is a promise: its commands run, its tables and pictures say what the code does. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { settingsTable } from '../src/config.ts'
import { DELIVERY_TRANSITIONS } from '../src/core/delivery.ts'
import { ENDPOINT_TRANSITIONS } from '../src/core/endpoint.ts'
import { JOB_TRANSITIONS } from '../src/core/job.ts'
import { TASK_TRANSITIONS } from '../src/core/task.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const README = read('README.md')

const documents = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

function blocks(text: string, language: string): readonly string[] {
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map((match) => match[1]!)
}

/** Runs a script in the checkout's place, with `npx ringback` meaning the built program; ends all that it started. */
async function runScript(script: string, cwd: string): Promise<{ exitCode: number | null; output: string }> {
  const npx = `npx() { shift; node ${join(ROOT, 'dist/main.js')} "$@"; }`
  const child = spawn('bash', ['-c', `set -eu -o pipefail\n${npx}\n${script}`], {
    cwd,
    detached: true,
    env: { PATH: process.env['PATH'], HOME: tmpdir() },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // The group: what the script left running in the background ends with it.
  const end = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // All of it has ended by itself.
    }
  }
  onTestFinished(end)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [exitCode] = (await once(child, 'exit')) as [number | null]
  end()
  return { exitCode, output }
}

function aPlaceInTheCheckout(): string {
  const place = mkdtempSync(join(ROOT, '.docs-test-'))
  onTestFinished(() => rmSync(place, { recursive: true, force: true }))
  return place
}

test('the commands of the README run, in their order', async () => {
  const place = aPlaceInTheCheckout()
  const receiver = blocks(README, 'js').find((block) => block.startsWith('// receiver.mjs'))
  expect(receiver?.trim().split('\n').length).toBeLessThanOrEqual(24)
  writeFileSync(join(place, 'receiver.mjs'), receiver!)
  const commands = blocks(README, 'sh').filter((block) => !block.startsWith('npm ci'))
  expect(commands.length).toBeGreaterThanOrEqual(3)
  const { exitCode, output } = await runScript(commands.join('\n'), place)
  expect(output).toContain('"status":"pending"')
  expect(output).toContain('task.succeeded')
  expect(output).toContain('ok-1s-my-picture|succeeded|')
  expect(exitCode, output).toBe(0)
})

test('npm run demo is the demo, and it ends as the README says', async () => {
  expect(blocks(README, 'sh').slice(0, 2)).toEqual(['npm ci && npm run demo\n', 'npm ci && npm test\n'])
  const { exitCode, output } = await runScript('npm run --silent demo -- --tasks 3 --once', ROOT)
  expect(output.trim().split('\n').at(-1)).toBe('3 of 3 webhooks delivered and verified')
  expect(exitCode).toBe(0)
})

/** They take an hour together, and each of their tests runs with the others anyway: what can rot is their names. */
describe('the commands of docs/testing.md', () => {
  const lines = blocks(read('docs/testing.md'), 'sh').flatMap((block) => block.trim().split('\n'))
  const commands = lines.map((line) => line.replace(/\s+#.*$/, ''))

  test.each(commands)('%s', (command) => {
    const { variables, words } = partsOf(command)
    const files = scriptOf(words) ?? words.filter((word) => word.startsWith('test/'))
    expect(files.length).toBeGreaterThan(0)
    for (const file of files) expect(existsSync(join(ROOT, file)), file).toBe(true)
    // Whoever is told to set a variable or an option, or to look for a name, finds somebody who reads it.
    const source = files.flatMap((file) => sourcesAt(file)).join('\n')
    for (const variable of variables) expect(source).toMatch(new RegExp(`process\\.env(\\['|\\.)${variable}\\b`))
    for (const option of words.filter((word) => word.startsWith('--') && word.length > 2)) {
      expect(source).toContain(`${option.slice(2)}: {`)
    }
    // It is part of a title: nothing would run, and nothing would fail, if it were of none.
    const name = words[words.indexOf('-t') + 1]
    if (words.includes('-t')) expect(source).toMatch(new RegExp(`(test|\\]\\))(<.*>)?\\('.*\\b${name}\\b`))
  })

  test.each([
    'promises',
    'simulation',
    'marks',
    'mutants',
    'fault enumeration',
    'kills',
    'stop and continue',
    'full disk',
    'foreign writer',
    'second daemon',
    'replaced file',
    'fault catalogue',
    'address guard',
    'hostile receivers',
    'hostile upstreams',
    'canaries',
    'API fuzz',
    'slow clients and floods',
  ])('show %s with one of them', (claim) => {
    expect(lines.filter((line) => new RegExp(`# ${claim}(:|$)`).test(line))).toHaveLength(1)
  })

  test('are of two kinds: scripts of the package, and runs of some tests', () => {
    for (const command of commands) expect(command).toMatch(/^([A-Z_]+=\S+ )*(npm run |npx vitest run )/)
    expect(commands.length).toBeGreaterThan(15)
  })
})

function partsOf(command: string): { variables: readonly string[]; words: readonly string[] } {
  const words = [...command.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)
  const isVariable = (word: string) => /^[A-Z_]+=/.test(word)
  return {
    variables: words.filter(isVariable).map((word) => word.slice(0, word.indexOf('='))),
    words: words.filter((word) => !isVariable(word)),
  }
}

/** The file that `npm run …` runs; null for other commands. */
function scriptOf([program, verb, name = '']: readonly string[]): readonly string[] | null {
  if (program !== 'npm' || verb !== 'run') return null
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Readonly<Record<string, string>> }
  expect(Object.keys(scripts)).toContain(name)
  return (scripts[name] ?? '').split(' ').filter((word) => /\.(mjs|json)$/.test(word))
}

function sourcesAt(path: string): readonly string[] {
  if (!statSync(join(ROOT, path)).isDirectory()) return [read(path)]
  return readdirSync(join(ROOT, path), { encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(join(path, name)))
}

test('the settings table of the README is the table of the program', () => {
  expect(README).toContain(
    `<!-- settings: generated from src/config.ts, compared by a test -->\n${settingsTable().trim()}\n`,
  )
})

test.each([
  ['A task', TASK_TRANSITIONS],
  ['A delivery', DELIVERY_TRANSITIONS],
  ['An endpoint', ENDPOINT_TRANSITIONS],
  ['A job', JOB_TRANSITIONS],
])('%s: the picture in docs/states.md is the table in core', (heading, transitions) => {
  const section =
    read('docs/states.md')
      .split(/^## /m)
      .find((part) => part.startsWith(`${heading}\n`)) ?? ''
  const drawn = [...section.matchAll(/^ {2}(\w+) --> (\w+)$/gm)].map((match) => `${match[1]} ${match[2]}`)
  const meant = Object.entries(transitions).flatMap(([from, tos]) => tos.map((to: string) => `${from} ${to}`))
  expect(drawn.sort()).toEqual(meant.sort())
})

test.each(documents)('every link of %s leads somewhere', (document) => {
  const links = [...read(document).matchAll(/\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)/g)].map((match) => match[1]!)
  for (const link of links) expect(existsSync(join(ROOT, dirname(document), link)), link).toBe(true)
})

test.each(documents)('every path of the source that %s names is there', (document) => {
  const paths = [...read(document).matchAll(/`((?:src|test|migrations|examples|docs|bench)\/[\w./-]+)`/g)].map(
    (match) => match[1]!,
  )
  for (const path of paths) expect(existsSync(join(ROOT, path)), path).toBe(true)
})
