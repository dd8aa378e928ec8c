/** The command line as a whole: help, slips of the pen, settings. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { command, inFolder } from './console.ts'

const folder = inFolder()

describe('asking for help', () => {
  test('shows every command on stdout', async () => {
    const { exitCode, stdout, stderr } = await command(['--help'])
    expect(exitCode).toBe(0)
    expect(stderr).toBe('')
    for (const name of ['serve', 'demo', 'sandbox', 'tasks', 'deliveries', 'config', 'health']) {
      expect(stdout).toContain(`  ${name}`)
    }
  })

  test('shows a flag for every setting but the secrets', async () => {
    const { stdout } = await command(['serve', '--help'])
    expect(stdout).toContain('--poll-interval-min <duration>')
    expect(stdout).toContain('--aidge-base-url <url>')
    expect(stdout).toContain('RINGBACK_PORT, default 7464')
    expect(stdout).not.toMatch(/--(api-token|signing-secret|aidge-access-key-secret)/)
  })

  test('tells the version of the package', async () => {
    expect(await command(['--version'])).toEqual({ exitCode: 0, stdout: `${packageJson.version}\n`, stderr: '' })
  })
})

describe('a slip of the pen is exit 2, told on stderr, with a remedy', () => {
  test.each<[string, readonly string[], string]>([
    ['an unknown command', ['frobnicate'], "unknown command 'frobnicate'"],
    ['one that is nearly right', ['serv'], 'Did you mean serve?'],
    ['one below another', ['tasks', 'lst'], 'Did you mean list?'],
    ['an unknown flag', ['health', '--prt', '1'], 'Did you mean --port?'],
    ['a missing argument', ['tasks', 'show'], "missing required argument 'id'"],
    ['a status that there is not', ['tasks', 'list', '--status', 'done'], 'pending'],
    ['a limit that there is not', ['tasks', 'list', '--limit', '501'], 'from 1 to 500'],
    ['metadata that is no object', ['tasks', 'add', 'a', '--metadata', '[1]'], 'JSON object'],
    ['no tasks to demonstrate', ['demo', '--tasks', '0'], 'from 1 to 10000'],
    ['half a certificate', ['sandbox', '--tls-key', '/dev/null'], 'go together'],
    ['a duration that is none', ['sandbox', '--finish-after', 'soon'], '500ms'],
  ])('%s', async (_, argv, said) => {
    const { exitCode, stdout, stderr } = await command(argv)
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toContain(said)
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(/^ {2}remedy: /)
  })

  test('no command at all shows the help', async () => {
    const { exitCode, stderr } = await command([])
    expect(exitCode).toBe(2)
    expect(stderr).toContain('Usage: ringback')
  })
})

describe('ringback config', () => {
  test('shows each setting with its origin: flag, environment, .env, default', async () => {
    writeFileSync(join(folder(), '.env'), 'RINGBACK_POLL_RATE=5\nRINGBACK_PORT=1\n')
    const env = { RINGBACK_PORT: '2', RINGBACK_API_TOKEN: 'planted-token' }
    const argv = ['config', '--json', '--poll-cost', '1s']
    const { exitCode, stdout } = await command(argv, { env, folder: folder() })
    const shown = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const of = (name: string) => {
      const { value, origin } = shown.find(({ env: known }) => known === name)
      return [value, origin]
    }
    expect(exitCode).toBe(0)
    expect(of('RINGBACK_POLL_COST')).toEqual(['1s', 'flag'])
    expect(of('RINGBACK_PORT')).toEqual(['2', 'environment'])
    expect(of('RINGBACK_POLL_RATE')).toEqual(['5', '.env'])
    expect(of('RINGBACK_HOST')).toEqual(['127.0.0.1', 'default'])
    expect(of('RINGBACK_API_TOKEN')).toEqual(['set', 'environment'])
    expect(stdout).not.toContain('planted-token')
  })

  test('is a table for people, with warnings beside it', async () => {
    const { stdout, stderr } = await command(['config'])
    expect(stdout).toMatch(/^SETTING +VALUE +FROM\n/)
    expect(stdout).toMatch(/\nRINGBACK_API_TOKEN +unset +default\n/)
    expect(stderr).toContain('warning: AIDGE_ACCESS_KEY_NAME')
  })

  test('tells all problems at once, exit 78', async () => {
    const env = { RINGBACK_PORT: 'x', RINGBACK_PROT: '1', AIDGE_TRIAL: 'perhaps' }
    const { exitCode, stdout, stderr } = await command(['config'], { env })
    expect({ exitCode, stdout }).toEqual({ exitCode: 78, stdout: '' })
    expect(stderr.match(/^ringback: /gm)).toHaveLength(3)
  })

  test('a .env that cannot be read is a problem too', async () => {
    const { exitCode, stderr } = await command(['config'], { folder: '/dev/null' })
    expect(exitCode).toBe(78)
    expect(stderr).toContain('ENOTDIR')
  })
})

describe('wrong settings', () => {
  test.each(['serve', 'tasks list', 'deliveries redeliver dlv_1', 'health'])(
    '%s refuses wrong settings',
    async (line) => {
      const { exitCode } = await command(line.split(' '), { env: { RINGBACK_PORT: 'x' } })
      expect(exitCode).toBe(78)
    },
  )
})
