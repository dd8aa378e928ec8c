/** The settings: one table, from which the type, the parser, the flags, the documentation and the start-up log come. */

import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { parseEnv } from 'node:util'
import { ConfigError } from './core/errors.ts'
import { DAY, formatDuration, HOUR, MINUTE, SECOND } from './core/time.ts'
import {
  durationBetween,
  durationList,
  fileUrl,
  hostList,
  hostName,
  jsonText,
  oneOf,
  plainText,
  portNumber,
  ratePerSecond,
  type Setting,
  secret,
  secretKeyText,
  setting,
  trueOrFalse,
  webUrl,
  wholeNumber,
  whsecSecret,
} from './setting.ts'

export const SETTINGS = {
  databaseUrl: setting('RINGBACK_DATABASE_URL', fileUrl, 'file:./ringback.db', 'Where the state is kept.'),
  host: setting('RINGBACK_HOST', hostName, '127.0.0.1', 'The address that the API and the dashboard listen on.'),
  port: setting('RINGBACK_PORT', portNumber, '7464', 'The port that they listen on; 0 takes a free one.'),
  apiToken: secret(
    'RINGBACK_API_TOKEN',
    plainText,
    'Bearer token of the API. Unset: one is made beside the database. Needed when the host is not loopback.',
  ),
  apiReadToken: secret(
    'RINGBACK_API_READ_TOKEN',
    plainText,
    'A second token, which may look and change nothing: no pulling, and nothing of what receivers answered. Unset: there is none.',
  ),
  signingSecret: secret(
    'RINGBACK_SIGNING_SECRET',
    whsecSecret,
    'Signs for endpoints without a secret of their own (`whsec_…`). Unset: one is made beside the database.',
  ),
  secretKey: secret(
    'RINGBACK_SECRET_KEY',
    secretKeyText,
    'Seals the secrets of endpoints in the database: base64 of 32 bytes. Unset: only the file’s mode guards them.',
  ),
  callbackAllow: setting(
    'RINGBACK_CALLBACK_ALLOW',
    hostList,
    '',
    'Hosts and CIDRs of callbacks that may be private or plain http, e.g. `127.0.0.0/8`.',
  ),
  operatorUrl: secret(
    'RINGBACK_OPERATOR_URL',
    plainText,
    'Where the daemon tells of itself, by signed webhooks: endpoints disabled and enabled, deliveries exhausted, the upstream refusing, a full disk.',
  ),
  pollRate: setting('RINGBACK_POLL_RATE', ratePerSecond, '10', 'Queries a second that one credential may send.'),
  pollConcurrency: setting('RINGBACK_POLL_CONCURRENCY', wholeNumber(1, 10_000), '16', 'Queries under way at once.'),
  pollIntervalMinMs: setting(
    'RINGBACK_POLL_INTERVAL_MIN',
    durationBetween(10, DAY),
    '1s',
    'The shortest wait between two polls of a task.',
  ),
  pollIntervalMaxMs: setting(
    'RINGBACK_POLL_INTERVAL_MAX',
    durationBetween(10, DAY),
    '60s',
    'The longest wait between two polls of a task.',
  ),
  pollCostMs: setting(
    'RINGBACK_POLL_COST',
    durationBetween(1, HOUR),
    '500ms',
    'How much waiting one query is worth: more means fewer queries and later answers.',
  ),
  taskDeadlineMs: setting(
    'RINGBACK_TASK_DEADLINE',
    durationBetween(100, 365 * DAY),
    '24h',
    'After this long without a final answer a task has expired.',
  ),
  retryScheduleMs: setting(
    'RINGBACK_RETRY_SCHEDULE',
    durationList,
    '0s,5s,5m,30m,2h,5h,10h,14h,20h,24h',
    'The wait before each attempt of a delivery; as many attempts as entries.',
  ),
  deliveryTimeoutMs: setting(
    'RINGBACK_DELIVERY_TIMEOUT',
    durationBetween(100, 10 * MINUTE),
    '20s',
    'How long one attempt may take in all.',
  ),
  deliveryConcurrency: setting('RINGBACK_DELIVERY_CONCURRENCY', wholeNumber(1, 10_000), '64', 'Attempts at once.'),
  endpointConcurrency: setting(
    'RINGBACK_ENDPOINT_CONCURRENCY',
    wholeNumber(1, 10_000),
    '8',
    'Attempts at once to one endpoint.',
  ),
  shutdownGraceMs: setting(
    'RINGBACK_SHUTDOWN_GRACE',
    durationBetween(0, HOUR),
    '25s',
    'How long attempts under way may take to end when the daemon stops.',
  ),
  retentionMs: setting(
    'RINGBACK_RETENTION',
    durationBetween(SECOND, 3650 * DAY),
    '30d',
    'How long settled tasks are kept.',
  ),
  logLevel: setting(
    'RINGBACK_LOG_LEVEL',
    oneOf('debug', 'info', 'warn', 'error', 'silent'),
    'info',
    'The least severe lines to log.',
  ),
  aidgeAccessKeyName: setting('AIDGE_ACCESS_KEY_NAME', plainText, '', 'Name of the Aidge access key.'),
  aidgeAccessKeySecret: secret('AIDGE_ACCESS_KEY_SECRET', plainText, 'Secret of the Aidge access key.'),
  aidgeBaseUrl: setting(
    'AIDGE_BASE_URL',
    webUrl('https://api.aidc-ai.com'),
    'https://api.aidc-ai.com',
    'Where Aidge answers; keys from the Chinese site use `https://cn-api.aidc-ai.com`.',
  ),
  aidgeTrial: setting('AIDGE_TRIAL', trueOrFalse, 'false', 'Query as a trial account does.'),
  aidgeKinds: setting('AIDGE_KINDS', jsonText, '', 'Further kinds of queries, as JSON.'),
  url: setting(
    'RINGBACK_URL',
    webUrl('http://127.0.0.1:7464'),
    '',
    'Where commands find the daemon. Unset: at the host and port above.',
  ),
} as const

