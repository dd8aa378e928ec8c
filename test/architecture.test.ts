/** Who may import whom in src/, where things may be named, and how large they may grow: the layout, held by a test. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { describe, expect, test } from 'vitest'

/** Source text by its path below src/, with forward slashes. */
type Sources = ReadonlyMap<string, string>

interface Part {
  /** Other parts that it may know. */
  readonly knows: readonly string[]
  /** Packages and Node's own modules that it may import: a prefix each. Absent: any. */
  readonly packages?: readonly string[]
}

const PORT_OF_STORE = ['store/attempts.ts', 'store/jobs.ts', 'store/operator.ts', 'store/pull.ts']
const RULES_AND_PORTS = ['core', 'ports.ts', 'store/store.ts', ...PORT_OF_STORE]
const SETTINGS_AND_LOG = ['config.ts', 'setting.ts', 'log.ts', 'metrics.ts', 'secret-file.ts', 'system.ts', 'vault.ts']
const CONCRETE = ['engine', 'http', 'store/index.ts', 'store/*', 'store-thread.ts', 'upstream/*', 'webhook']

/**
 * Imports point one way: main → cli → daemon → {http, engine, store/*, upstream, webhook} → ports, store/store → core.
 * A part is a folder, or a file that stands alone. Every file of src/ belongs to one of these.
 */
const PARTS: Readonly<Record<string, Part>> = {
  core: { knows: [], packages: ['node:crypto'] },
  'ports.ts': { knows: ['core'], packages: [] },
  'store/store.ts': { knows: ['core', 'ports.ts', ...PORT_OF_STORE], packages: [] },
  'store/attempts.ts': { knows: ['core', 'ports.ts'], packages: [] },
  'store/jobs.ts': { knows: ['core'], packages: [] },
  'store/operator.ts': { knows: ['core'], packages: [] },
  'store/pull.ts': { knows: ['core'], packages: [] },

  engine: { knows: RULES_AND_PORTS, packages: ['node-cron', 'node:events'] },
  http: { knows: RULES_AND_PORTS },
  webhook: { knows: ['core', 'ports.ts'] },
  'upstream/*': { knows: ['core', 'ports.ts'] },
  'store/*': { knows: RULES_AND_PORTS },
  'store/index.ts': { knows: [...RULES_AND_PORTS, 'store/*'] },
  sandbox: { knows: ['core'], packages: ['node:'] },

  'setting.ts': { knows: ['core'] },
  'config.ts': { knows: ['core', 'setting.ts'] },
  'log.ts': { knows: ['core', 'ports.ts', 'config.ts'] },
  'metrics.ts': { knows: ['core', 'ports.ts'] },
  'secret-file.ts': { knows: ['core'] },
  'system.ts': { knows: ['core', 'ports.ts'] },
  'vault.ts': { knows: ['core', 'ports.ts'] },

  'store-thread.ts': { knows: ['store/*', 'system.ts', 'vault.ts'], packages: ['node:worker_threads'] },
  'daemon.ts': { knows: [...RULES_AND_PORTS, ...SETTINGS_AND_LOG, ...CONCRETE] },
  cli: { knows: [...RULES_AND_PORTS, ...SETTINGS_AND_LOG, ...CONCRETE, 'sandbox', 'daemon.ts'] },
  'main.ts': { knows: ['cli', 'config.ts'] },
}

/** The one place of a package that shapes what imports it. */
const PACKAGE_HOMES: Readonly<Record<string, string>> = {
  'node-cron': 'engine/pace.ts',
  'better-sqlite3': 'store/sqlite/',
  'drizzle-orm': 'store/',
  pg: 'store/postgres/',
  pino: 'log.ts',
  commander: 'cli/',
  'ipaddr.js': 'webhook/',
}

/** Nobody imports these: Node runs the first, drizzle-kit reads the others. */
const ENTRY_FILES = ['main.ts', 'store/sqlite/schema.ts', 'store/postgres/schema.ts']

const LINE_COUNT_MAX = 400
const EMPTY_NAMES = ['util', 'utils', 'helper', 'helpers', 'manager', 'managers', 'common', 'misc']

/** The folder or file that a path belongs to; each store and each upstream is a part of its own. */
function partOf(path: string): string {
  const [first = '', second] = path.split('/')
  return (first === 'store' || first === 'upstream') && second !== undefined ? `${first}/${second}` : first
}

function ruleOf(part: string): Part | undefined {
  return PARTS[part] ?? (part.endsWith('.ts') ? undefined : PARTS[`${dirname(part)}/*`])
}

function knows(rule: Part, part: string): boolean {
  return rule.knows.includes(part) || (!part.endsWith('.ts') && rule.knows.includes(`${dirname(part)}/*`))
}

/** Leaves strings alone, and with them what only looks like a comment. */
function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/(^|\s)\/\/.*$/gm, '$1')
}

