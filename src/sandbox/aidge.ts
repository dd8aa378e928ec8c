/**
 * A fake Aidge on a port of this machine: the nine products' submit and query calls, signatures checked as the vendor
 * does, and tasks whose lives are written in their ids (see `lives.ts`).
 *
 * It shares no code with the client that asks it, so that neither can hide the other's mistakes. A task id that was
 * never submitted here counts as submitted when it is first asked about: people register ids that they made up.
 */

import { randomInt } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import {
  answerOf,
  gatewayText,
  jsonAnswer,
  requestIds,
  send,
  serviceErrorText,
  submittedText,
  type WireAnswer,
} from './answers.ts'
import {
  checkCall,
  type GatewayError,
  gatewayError,
  type SandboxCredentials,
  TIMESTAMP_TOLERANCE_MS,
} from './gateway.ts'
import { answerLater, type ListenOptions, listen, readBody } from './listen.ts'
import { type Life, lifeOf } from './lives.ts'
import { drawPicture, RESULTS_PATH } from './pictures.ts'
import { type Product, ROUTES } from './products.ts'
import { createTaskBook, type Faults, type SandboxStats, seededRandom, type TaskBook } from './tasks.ts'

export type { SandboxCredentials } from './gateway.ts'
export { LIFE_GRAMMAR } from './lives.ts'
export type { Faults, SandboxStats } from './tasks.ts'

/** What opens a sandbox that was given no key of its own. Opens nothing else. */
export const SANDBOX_CREDENTIALS: SandboxCredentials = {
  accessKeyName: '500123',
  accessKeySecret: 'only-good-for-the-sandbox',
}

export interface SandboxRequest {
  readonly method: string
  /** Without the query string. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

export interface AidgeSandboxOptions extends ListenOptions {
  readonly credentials?: SandboxCredentials
  /** A life of the grammar (`ok-3s`), for ids that tell none. */
  readonly life?: string | Life
  /** Decides faults and the ids of submitted tasks. Not given: every start differs, so that ids never repeat. */
  readonly seed?: number
  readonly now?: () => number
  readonly faults?: Partial<Faults>
  readonly timestampToleranceMs?: number
  /** Where result addresses point; the sandbox's own address when not given. */
  readonly resultBaseUrl?: string
  /** How many queries `stats().queries` holds at most. */
  readonly historyMax?: number
  /** Hears of every API call before it is answered. */
  readonly onRequest?: (request: SandboxRequest) => void
}

export interface AidgeSandbox {
  /** For `AIDGE_BASE_URL`: without `/rest`. */
  readonly url: string
  readonly credentials: SandboxCredentials
  stats(): SandboxStats
  /** Gives a task another life; its age stays, its troubles start anew. */
  setLife(taskId: string, life: string | Life): void
  /** For tasks that are first seen from now on. */
  setDefaultLife(life: string | Life): void
  setFaults(faults: Partial<Faults>): void
  close(): Promise<void>
}

const BODY_BYTES_MAX = 32 * 1024 * 1024
const HISTORY_MAX = 200_000

/** Throws a RangeError when `life` is none; rejects when the address cannot be listened on. */
export async function startAidgeSandbox(options: AidgeSandboxOptions = {}): Promise<AidgeSandbox> {
  const credentials = options.credentials ?? SANDBOX_CREDENTIALS
  const random = seededRandom(options.seed ?? randomInt(2 ** 32))
  const book = createTaskBook({
    defaultLife: options.life === undefined ? undefined : readLife(options.life),
    faults: options.faults,
    historyMax: options.historyMax ?? HISTORY_MAX,
    random,
  })
  const sandbox: Sandbox = {
    options,
    credentials,
    book,
    random,
    now: options.now ?? Date.now,
    baseUrl: () => options.resultBaseUrl ?? listening.url,
    requestCount: 0,
  }
  const listening = await listen(options, (request, response) => {
    handle(sandbox, request, response).catch(() => response.destroy())
  })
  return {
    url: listening.url,
    credentials,
    stats: book.stats,
    setLife: (taskId, life) => book.setLife(taskId, readLife(life)),
    setDefaultLife: (life) => book.setDefaultLife(readLife(life)),
    setFaults: book.setFaults,
    close: listening.close,
  }
}

interface Sandbox {
  readonly options: AidgeSandboxOptions
  readonly credentials: SandboxCredentials
  readonly book: TaskBook
  readonly random: () => number
  readonly now: () => number
  readonly baseUrl: () => string
  requestCount: number
}

/** One API call, read but not yet judged. */
interface Call {
  readonly method: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly at: number
  readonly ids: ReturnType<typeof requestIds>
}

function readLife(life: string | Life): Life {
  return typeof life === 'string' ? lifeOf(life) : life
}