type Settings = typeof SETTINGS
export type SettingName = keyof Settings
/** Unset texts are ''. */
export type Config = { readonly [K in SettingName]: Settings[K] extends Setting<infer T> ? T : never }

/** In the order of precedence. */
export type OriginKind = 'flag' | 'environment' | '.env' | 'default'

export interface Origin {
  readonly kind: OriginKind
  /** The file that a secret came from. */
  readonly file: string | null
}

export interface ConfigSources {
  /** By the name of the environment variable. */
  readonly flags: Readonly<Record<string, string>>
  readonly env: Readonly<Record<string, string | undefined>>
  /** What stands in the `.env` file; null when there is none. */
  readonly dotenv: string | null
}

export interface LoadedConfig {
  readonly config: Config
  readonly origins: Readonly<Record<SettingName, Origin>>
  readonly warnings: readonly string[]
}

export function settingEntries(): readonly (readonly [SettingName, Setting<unknown>])[] {
  return Object.entries(SETTINGS) as (readonly [SettingName, Setting<unknown>])[]
}

/** `RINGBACK_DATABASE_URL` → `database-url`, `AIDGE_BASE_URL` → `aidge-base-url`. Null for a secret. */
export function flagNameOf(setting: Setting<unknown>): string | null {
  return setting.isSecret
    ? null
    : setting.env
        .replace(/^RINGBACK_/, '')
        .toLowerCase()
        .replaceAll('_', '-')
}

/**
 * Reads every setting: flag before environment before `.env` before default; an empty text counts as not given.
 *
 * Throws `ConfigError` with all problems at once.
 */
export function readConfig(sources: ConfigSources): LoadedConfig {
  const report: Report = { problems: [], warnings: [] }
  const layers = layersOf(sources, report)
  const values: Partial<Record<SettingName, unknown>> = {}
  const origins: Partial<Record<SettingName, Origin>> = {}
  for (const [name, setting] of settingEntries()) {
    const found = findValue(setting, layers, report)
    const parsed = setting.parse(found.text)
    origins[name] = found.origin
    if ('value' in parsed) values[name] = parsed.value
    else report.problems.push(`${setting.env}: expected ${parsed.expected}${got(setting, found.text)}`)
  }
  report.problems.push(...unknownVariables(layers))
  report.problems.push(...contradictions(values as Partial<Config>))
  if (report.problems.length > 0) throw new ConfigError(report.problems)
  report.warnings.push(...riskyChoices(values as Config))
  return { config: values as Config, origins: origins as LoadedConfig['origins'], warnings: report.warnings }
}

