/**
 * The API over the real registrar and the real store, under requests that its own OpenAPI document gives the shape of: as
 * described, and with something wrong. Proves that no request brings a 5xx, that what is refused changes nothing and says
 * why as a problem, and that every answer is one that the document describes.
 *
 * `FUZZ_REQUESTS=1000000 SEED=7` sends more and others; the same numbers send the same requests.
 */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { createCadence } from '../../src/core/cadence.ts'
import type { EndpointId, LeaseToken } from '../../src/core/ids.ts'
import type { Outcome } from '../../src/core/task.ts'
import { after, DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createJobs } from '../../src/engine/jobs.ts'
import { createRegistrar } from '../../src/engine/register.ts'
import type { Log } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Store } from '../../src/store/store.ts'
import { AIDGE_KINDS } from '../../src/upstream/aidge/kinds.ts'
import { ALLOW_NOTHING, createAddressGuard } from '../../src/webhook/address-guard.ts'
import { type FuzzRequest, filledIn, fuzzRequests, KNOWN, type Known, nameOf } from '../support/http-fuzz.ts'
import { faultsIn, type OpenApiDocument, operationsOf } from '../support/openapi-arbitraries.ts'
import { ANY_HOST, countingIds } from '../support/store.ts'
import { aClock, anApp, TOKEN } from './fakes.ts'

const CADENCE = { intervalMinMs: SECOND, intervalMaxMs: MINUTE, pollCostMs: SECOND }
const REQUESTS = Number(process.env['FUZZ_REQUESTS'] ?? 50_000)
const SEED = Number(process.env['SEED'] ?? 1)
const TIME_MS_MAX = Math.max(120_000, REQUESTS * 4)

/** Often enough that tasks are met in every state. */
const REQUESTS_A_TURN = 500

/** A refusal is never much longer than what was refused, and never longer than this. */
const PROBLEM_LENGTH_MAX = 64 * 1024

type Body = Readonly<Record<string, unknown>>
type BulkItem = { readonly status: number; readonly task?: Body; readonly problem?: Body }

/** Some ten thousand commits: where flushing costs nothing they take seconds, on a slow disk minutes. */
function aDirectoryInMemory(): string {
  const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ringback-fuzz-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function aWorld() {
  const path = join(aDirectoryInMemory(), 'fuzz.db')
  const clock = { ...aClock(), soon: (run: () => void) => void setImmediate(run) }
  const store = openSqliteStore({
    path,
    clock,
    newId: countingIds(),
    onDamaged: (error) => {
      throw error
    },
  })
  onTestFinished(() => store.close())
  const guardUrl = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [] }).judgeUrl
  const registrar = createRegistrar(
    {
      store,
      upstream: {
        kinds: () => AIDGE_KINDS.map(({ name }) => name),
        idsPerQuery: (kind) => (AIDGE_KINDS.some(({ name }) => name === kind) ? 1 : null),
        credentialOf: () => 'aidge',
      },
      guardUrl,
      clock,
      cadences: { ...createCadence(CADENCE), priceFactorOf: () => 1 },
      onRegistered: () => {},
    },
    { taskDeadlineMs: DAY },
  )
  const errors: unknown[] = []
  const quiet = () => {}
  const log: Log = { debug: quiet, info: quiet, warn: quiet, error: (fields) => errors.push(fields) }
  const jobs = createJobs({ store, clock, log, wake: quiet, onQueued: quiet })
  const { app } = anApp({ store, registrar, jobs, clock, log, guardUrl })
  const reader = new Database(path, { readonly: true })
  onTestFinished(() => void reader.close())
  return { app, store, jobs, clock, errors, reader }
}

type World = ReturnType<typeof aWorld>

/** Everything that is due is asked about, told, and told in vain, as the engine does it. */
async function turn({ store, jobs, clock }: World, count: number): Promise<void> {
  const now = clock.now()
  for (let nextAt: number | null = now; nextAt === now; ) nextAt = await jobs.tick()
  const lease = { token: `lse_${count}` as LeaseToken, expiresAt: after(now, HOUR) }
  const settings = { rate: 10_000 }
  const { tasks } = await store.claimDueTasks({ now, lease, credential: 'aidge', settings, limit: 40 })
  const records = tasks.map((task, index) => {
    const decision =
      index % 4 === 0 ? ({ kind: 'give_back' } as const) : ({ kind: 'settle', outcome: outcome(index) } as const)
    return { task, leaseToken: lease.token, poll: null, decision }
  })
  await store.recordPolls({ now, records, effects: [] })
  await attemptAll(store, now, lease)
}

function outcome(index: number): Outcome {
  const image = { url: 'http://pictures.example/a%2Fb.png?Signature=x%3D', width: 1, height: null, expiresAt: null }
  const error = { code: 'content_rejected', upstreamCode: '1000', message: 'no', requestId: null } as const
  const isGood = index % 2 === 0
  return {
    status: isGood ? 'succeeded' : 'failed',
    partial: false,
    images: isGood ? [image] : [],
    error: isGood ? null : error,
    response: '{"n":9007199254740993,"text":"\\ud800"}',
    responseTruncated: false,
  }
}

