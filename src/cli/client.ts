/** The API of a running daemon, as the commands use it. */

import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { Agent } from 'undici'
import { type Config, isLoopback } from '../config.ts'
import { SECOND } from '../core/time.ts'
import { databasePathOf } from '../setting.ts'
import { CommandError, type Exit } from './exit.ts'
import type { Io } from './io.ts'
import { loadSettings } from './settings.ts'

/** A JSON object of another program: every field may be missing. */
export type Row = Readonly<Record<string, unknown>>

export interface Answer {
  readonly status: number
  /** As it came. */
  readonly text: string
  readonly body: Row
}

export interface Api {
  readonly url: string
  /** Answers that are no success are thrown as `CommandError`. */
  get(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<Answer>
  post(path: string, body?: unknown): Promise<Answer>
  delete(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<Answer>
  /** Returns every answer. */
  probe(path: string): Promise<Answer>
}

const CONNECT_TIMEOUT_MS = 5 * SECOND
/** A bulk registration of a thousand tasks on a slow disk has to fit in. */
const ANSWER_TIMEOUT_MS = 60 * SECOND
const ANSWER_BYTES_MAX = 64 * 1024 * 1024

/** Connects with the settings of a command, and leaves no connection open behind it. */
export async function withApi<T>(io: Io, command: Command, use: (api: Api) => Promise<T>): Promise<T> {
  const { config } = loadSettings(io, command)
  // Loaded late: the help of a command line should not wait for an HTTP client.
  const { Agent } = await import('undici')
  const agent = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS }, maxResponseSize: ANSWER_BYTES_MAX })
  try {
    return await use(connect(agent, urlOf(config), tokenOf(config)))
  } finally {
    await agent.destroy()
  }
}

/** `token` null asks without one. */
export function connect(agent: Agent, url: string, token: string | null): Api {
  const send = (method: Question['method'], path: string, body?: unknown) =>
    exchange({ agent, url, token, method, path, body })
  const accepted = (answer: Answer) => {
    if (answer.status >= 200 && answer.status <= 299) return answer
    throw refusal(answer, url, token !== null)
  }
  return {
    url,
    get: async (path, query = {}) => accepted(await send('GET', withQuery(path, query))),
    post: async (path, body) => accepted(await send('POST', path, body)),
    delete: async (path, query = {}) => accepted(await send('DELETE', withQuery(path, query))),
    probe: (path) => send('GET', path),
  }
}

interface Question {
  readonly agent: Agent
  readonly url: string
  readonly token: string | null
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body: unknown
}

async function exchange({ agent, url, token, method, path, body }: Question): Promise<Answer> {
  const { request } = await import('undici')
  const headers = {
    accept: 'application/json',
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  try {
    const response = await request(`${url}${path}`, {
      dispatcher: agent,
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    })
    const text = await response.body.text()
    return { status: response.statusCode, text, body: response.statusCode === 204 ? {} : readObject(text, url) }
  } catch (error) {
    throw error instanceof CommandError ? error : connectionFailure(error, url)
  }
}

function readObject(text: string, url: string): Row {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row
  } catch {
    // Falls through to the same complaint as JSON that is no object.
  }
  throw new CommandError('unreachable', `what answers at ${url} is not Ringback`, URL_REMEDY)
}

const URL_REMEDY = 'set RINGBACK_URL, or RINGBACK_HOST and RINGBACK_PORT, to where the daemon listens'

function connectionFailure(error: unknown, url: string): CommandError {
  if (error instanceof Error && error.name === 'TimeoutError') {
    const message = `the daemon at ${url} did not answer within ${ANSWER_TIMEOUT_MS / SECOND}s`
    return new CommandError('timed_out', message, 'look into its log; try again when it is less busy')
  }
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
  const remedy = `start it with \`ringback serve\`, or ${URL_REMEDY}`
  return new CommandError('unreachable', `no daemon can be reached at ${url}${code}`, remedy)
}

const EXIT_OF_STATUS: Readonly<Record<number, Exit>> = {
  400: 'usage',
  401: 'unauthorized',
  403: 'unauthorized',
  404: 'not_found',
  413: 'usage',
  415: 'usage',
  422: 'usage',
  507: 'io',
}

function refusal({ status, body }: Answer, url: string, hasToken: boolean): CommandError {
  const exit = EXIT_OF_STATUS[status] ?? 'failed'
  const message = problemText(body, `the daemon at ${url} answered ${status}`)
  if (exit !== 'unauthorized') return new CommandError(exit, message, remedyOf(exit, status))
  const remedy = hasToken
    ? 'set RINGBACK_API_TOKEN to the token of this daemon'
    : 'set RINGBACK_API_TOKEN, or run this where the daemon keeps its database (RINGBACK_DATABASE_URL)'
  return new CommandError(exit, message, remedy)
}

function remedyOf(exit: Exit, status: number): string {
  if (exit === 'usage') return 'correct what is named above and run it again'
  if (exit === 'not_found')
    return 'list what there is: `ringback tasks list`, `deliveries list`, `endpoints list`, `jobs list`'
  if (exit === 'io') return 'free some space on the disk of the daemon'
  return status >= 500 || status === 429
    ? 'try again in a moment; the log of the daemon says more'
    : 'see the line above'
}

/** The detail of a problem document (RFC 9457), with a line for each of its errors where there are several. */
export function problemText(problem: Row, fallback: string): string {
  const detail = textOf(problem, 'detail') || textOf(problem, 'title') || fallback
  const faults = rowsOf(problem, 'errors').map((fault) => `  ${textOf(fault, 'pointer')}: ${textOf(fault, 'message')}`)
  // The detail of a problem with one error says what the error says.
  return faults.length > 1 ? [detail, ...faults].join('\n') : detail
}

export function urlOf({ url, host, port }: Pick<Config, 'url' | 'host' | 'port'>): string {
  if (url !== '') return url
  // A daemon that listens on every address is reached on the nearest one.
  const reached = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}

/** The token of the settings, or the one that a daemon of this machine made beside its database, or one to look with. */
function tokenOf(config: Config): string | null {
  if (config.apiToken !== '') return config.apiToken
  return keptToken(config) ?? (config.apiReadToken || null)
}

function keptToken(config: Config): string | null {
  // The file belongs to the daemon of this machine: no other may ever be shown it.
  if (!isLoopback(new URL(urlOf(config)).hostname)) return null
  try {
    return readFileSync(`${databasePathOf(config.databaseUrl)}.token`, 'utf8').trim()
  } catch {
    return null
  }
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`
}

/** '' for what is missing or null. */
export function textOf(row: Row, name: string): string {
  const value = row[name]
  if (value === undefined || value === null) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

export function textsOf(row: Row, name: string): readonly string[] {
  const value = row[name]
  return Array.isArray(value) ? value.map(String) : []
}

export function rowsOf(row: Row, name: string): readonly Row[] {
  const value = row[name]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'object' && item !== null) : []
}

export function rowOf(row: Row, name: string): Row {
  const value = row[name]
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Row) : {}
}