interface Report {
  readonly problems: string[]
  readonly warnings: string[]
}

interface Layer {
  readonly kind: OriginKind
  readonly values: Readonly<Record<string, string | undefined>>
}

function layersOf({ flags, env, dotenv }: ConfigSources, { problems }: Report): readonly Layer[] {
  return [
    { kind: 'flag', values: flags },
    { kind: 'environment', values: env },
    { kind: '.env', values: readDotenv(dotenv ?? '', problems) },
  ]
}

/**
 * parseEnv takes a line without `=` as the beginning of the next name, so that both would be lost in silence; the name
 * that is added at the end gives the last line a next one too. Of such a line only the first word is shown: the rest may
 * be a secret.
 */
function readDotenv(text: string, problems: string[]): Layer['values'] {
  const { END_OF_FILE: _, ...values } = parseEnv(`${text.replace(/^\uFEFF/, '')}\nEND_OF_FILE=`)
  for (const name of Object.keys(values).filter((key) => /\s/.test(key))) {
    problems.push(`.env: expected NAME=VALUE, got a line that begins with ${JSON.stringify(name.split(/\s/)[0])}`)
    delete values[name]
  }
  return values
}

function findValue(
  setting: Setting<unknown>,
  layers: readonly Layer[],
  report: Report,
): { text: string; origin: Origin } {
  for (const { kind, values } of layers) {
    const given = values[setting.env] ?? ''
    const path = setting.isSecret ? (values[`${setting.env}_FILE`] ?? '') : ''
    if (given !== '' && path !== '')
      report.problems.push(`${setting.env} and ${setting.env}_FILE are both set: keep one`)
    if (given !== '') return { text: given, origin: { kind, file: null } }
    if (path !== '') return { text: readSecretFile(setting, path, report), origin: { kind, file: path } }
  }
  return { text: setting.fallback, origin: { kind: 'default', file: null } }
}

function readSecretFile(setting: Setting<unknown>, path: string, { problems, warnings }: Report): string {
  try {
    const content = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
    if (content === '') problems.push(`${setting.env}_FILE: ${path} is empty`)
    if ((statSync(path).mode & 0o077) !== 0) {
      warnings.push(`${setting.env}_FILE: others on this machine can read ${path}; chmod 600 ends that`)
    }
    return content
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    problems.push(`${setting.env}_FILE: cannot read ${path} (${reason})`)
    return ''
  }
}

/** Values of secrets, and of URLs that may carry one, are left out. */
function got(setting: Setting<unknown>, text: string): string {
  return setting.isSecret || /[@?]/.test(text) || text.length > 200 ? '' : `, got ${JSON.stringify(text)}`
}

function contradictions(config: Partial<Config>): readonly string[] {
  const problems: string[] = []
  const { pollIntervalMinMs: minMs, pollIntervalMaxMs: maxMs, apiToken, apiReadToken, host } = config
  if (minMs !== undefined && maxMs !== undefined && minMs > maxMs) {
    problems.push(
      `RINGBACK_POLL_INTERVAL_MIN (${formatDuration(minMs)}) must not be longer than RINGBACK_POLL_INTERVAL_MAX (${formatDuration(maxMs)})`,
    )
  }
  if (apiToken === '' && host !== undefined && !isLoopback(host)) {
    problems.push(`RINGBACK_API_TOKEN is needed when RINGBACK_HOST (${host}) can be reached from other machines`)
  }
  if (apiReadToken !== undefined && apiReadToken !== '' && apiReadToken === apiToken) {
    problems.push('RINGBACK_API_READ_TOKEN is the same as RINGBACK_API_TOKEN: it would open everything')
  }
  const isNamed = config.aidgeAccessKeyName !== ''
  if (isNamed !== (config.aidgeAccessKeySecret !== '')) {
    const [given, missing] = isNamed ? ['NAME', 'SECRET'] : ['SECRET', 'NAME']
    problems.push(`AIDGE_ACCESS_KEY_${missing} is not set, but AIDGE_ACCESS_KEY_${given} is: they go together`)
  }
  return problems
}

