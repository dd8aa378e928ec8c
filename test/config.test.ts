/** Settings: how each is read, which source wins, and that everything wrong is told at once. */

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Config,
  type ConfigSources,
  configLogFields,
  readConfig,
  settingEntries,
  settingsTable,
  shownSettings,
} from '../src/config.ts'
import { ConfigError } from '../src/core/errors.ts'
import { RETRY_SCHEDULE_MS } from '../src/core/retry.ts'
import { databasePathOf } from '../src/setting.ts'

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

function read(sources: Partial<ConfigSources>) {
  return readConfig({ flags: {}, env: {}, dotenv: null, ...sources })
}

function configOf(env: Record<string, string>): Config {
  return read({ env }).config
}

function problemsOf(sources: Partial<ConfigSources>): readonly string[] {
  try {
    read(sources)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringback-config-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function aFile(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

describe('without any setting', () => {
  test('every default is the documented one', () => {
    expect(configOf({})).toEqual({
      databaseUrl: 'file:./ringback.db',
      host: '127.0.0.1',
      port: 7464,
      apiToken: '',
      apiReadToken: '',
      signingSecret: '',
      secretKey: '',
      callbackAllow: [],
      pollRate: 10,
      pollConcurrency: 16,
      pollIntervalMinMs: 1_000,
      pollIntervalMaxMs: 60_000,
      pollCostMs: 500,
      taskDeadlineMs: 86_400_000,
      retryScheduleMs: RETRY_SCHEDULE_MS,
      deliveryTimeoutMs: 20_000,
      deliveryConcurrency: 64,
      endpointConcurrency: 8,
      shutdownGraceMs: 25_000,
      retentionMs: 2_592_000_000,
      logLevel: 'info',
      operatorUrl: '',
      aidgeAccessKeyName: '',
      aidgeAccessKeySecret: '',
      aidgeBaseUrl: 'https://api.aidc-ai.com',
      aidgeTrial: false,
      aidgeKinds: '',
      url: '',
    })
  })

  test('it warns that Aidge will refuse', () => {
    expect(read({}).warnings).toEqual([expect.stringContaining('AIDGE_ACCESS_KEY_NAME')])
  })
})

describe('a value is read', () => {
  test.each<[string, string, keyof Config, unknown]>([
    ['RINGBACK_DATABASE_URL', 'file:///var/lib/r.db', 'databaseUrl', 'file:///var/lib/r.db'],
    ['RINGBACK_PORT', '0', 'port', 0],
    ['RINGBACK_PORT', '65535', 'port', 65_535],
    ['RINGBACK_HOST', '::1', 'host', '::1'],
    [
      'RINGBACK_CALLBACK_ALLOW',
      ' 127.0.0.0/8, Hooks.Internal ,fd00::/8',
      'callbackAllow',
      ['127.0.0.0/8', 'hooks.internal', 'fd00::/8'],
    ],
    ['RINGBACK_POLL_RATE', '0.5', 'pollRate', 0.5],
    ['RINGBACK_POLL_RATE', '10000', 'pollRate', 10_000],
    ['RINGBACK_POLL_INTERVAL_MIN', '250ms', 'pollIntervalMinMs', 250],
    ['RINGBACK_RETRY_SCHEDULE', '0s, 5s,1.5m', 'retryScheduleMs', [0, 5_000, 90_000]],
    ['RINGBACK_SHUTDOWN_GRACE', '0s', 'shutdownGraceMs', 0],
    ['RINGBACK_LOG_LEVEL', 'SILENT', 'logLevel', 'silent'],
    ['RINGBACK_SIGNING_SECRET', SECRET, 'signingSecret', SECRET],
    ['AIDGE_BASE_URL', 'http://127.0.0.1:7465/', 'aidgeBaseUrl', 'http://127.0.0.1:7465'],
    ['AIDGE_TRIAL', 'true', 'aidgeTrial', true],
    ['AIDGE_KINDS', '[{"name":"x"}]', 'aidgeKinds', '[{"name":"x"}]'],
  ])('%s=%s', (env, text, name, value) => {
    expect(configOf({ [env]: text })[name]).toEqual(value)
  })

  test('an empty text counts as not given', () => {
    expect(configOf({ RINGBACK_PORT: '' }).port).toBe(7464)
  })

  test.each([
    ['file:./ringback.db', './ringback.db'],
    ['file:ringback.db', 'ringback.db'],
    ['file:/var/lib/ringback.db', '/var/lib/ringback.db'],
    ['file:///var/lib/ringback.db', '/var/lib/ringback.db'],
    ['file://host/ringback.db', ''],
    ['ringback.db', ''],
  ])('the database of %s is %s', (url, path) => {
    expect(databasePathOf(url)).toBe(path)
  })
})

describe('a value is refused, by name', () => {
  test.each([
    ['RINGBACK_DATABASE_URL', 'ringback.db'],
    ['RINGBACK_DATABASE_URL', 'file:'],
    ['RINGBACK_DATABASE_URL', 'file::memory:'],
    ['RINGBACK_DATABASE_URL', 'file:a.db?mode=ro'],
    ['RINGBACK_DATABASE_URL', 'file://host/a.db'],
    ['RINGBACK_HOST', 'http://localhost'],
    ['RINGBACK_HOST', '10.0.0.256'],
    ['RINGBACK_PORT', '65536'],
    ['RINGBACK_PORT', '-1'],
    ['RINGBACK_PORT', '80a'],
    ['RINGBACK_API_TOKEN', 'two words'],
    ['RINGBACK_API_TOKEN', 'naïve'],
    ['RINGBACK_SIGNING_SECRET', 'whsec_short'],
    ['RINGBACK_CALLBACK_ALLOW', 'http://x.test'],
    ['RINGBACK_CALLBACK_ALLOW', '10.0.0.0/33'],
    ['RINGBACK_CALLBACK_ALLOW', '10.0.0.0/8,'],
    ['RINGBACK_CALLBACK_ALLOW', 'x.test/8'],
    ['RINGBACK_POLL_RATE', '0'],
    ['RINGBACK_POLL_RATE', '10001'],
    ['RINGBACK_POLL_RATE', '1e3'],
    ['RINGBACK_POLL_CONCURRENCY', '0'],
    ['RINGBACK_POLL_CONCURRENCY', '1.5'],
    ['RINGBACK_POLL_INTERVAL_MIN', '0s'],
    ['RINGBACK_POLL_INTERVAL_MAX', '10'],
    ['RINGBACK_DELIVERY_TIMEOUT', '11m'],
    ['RINGBACK_RETRY_SCHEDULE', '0s,,5s'],
    ['RINGBACK_RETRY_SCHEDULE', '31d'],
    ['RINGBACK_RETRY_SCHEDULE', Array.from({ length: 51 }, () => '1s').join(',')],
    ['RINGBACK_LOG_LEVEL', 'verbose'],
    ['AIDGE_BASE_URL', 'ftp://api.aidc-ai.com'],
    ['AIDGE_BASE_URL', 'api.aidc-ai.com'],
    ['AIDGE_BASE_URL', 'https://h/?a=b'],
    ['AIDGE_BASE_URL', 'https://user@h/'],
    ['AIDGE_TRIAL', 'maybe'],
    ['AIDGE_KINDS', '{'],
    ['AIDGE_KINDS', '"x"'],
    ['RINGBACK_URL', 'localhost:7464'],
  ])('%s=%s', (env, text) => {
    expect(problemsOf({ env: { [env]: text } })[0]).toMatch(new RegExp(`^${env}: expected `))
  })

  test('with the value, unless it may hold a secret', () => {
    expect(problemsOf({ env: { RINGBACK_POLL_COST: 'soon' } })).toEqual([
      'RINGBACK_POLL_COST: expected a duration such as 500ms, 30s, 2h or 7d, got "soon"',
    ])
    const env = {
      RINGBACK_SIGNING_SECRET: 'whsec_Hidden',
      RINGBACK_DATABASE_URL: 'postgres://u:Hidden@h/db',
      AIDGE_BASE_URL: 'https://u:Hidden@h',
    }
    const problems = problemsOf({ env })
    expect(problems).toHaveLength(3)
    expect(problems.join()).not.toContain('Hidden')
  })

  test('PostgreSQL with the reason', () => {
    expect(problemsOf({ env: { RINGBACK_DATABASE_URL: 'postgres://h/db' } })).toEqual([
      expect.stringContaining('keeps its state in SQLite'),
    ])
  })

  test("a port that is Kubernetes's link to a service of our name, with the remedy", () => {
    expect(problemsOf({ env: { RINGBACK_PORT: 'tcp://10.0.0.1:80' } })[0]).toContain('enableServiceLinks')
  })

  test('all of them at once', () => {
    const problems = problemsOf({
      flags: { RINGBACK_PORT: 'x' },
      env: { RINGBACK_POLL_RATE: '0', RINGBACK_POL_RATE: '1', RINGBACK_API_TOKEN_FILE: join(folder, 'none') },
      dotenv: 'RINGBACK_LOG_LEVEL=loud\nRINGBACK_POLL_INTERVAL_MIN=5m\nRINGBACK_API_TOKEN hidden',
    })
    expect(problems).toHaveLength(7)
    expect(problems.join()).not.toContain('hidden')
    for (const part of [
      'PORT:',
      'POLL_RATE:',
      'did you mean RINGBACK_POLL_RATE',
      'TOKEN_FILE: cannot read',
      'LOG_LEVEL:',
      'INTERVAL_MIN',
      'begins with "RINGBACK_API_TOKEN"',
    ]) {
      expect(problems.join('\n')).toContain(part)
    }
  })
})

test('a value that is too long to be a slip is not repeated', () => {
  const [problem = ''] = problemsOf({ env: { RINGBACK_LOG_LEVEL: 'x'.repeat(300) } })
  expect(problem).toContain('RINGBACK_LOG_LEVEL: expected one of')
  expect(problem).not.toContain('xx')
})

describe('settings that contradict each other', () => {
  test('a shortest wait that is longer than the longest', () => {
    expect(problemsOf({ env: { RINGBACK_POLL_INTERVAL_MIN: '2m' } })).toEqual([
      'RINGBACK_POLL_INTERVAL_MIN (2m) must not be longer than RINGBACK_POLL_INTERVAL_MAX (1m)',
    ])
    expect(configOf({ RINGBACK_POLL_INTERVAL_MIN: '60s' }).pollIntervalMinMs).toBe(60_000)
  })

  test.each(['0.0.0.0', '::', '192.168.1.5', 'example.com'])('a daemon on %s without a token', (host) => {
    expect(problemsOf({ env: { RINGBACK_HOST: host } })[0]).toContain('RINGBACK_API_TOKEN is needed')
    expect(problemsOf({ env: { RINGBACK_HOST: host, RINGBACK_API_TOKEN: 'a-long-enough-token' } })).toEqual([])
  })

  test.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('but not on %s', (host) => {
    expect(problemsOf({ env: { RINGBACK_HOST: host } })).toEqual([])
  })

  test('a token to look with that is the token that opens everything', () => {
    const token = 'a-long-enough-token'
    expect(problemsOf({ env: { RINGBACK_API_TOKEN: token, RINGBACK_API_READ_TOKEN: token } })).toEqual([
      'RINGBACK_API_READ_TOKEN is the same as RINGBACK_API_TOKEN: it would open everything',
    ])
    expect(problemsOf({ env: { RINGBACK_API_READ_TOKEN: token } })).toEqual([])
  })

  test('half an access key', () => {
    expect(problemsOf({ env: { AIDGE_ACCESS_KEY_NAME: '500123' } })[0]).toContain('AIDGE_ACCESS_KEY_SECRET is not set')
    expect(problemsOf({ env: { AIDGE_ACCESS_KEY_SECRET: 's' } })[0]).toContain('AIDGE_ACCESS_KEY_NAME is not set')
  })
})

describe('a variable that is no setting', () => {
  test.each([
    ['RINGBACK_PROT', '; did you mean RINGBACK_PORT?'],
    ['AIDGE_ACCESS_KEY_SECRETS', '; did you mean AIDGE_ACCESS_KEY_SECRET?'],
    ['RINGBACK_ENTIRELY_DIFFERENT', ''],
    ['RINGBACK_PORT_FILE', '; only secrets can come from a file'],
  ])('%s is a problem', (name, hint) => {
    expect(problemsOf({ env: { [name]: '1' } })).toEqual([expect.stringMatching(`^${name}: no such setting`)])
    expect(problemsOf({ dotenv: `${name}=1` })[0]).toContain(hint)
  })

  test('is nobody’s business when it is of another program, or a Kubernetes service link', () => {
    const env = {
      PATH: '/bin',
      MY_RINGBACK_PORT: '1',
      RINGBACK_SERVICE_HOST: '10.0.0.1',
      RINGBACK_PORT_7464_TCP_ADDR: '10.0.0.1',
    }
    expect(problemsOf({ env })).toEqual([])
  })
})

describe('where a value comes from', () => {
  test('a flag goes before the environment, that before .env, and that before the default', () => {
    const dotenv = '\uFEFF# comment\nRINGBACK_PORT=3\nRINGBACK_POLL_RATE="3" # why\nRINGBACK_HOST=127.0.0.3\n'
    const { config, origins } = read({
      flags: { RINGBACK_PORT: '1' },
      env: { RINGBACK_PORT: '2', RINGBACK_POLL_RATE: '2' },
      dotenv,
    })
    expect([config.port, config.pollRate, config.host, config.logLevel]).toEqual([1, 2, '127.0.0.3', 'info'])
    expect([origins.port, origins.pollRate, origins.host, origins.logLevel].map(({ kind }) => kind)).toEqual([
      'flag',
      'environment',
      '.env',
      'default',
    ])
  })

  test('a secret in a file loses one line end and nothing else', () => {
    const path = aFile('token', ' not trimmed\n\n')
    expect(problemsOf({ env: { RINGBACK_API_TOKEN_FILE: path } })[0]).toMatch(/^RINGBACK_API_TOKEN: expected/)
    const { config, origins, warnings } = read({
      env: { RINGBACK_API_TOKEN_FILE: aFile('token', 'a-token-of-some-length\r\n'), AIDGE_ACCESS_KEY_NAME: 'n' },
      dotenv: `AIDGE_ACCESS_KEY_SECRET_FILE=${aFile('key', 's3cret')}`,
    })
    expect(config.apiToken).toBe('a-token-of-some-length')
    expect(config.aidgeAccessKeySecret).toBe('s3cret')
    expect(origins.apiToken).toEqual({ kind: 'environment', file: path })
    expect(warnings).toEqual([])
  })

  test('a secret both in place and in a file is a problem, unless one source outranks the other', () => {
    const RINGBACK_API_TOKEN_FILE = aFile('token', 'from-file')
    expect(problemsOf({ env: { RINGBACK_API_TOKEN: 'x', RINGBACK_API_TOKEN_FILE } })).toEqual([
      'RINGBACK_API_TOKEN and RINGBACK_API_TOKEN_FILE are both set: keep one',
    ])
    const outranked = read({ env: { RINGBACK_API_TOKEN_FILE }, dotenv: 'RINGBACK_API_TOKEN=x' })
    expect(outranked.config.apiToken).toBe('from-file')
  })

  test('a secret file that others can read is a warning, an empty one a problem', () => {
    const env = { RINGBACK_SIGNING_SECRET_FILE: aFile('secret', SECRET, 0o640) }
    expect(read({ env }).warnings[0]).toContain('chmod 600')
    expect(problemsOf({ env: { RINGBACK_API_TOKEN_FILE: aFile('empty', '\n') } })[0]).toContain('is empty')
  })
})

describe('what is shown of the settings', () => {
  const env = {
    RINGBACK_API_TOKEN: 'planted-token-123',
    RINGBACK_SIGNING_SECRET: SECRET,
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: 'planted-key',
    RINGBACK_RETRY_SCHEDULE: '0s,90s',
  }

  test('has every setting with its origin, and secrets only as set or unset', () => {
    const shown = shownSettings(read({ env }))
    expect(shown.map(({ name }) => name)).toEqual(settingEntries().map(([name]) => name))
    const valueIn = (name: string) => shown.find((one) => one.env === name)?.value
    expect(valueIn('RINGBACK_API_TOKEN')).toBe('set')
    expect(valueIn('RINGBACK_RETRY_SCHEDULE')).toBe('0s,90s')
    expect(valueIn('RINGBACK_TASK_DEADLINE')).toBe('24h')
    expect(shownSettings(read({})).find((one) => one.name === 'signingSecret')?.value).toBe('unset')
    const everything = JSON.stringify([shown, configLogFields(read({ env }).config)])
    for (const secret of ['planted-token-123', SECRET, 'planted-key']) expect(everything).not.toContain(secret)
  })

  test('in the table of the README is one row for each, with its default', () => {
    const rows = settingsTable().split('\n').slice(2)
    expect(rows).toHaveLength(settingEntries().length)
    expect(rows).toContain('| `RINGBACK_PORT` | `7464` | The port that they listen on; 0 takes a free one. |')
    expect(rows.filter((row) => row.includes('_FILE'))).toHaveLength(6)
  })

  test('in .env.example is every setting with its default, commented out', () => {
    const example = readFileSync(new URL('../.env.example', import.meta.url), 'utf8')
    const given = example.split('\n').filter((line) => /^#?[A-Z_]+=/.test(line))
    expect(given).toEqual(settingEntries().map(([, { env, fallback }]) => `#${env}=${fallback}`))
    const uncommented = given.map((line) => line.slice(1)).join('\n')
    expect(read({ dotenv: uncommented }).config).toEqual(configOf({}))
  })
})