const IMPORT_FORMS = [
  /^\s*(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  /^\s*import\s*['"]([^'"]+)['"]/gm,
  /\bimport\(\s*['"]([^'"]+)['"]/g,
  // A worker is started from a URL of the built file.
  /\bnew URL\(\s*['"](\.[^'"]+\.[jt]sx?)['"]/g,
]

interface Imports {
  /** Paths below src/. */
  readonly files: readonly string[]
  readonly packages: readonly string[]
}

function importsOf(path: string, text: string): Imports {
  const code = withoutComments(text)
  const names = IMPORT_FORMS.flatMap((form) => [...code.matchAll(form)].map((match) => match[1] ?? ''))
  const isFile = (name: string) => name.startsWith('.')
  const toPath = (name: string) => posix.join(posix.dirname(path), name.replace(/\.js(x?)$/, '.ts$1'))
  return {
    files: names.filter(isFile).map(toPath),
    packages: names.filter((name) => !isFile(name)),
  }
}

function directionProblems(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, text]) => {
    const part = partOf(path)
    const rule = ruleOf(part)
    if (rule === undefined)
      return [`src/${path} belongs to no part: give "${part}" a place in PARTS, or move it into one`]
    const { files, packages } = importsOf(path, text)
    const foreign = files.filter((file) => partOf(file) !== part && !knows(rule, partOf(file)))
    const unlisted = packages.filter((name) => rule.packages?.some((prefix) => name.startsWith(prefix)) === false)
    return [
      ...foreign.map((file) => `src/${path} imports src/${file}: ${part} may know ${listed(rule.knows)}`),
      ...unlisted.map((name) => `src/${path} imports "${name}": ${part} may import ${listed(rule.packages ?? [])}`),
    ]
  })
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'nothing' : `only ${names.join(', ')}`
}

function packageHomeProblems(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, text]) =>
    importsOf(path, text).packages.flatMap((name) => {
      const home = PACKAGE_HOMES[name] ?? PACKAGE_HOMES[name.split('/')[0] ?? '']
      return home === undefined || path.startsWith(home)
        ? []
        : [`src/${path} imports "${name}": its place is src/${home}`]
    }),
  )
}

function orphanProblems(sources: Sources): readonly string[] {
  const imported = new Set([...sources].flatMap(([path, text]) => importsOf(path, text).files))
  return [...sources.keys()]
    .filter((path) => !imported.has(path) && !ENTRY_FILES.includes(path))
    .map((path) => `src/${path} is imported by no file: wire it up or delete it`)
}

function environmentProblems(sources: Sources): readonly string[] {
  return [...sources]
    .filter(([path, text]) => path !== 'main.ts' && /\bprocess\s*\.\s*env\b|\bprocess\[/.test(withoutComments(text)))
    .map(([path]) => `src/${path} reads process.env: only src/main.ts does, and hands it on`)
}

function waitingProblems(sources: Sources): readonly string[] {
  return [...sources]
    .filter(([path]) => partOf(path) === 'core')
    .flatMap(([path, text]) => {
      const word = /\b(async|await|Promise)\b/.exec(withoutComments(text))?.[0]
      return word === undefined
        ? []
        : [`src/${path} says "${word}": rules are synchronous, waiting belongs into engine/`]
    })
}

function sizeProblems(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, text]) => {
    const lineCount = text.trimEnd().split('\n').length
    return lineCount <= LINE_COUNT_MAX
      ? []
      : [`src/${path} has ${lineCount} lines, at most ${LINE_COUNT_MAX}: a noun is missing`]
  })
}

function nameProblems(paths: readonly string[]): readonly string[] {
  return paths.flatMap((path) => {
    const word = path.split(/[/.-]/).find((part) => EMPTY_NAMES.includes(part.toLowerCase()))
    return word === undefined ? [] : [`${path}: "${word}" names nothing; name it after what it does`]
  })
}