const API_TOKEN_LENGTH_MIN = 16

function riskyChoices({ host, apiToken, apiReadToken, aidgeBaseUrl, aidgeAccessKeyName }: Config): readonly string[] {
  const warnings: string[] = []
  if (aidgeAccessKeyName === '') {
    warnings.push('AIDGE_ACCESS_KEY_NAME and AIDGE_ACCESS_KEY_SECRET are not set: Aidge will refuse every query')
  }
  for (const [name, token] of Object.entries({ RINGBACK_API_TOKEN: apiToken, RINGBACK_API_READ_TOKEN: apiReadToken })) {
    if (isLoopback(host) || token === '' || token.length >= API_TOKEN_LENGTH_MIN) continue
    warnings.push(`${name} has fewer than ${API_TOKEN_LENGTH_MIN} characters and may be guessed`)
  }
  const aidge = new URL(aidgeBaseUrl)
  if (aidge.protocol === 'http:' && !isLoopback(aidge.hostname)) {
    warnings.push('AIDGE_BASE_URL is plain http: anyone on the way can read and repeat signed queries')
  }
  return warnings
}

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

/** A misspelled setting that is ignored in silence costs a night; other programs' variables are none of ours. */
function unknownVariables(layers: readonly Layer[]): readonly string[] {
  const known = new Set(settingEntries().flatMap(([, { env, isSecret }]) => (isSecret ? [env, `${env}_FILE`] : [env])))
  const given = new Set(layers.flatMap(({ values }) => Object.keys(values)))
  return [...given]
    .filter((name) => /^(RINGBACK|AIDGE)_/.test(name) && !known.has(name) && !isServiceLink(name))
    .map((name) => `${name}: no such setting${didYouMean(name, [...known])}`)
}

/** What Kubernetes adds for a service of our name. */
function isServiceLink(name: string): boolean {
  return /^(RINGBACK|AIDGE)_(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_.+)$/.test(name)
}

function didYouMean(name: string, known: readonly string[]): string {
  if (known.includes(name.replace(/_FILE$/, ''))) return '; only secrets can come from a file'
  const distances = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
  const nearest = distances.reduce((a, b) => (b.distance < a.distance ? b : a))
  return nearest.distance <= 4 ? `; did you mean ${nearest.candidate}?` : ''
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, charOfA] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, charOfB] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (charOfA === charOfB ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

export interface ShownSetting {
  readonly name: SettingName
  readonly env: string
  /** As a person would write it; `set` or `unset` for a secret. */
  readonly value: string
  readonly origin: string
}

/** What `ringback config` prints. */
export function shownSettings({ config, origins }: Pick<LoadedConfig, 'config' | 'origins'>): readonly ShownSetting[] {
  return settingEntries().map(([name, setting]) => {
    const { kind, file } = origins[name]
    // A default reads as the documentation has it: `24h` and not `1d`.
    const isDefault = kind === 'default' && !setting.isSecret
    const value = isDefault ? setting.fallback : shownValue(setting, config[name])
    return { name, env: setting.env, value, origin: file === null ? kind : `${kind}: ${file}` }
  })
}

function shownValue(setting: Setting<unknown>, value: unknown): string {
  if (setting.isSecret) return value === '' ? 'unset' : 'set'
  return setting.show(value)
}

/** Fields for the start-up line of the log. */
export function configLogFields(config: Config): Readonly<Record<string, string>> {
  return Object.fromEntries(settingEntries().map(([name, setting]) => [name, shownValue(setting, config[name])]))
}

/** The settings as the README shows them. */
export function settingsTable(): string {
  const rows = settingEntries().map(([, { env, fallback, doc, isSecret }]) => {
    const names = isSecret ? `\`${env}\`, \`${env}_FILE\`` : `\`${env}\``
    const shownFallback = fallback === '' ? '' : `\`${fallback}\` `
    return `| ${names} | ${shownFallback}| ${doc} |`
  })
  return ['| setting | default | what it does |', '|---|---|---|', ...rows].join('\n')
}