async function attemptAll(
  store: Store,
  now: Parameters<Store['getEndpoint']>[0]['now'],
  lease: { token: LeaseToken; expiresAt: typeof now },
) {
  const inFlight = new Map<EndpointId, number>()
  const { deliveries } = await store.claimDueDeliveries({
    now,
    lease,
    limit: 40,
    endpointConcurrency: 40,
    inFlight,
    hosts: ANY_HOST,
    recoveringMax: 40,
    unhurriedMax: 40,
  })
  const records = deliveries.map((delivery, index) => {
    const isHeard = index % 2 === 0
    return {
      delivery,
      leaseToken: lease.token,
      startedAt: now,
      exchange: {
        result: { kind: 'response', status: isHeard ? 204 : 503, retryAfter: null } as const,
        durationMs: 12,
        responseExcerpt: isHeard ? '' : '<b>\x1b[31mbusy\ud800',
        responseTruncated: false,
        responseHeaders: { 'retry-after': '5' },
        remoteAddress: '203.0.113.7',
        timings: { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null },
      },
      verdict: isHeard ? ({ kind: 'delivered' } as const) : ({ kind: 'exhausted' } as const),
      isEndpointGone: false,
      random: 0.5,
    }
  })
  await store.recordAttempts({ now, records })
}

/** What answers have shown, so that later requests can speak of it. */
function aMemory() {
  const known: Record<Known, string[]> = { task: [], ep: [], dlv: [], evt: [], job: [], aidge: [], cursor: [], url: [] }
  const seen = Object.fromEntries(KNOWN.map((kind) => [kind, new Set<string>()])) as Record<Known, Set<string>>
  function learn(kind: Known, value: string): void {
    if (seen[kind].has(value) || value === '') return
    seen[kind].add(value)
    const values = known[kind]
    if (values.length < 200) values.push(value)
    else values[seen[kind].size % 200] = value
  }
  function learnFrom(text: string): void {
    for (const [id, kind] of text.matchAll(/\b(task|ep|dlv|evt|job)_[0-9a-z]{20,40}\b/g)) learn(kind as Known, id)
    for (const [, id] of text.matchAll(/"taskId":("(?:[^"\\]|\\.)+")/g))
      learn('aidge', JSON.parse(id ?? '""') as string)
    for (const [, url] of text.matchAll(/"(?:callbackUrl|url)":"(https:[^"\\]+)"/g)) learn('url', url ?? '')
    const cursor = /"nextCursor":"([^"\\]+)"/.exec(text)?.[1]
    if (cursor !== undefined) learn('cursor', cursor)
  }
  return { known, learnFrom }
}

function bodyOf({ body, pieces, method }: FuzzRequest, fill: (text: string) => string): RequestInit {
  if (body === null || /^(get|head)$/i.test(method)) return {}
  const bytes = typeof body === 'string' ? Buffer.from(fill(body)) : body
  if (pieces === null) return { body: bytes } as RequestInit
  let sent = 0
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      const from = sent * pieces.size
      if (pieces.breaksAfter === sent) controller.error(new Error('the caller has left'))
      else if (from >= bytes.length) controller.close()
      // The last piece is the whole rest: a piece of one byte for each of many would only take long.
      else controller.enqueue(bytes.slice(from, sent < 20 ? from + pieces.size : undefined))
      sent += sent < 20 ? 1 : Number.MAX_SAFE_INTEGER / pieces.size
    },
  })
  return { body: stream, duplex: 'half' } as RequestInit
}

/** Called millions of times in a night: `expect` takes ten microseconds even when all is well. */
function must(isFine: boolean, otherwise: () => string): void {
  if (!isFine) throw new Error(otherwise())
}