/** The files below a folder of the project, by their paths below it. */
function readSources(folder: string): Sources {
  const root = join(import.meta.dirname, '..', folder)
  const entries = readdirSync(root, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
  return new Map(paths.toSorted().map((path) => [path, readFileSync(join(root, path), 'utf8')]))
}

describe('src/', () => {
  const sources = readSources('src')

  test('is imported in one direction only', () => {
    expect(directionProblems(sources)).toEqual([])
  })

  test('keeps each package in its place', () => {
    expect(packageHomeProblems(sources)).toEqual([])
  })

  test('has no file that nothing imports', () => {
    expect(orphanProblems(sources)).toEqual([])
  })

  test('reads the environment in main.ts alone', () => {
    expect(environmentProblems(sources)).toEqual([])
  })

  test('never waits in core/', () => {
    expect(waitingProblems(sources)).toEqual([])
  })

  test(`has no file of more than ${LINE_COUNT_MAX} lines`, () => {
    expect(sizeProblems(sources)).toEqual([])
  })

  test('has no name that says nothing, and neither has test/', () => {
    const testPaths = [...readSources('test').keys()].map((path) => `test/${path}`)
    expect(nameProblems([...sources.keys()].map((path) => `src/${path}`).concat(testPaths))).toEqual([])
  })
})

describe('these rules see', () => {
  const importing = (path: string, ...names: readonly string[]): Sources =>
    new Map([[path, names.map((name) => `import type { X } from '${name}'`).join('\n')]])

  test('every form of an import, and no import in a comment', () => {
    const text = [
      "import './a.ts'",
      "import { type B,\n  C } from './b.ts'",
      "export * from './c.ts'",
      'export type { D } from "./d.ts"',
      "const { e } = await import('./e.ts')",
      "new Worker(new URL('./f.js', import.meta.url))",
      "import g, * as h from 'g'",
      "// import './comment.ts'",
      "/**\n * import './comment.ts'\n */",
    ].join('\n')
    const { files, packages } = importsOf('x/y.ts', text)
    expect([...files].toSorted()).toEqual(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `x/${name}.ts`))
    expect(packages).toEqual(['g'])
  })

  test.each([
    ['core/task.ts', '../ports.ts'],
    ['core/task.ts', 'node:fs'],
    ['ports.ts', './engine/loop.ts'],
    ['store/store.ts', './sqlite/store.ts'],
    ['engine/loop.ts', '../store/sqlite/store.ts'],
    ['engine/loop.ts', '../webhook/post.ts'],
    ['engine/loop.ts', '../log.ts'],
    ['engine/loop.ts', 'node:timers'],
    ['http/server.ts', '../engine/register.ts'],
    ['webhook/post.ts', '../upstream/aidge/client.ts'],
    ['upstream/aidge/client.ts', '../other/client.ts'],
    ['store/postgres/store.ts', '../sqlite/store.ts'],
    ['sandbox/aidge.ts', '../upstream/aidge/sign.ts'],
    ['sandbox/aidge.ts', 'undici'],
    ['config.ts', './log.ts'],
    ['http/server.ts', '../config.ts'],
    ['daemon.ts', './cli/serve.ts'],
    ['daemon.ts', './sandbox/aidge.ts'],
    ['cli/serve.ts', '../main.ts'],
    ['main.ts', './daemon.ts'],
    ['stray.ts', 'node:fs'],
    ['anywhere/stray.ts', 'node:fs'],
  ])('that %s may not import %s', (path, name) => {
    expect(directionProblems(importing(path, name))).toHaveLength(1)
  })

  test.each([
    ['core/task.ts', './time.ts', 'node:crypto'],
    ['store/store.ts', '../ports.ts', '../core/task.ts'],
    ['engine/pace.ts', '../ports.ts', '../store/store.ts', 'node-cron'],
    ['store/sqlite/store.ts', '../store.ts', './schema.ts', '../../core/task.ts'],
    ['store/index.ts', './sqlite/store.ts', './postgres/store.ts'],
    ['upstream/aidge/client.ts', './sign.ts', '../../ports.ts', 'undici'],
    ['sandbox/receiver.ts', '../core/signature.ts', 'node:http'],
    ['daemon.ts', './webhook/post.ts', './config.ts', './store/sqlite/store.ts', './log.ts'],
    ['cli/serve.ts', '../daemon.ts', '../sandbox/aidge.ts', '../webhook/address-guard.ts', '../log.ts'],
    ['main.ts', './cli/program.ts', './config.ts'],
  ])('that %s may import %s and the like', (path, ...names) => {
    expect(directionProblems(importing(path, ...names))).toEqual([])
  })

  test('a package outside its place', () => {
    expect(packageHomeProblems(importing('engine/loop.ts', 'node-cron'))).toHaveLength(1)
    expect(packageHomeProblems(importing('http/server.ts', 'drizzle-orm/sqlite-core'))).toHaveLength(1)
    expect(packageHomeProblems(importing('engine/pace.ts', 'node-cron'))).toEqual([])
  })

  test('a file that nothing imports', () => {
    const tree = new Map([
      ...importing('main.ts', './cli/a.ts'),
      ['cli/a.ts', ''],
      ['cli/b.ts', ''],
      ['store/sqlite/schema.ts', ''],
    ])
    expect(orphanProblems(tree)).toEqual(['src/cli/b.ts is imported by no file: wire it up or delete it'])
  })

  test('the environment, waiting, size and empty names', () => {
    expect(environmentProblems(new Map([['cli/a.ts', 'const home = process.env.HOME']]))).toHaveLength(1)
    expect(environmentProblems(new Map([['main.ts', 'run(process.env)']]))).toEqual([])
    expect(environmentProblems(new Map([['cli/a.ts', '// process.env is read elsewhere']]))).toEqual([])
    expect(waitingProblems(new Map([['core/a.ts', 'export async function a() {}']]))).toHaveLength(1)
    expect(waitingProblems(new Map([['engine/a.ts', 'export async function a() {}']]))).toEqual([])
    expect(sizeProblems(new Map([['core/a.ts', 'x\n'.repeat(401)]]))).toHaveLength(1)
    expect(sizeProblems(new Map([['core/a.ts', 'x\n'.repeat(400)]]))).toEqual([])
    expect(nameProblems(['src/utils/a.ts', 'src/a-helper.ts', 'src/uncommon.ts'])).toHaveLength(2)
  })
})