async function handle(sandbox: Sandbox, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const at = sandbox.now()
  // Node would write the machine's clock; a sandbox whose clock was set must say what it judges timestamps by.
  response.setHeader('date', new Date(at).toUTCString())
  const { path, queryText } = splitUrl(request.url ?? '')
  if (path.startsWith(RESULTS_PATH)) {
    sendResult(response, path)
    return
  }
  const bytes = await readBody(request, BODY_BYTES_MAX)
  if (bytes === null) {
    response.destroy()
    return
  }
  const body = bytes.toString('utf8')
  const method = request.method ?? ''
  sandbox.options.onRequest?.({ method, path, headers: request.headers, body, at })
  sandbox.requestCount += 1
  const ids = requestIds(sandbox.requestCount, at)
  const call: Call = { method, query: new URLSearchParams(queryText), headers: request.headers, body, at, ids }
  const { answer, delayMs, onAnswered } = answerCall(sandbox, path, call, response)
  const deliver = () => {
    if (answer.kind === 'answer') onAnswered?.()
    send(response, answer)
  }
  if (delayMs === 0) deliver()
  else answerLater(response, delayMs, deliver)
}

function splitUrl(url: string): { readonly path: string; readonly queryText: string } {
  const mark = url.indexOf('?')
  return mark === -1 ? { path: url, queryText: '' } : { path: url.slice(0, mark), queryText: url.slice(mark + 1) }
}

interface Answer {
  readonly answer: WireAnswer
  readonly delayMs: number
  readonly onAnswered?: () => void
}

function answerCall(sandbox: Sandbox, path: string, call: Call, response: ServerResponse): Answer {
  const route = ROUTES.get(path)
  if (route === undefined || (call.method !== 'GET' && call.method !== 'POST')) {
    return refuse(sandbox, gatewayError('InvalidApiPath'), call)
  }
  const error = checkCall(call.query, {
    credentials: sandbox.credentials,
    now: call.at,
    toleranceMs: sandbox.options.timestampToleranceMs ?? TIMESTAMP_TOLERANCE_MS,
  })
  if (error !== null) return refuse(sandbox, error, call)
  if (route.action === 'query') return answerQuery(sandbox, route.product, call, response)
  return { answer: jsonAnswer(answerSubmit(sandbox, route.product, call)), delayMs: 0 }
}

function refuse(sandbox: Sandbox, error: GatewayError, call: Call): Answer {
  sandbox.book.refused()
  return { answer: jsonAnswer(gatewayText(error, call.ids)), delayMs: 0 }
}

function answerQuery(sandbox: Sandbox, product: Product, call: Call, response: ServerResponse): Answer {
  const taskId = taskIdOf(product, call)
  if (taskId === null) {
    const detail = `, ${product.idParameters.join(' or ')} is required`
    return { answer: jsonAnswer(serviceErrorText(700, call.ids, detail)), delayMs: 0 }
  }
  const onAnswered = once(() => sandbox.book.queryEnded(taskId))
  // An answered query ends before its bytes leave: the client's next one may arrive before `close` does.
  response.once('close', onAnswered)
  const { reply, answerDelayMs, seenAt } = sandbox.book.query({ taskId, at: call.at, kind: product.kind })
  const context = { product, taskId, seenAt, baseUrl: sandbox.baseUrl(), ids: call.ids }
  return { answer: answerOf(reply, context), delayMs: answerDelayMs, onAnswered }
}

function once(run: () => void): () => void {
  let hasRun = false
  return () => {
    if (!hasRun) run()
    hasRun = true
  }
}

/** The header `x-sandbox-life: fail-2s` writes a life into the id that is given. */
function answerSubmit(sandbox: Sandbox, product: Product, call: Call): string {
  const wrong = wrongInput(call)
  if (wrong !== null) return serviceErrorText(700, call.ids, `, ${wrong}`)
  const life = call.headers['x-sandbox-life']
  const uuid = randomUuid(sandbox.random)
  const taskId = typeof life === 'string' && life !== '' ? `${life}-${uuid}` : uuid
  sandbox.book.submit(taskId, call.at)
  return submittedText(product, taskId, call.ids)
}

/** GET takes the id from the query string, POST from a flat JSON object, and neither from the other's place. */
function taskIdOf(product: Product, call: Call): string | null {
  const fields = call.method === 'GET' ? Object.fromEntries(call.query) : jsonObject(call.body)
  for (const name of product.idParameters) {
    const value = fields?.[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return null
}

/** Lists and objects travel as JSON text inside the JSON, whatever the product. */
const TEXT_INPUTS = ['paramJson', 'requestParams', 'imageDetectRequestList'] as const

function wrongInput(call: Call): string | null {
  const fields = call.method === 'POST' ? jsonObject(call.body) : null
  if (fields === null) return 'a JSON object is required'
  for (const name of TEXT_INPUTS) {
    const value = fields[name]
    if (value !== undefined && (typeof value !== 'string' || parseJson(value) === undefined)) {
      return `${name} must be a string of JSON`
    }
  }
  return null
}

function jsonObject(text: string): Readonly<Record<string, unknown>> | null {
  const value = parseJson(text)
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function sendResult(response: ServerResponse, path: string): void {
  const isPicture = path.endsWith('.png')
  response.writeHead(isPicture ? 200 : 404, { 'content-type': isPicture ? 'image/png' : 'text/plain' })
  response.end(isPicture ? drawPicture(path) : '')
}

/** In the form of a UUID of version 4; the seed decides it. */
function randomUuid(random: () => number): string {
  const digit = () => Math.floor(random() * 16)
  return 'xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx'.replace(/[xy]/g, (place) =>
    (place === 'x' ? digit() : 8 + (digit() % 4)).toString(16),
  )
}