test('no 5xx, no change without a 2xx, and every answer is described', { timeout: TIME_MS_MAX }, async () => {
  const world = aWorld()
  const { app, errors, reader } = world
  const document = (await (await app.request('/openapi.json')).json()) as OpenApiDocument
  const operations = operationsOf(document)
  const answers = new Map(operations.map((operation) => [nameOf(operation), operation.answers]))
  const { known, learnFrom } = aMemory()
  const counts = new Map<number, number>()
  const acknowledged = new Set<string>()
  const version = reader.prepare('pragma data_version').pluck()
  let count = 0

  async function send(request: FuzzRequest): Promise<void> {
    const target = filledIn(request.target, known, encodeURIComponent)
    const fill = (text: string) => filledIn(text, known, (value) => JSON.stringify(value).slice(1, -1))
    const before = version.get()
    const { method, headers } = request
    const response = await app.request(target, { method, headers, ...bodyOf(request, fill) })
    const text = await response.text()
    const { status } = response
    counts.set(status, (counts.get(status) ?? 0) + 1)
    must(status < 500, () => `${status}: ${text}`)
    const mayChange = status < 300 && !/^(get|head|options)$/i.test(method)
    must(mayChange || version.get() === before, () => `${status}, and the database has changed: ${text}`)
    must(response.headers.get('x-content-type-options') === 'nosniff', () => 'an answer without nosniff')
    if (method.toUpperCase() === 'HEAD') return must(text === '', () => 'HEAD with a body')
    const body = (status === 204 ? null : JSON.parse(text)) as Body
    if (status >= 400) checkProblem(response, text, body)
    checkDescribed(request, response, body)
    if (status >= 400 || target === '/openapi.json') return
    if (method === 'POST') acknowledge(request, body)
    learnFrom(text)
  }

  function checkProblem({ status, headers }: Response, text: string, body: Body): void {
    const type = headers.get('content-type')
    must(type === 'application/problem+json', () => `${status} as ${type}`)
    must(body['status'] === status, () => `${status} says ${text}`)
    must(body['instance'] === headers.get('x-request-id'), () => `not its request id: ${text}`)
    const faults = faultsIn(body, { $ref: '#/components/schemas/Problem' }, document)
    must(faults.length === 0, () => faults.join('\n'))
    must(text.length < PROBLEM_LENGTH_MAX, () => `a problem of ${text.length} characters`)
    must(!text.includes(TOKEN), () => 'a problem that tells the token')
    // What is quoted from a request can never act on a terminal or break a line.
    const said = [body['detail'], ...(body['errors'] as Body[]).map(({ message }) => message)].join(' ')
    must(!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(said), () => `unprintable: ${text}`)
    must(status !== 429 || /^[1-9]\d*$/.test(headers.get('retry-after') ?? ''), () => '429 without Retry-After')
    must(status !== 401 || /^Bearer/.test(headers.get('www-authenticate') ?? ''), () => '401 without a scheme')
    must(status !== 405 || /^[A-Z, ]+$/.test(headers.get('allow') ?? ''), () => '405 without Allow')
  }

  function checkDescribed({ operation }: FuzzRequest, { status, headers }: Response, body: Body): void {
    if (operation === null) return
    const type = headers.get('content-type') ?? 'none'
    if (status === 204)
      return must(answers.get(operation)?.has(204) === true && body === null, () => `${operation} 204`)
    const schema = answers.get(operation)?.get(status)?.[type]
    must(schema !== undefined, () => `${operation} does not describe ${status} as ${type}`)
    const faults = faultsIn(body, schema ?? {}, document)
    must(faults.length === 0, () => `${operation} ${status}: ${faults.join('\n')}`)
  }

  /** Every task that was ever shown to whoever sent a POST; and what came back is what was sent. */
  function acknowledge({ operation, body: sent }: FuzzRequest, body: Body): void {
    if (Array.isArray(body['results'])) return acknowledgeMany(body['results'] as readonly BulkItem[])
    const id = String(body['id'])
    if (!id.startsWith('task_')) return
    const isNew = !acknowledged.has(id)
    acknowledged.add(id)
    if (!isNew || operation !== 'POST /v1/tasks' || typeof sent !== 'string' || sent.includes('@@')) return
    const { taskId, metadata = {} } = JSON.parse(sent) as Body
    must(body['taskId'] === taskId, () => `${taskId} became ${body['taskId']}`)
    const back = JSON.stringify(body['metadata'])
    must(back === JSON.stringify(metadata), () => `${JSON.stringify(metadata)} became ${back}`)
  }

  function acknowledgeMany(results: readonly BulkItem[]): void {
    for (const { status, task, problem } of results) {
      must(status < 500 && (task === undefined) === status >= 300, () => `an item of a bulk call: ${status}`)
      must((problem?.['status'] ?? status) === status, () => `a problem of a bulk call that is not ${status}`)
      if (task !== undefined) acknowledged.add(String(task['id']))
    }
  }

  await fc.assert(
    fc.asyncProperty(fuzzRequests(operations, document, TOKEN), async (request) => {
      if (count % REQUESTS_A_TURN === 0) await turn(world, count)
      count += 1
      await send(request)
      must(errors.length === 0, () => `logged as an error: ${JSON.stringify(errors)}`)
    }),
    { seed: SEED, numRuns: REQUESTS },
  )

  expect(new Set(reader.prepare('select id from tasks').pluck().all())).toEqual(acknowledged)
  if (process.env['FUZZ_REPORT'] !== undefined) console.log(Object.fromEntries(counts), acknowledged.size)
  if (REQUESTS < 5_000) return
  // A fuzzer that is only ever refused proves nothing about what is kept, and one that never is nothing about refusals.
  for (const status of [200, 201, 202, 204, 400, 401, 404, 405, 409, 413, 415, 422, 429]) {
    expect(counts.get(status) ?? 0, `answers with ${status}`).toBeGreaterThan(REQUESTS / 5_000)
  }
})
