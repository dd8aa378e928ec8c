/** Requests for the API, drawn from its own OpenAPI document: good ones, and good ones that something was done to. */

import fc from 'fast-check'
import { CHANGES, type Draft } from './http-changes.ts'
import { allowedBy, type Hint, type OpenApiDocument, type Operation, type Schema } from './openapi-arbitraries.ts'

export interface FuzzRequest {
  /** `POST /v1/tasks`; null when the path or the method was changed: then nothing is described. */
  readonly operation: string | null
  readonly method: string
  /** With the query. References to what is known by now (`@@task:7@@`) are filled in when it is sent. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array | null
  /** Sent in pieces of this many bytes, and broken off after as many. */
  readonly pieces: Draft['pieces']
}

/** What answers have shown so far: ids, cursors, the ids of Aidge. */
export const KNOWN = ['task', 'ep', 'dlv', 'evt', 'job', 'aidge', 'cursor', 'url'] as const
export type Known = (typeof KNOWN)[number]

const reference = (kind: Known) => fc.nat({ max: 9999 }).map((index) => `@@${kind}:${index}@@`)

export type KnownValues = Readonly<Record<Known, readonly string[]>>

/** Replaces references by what is known, and by nothing while nothing is. */
export function filledIn(text: string, known: KnownValues, escaping: (value: string) => string): string {
  return text.replaceAll(/@@([a-z]+):(\d+)@@/g, (_, kind: Known, index: string) => {
    const values = known[kind] ?? []
    return escaping(values[Number(index) % Math.max(1, values.length)] ?? '')
  })
}

function hintFor(operation: Operation) {
  const noun = /^\/v1\/(tasks|deliveries|events|endpoints|jobs)/.exec(operation.path)?.[1]
  const own = ({ tasks: 'task', deliveries: 'dlv', events: 'evt', endpoints: 'ep', jobs: 'job' } as const)[
    noun as 'tasks'
  ]
  return (name: string): fc.Arbitrary<string> | null => {
    if (name === 'id') return fc.oneof({ arbitrary: reference(own ?? 'task'), weight: 9 }, reference('ep'))
    if (name === 'taskId') return fc.oneof({ arbitrary: NEW_ID, weight: 3 }, reference('task'), reference('aidge'))
    if (name === 'endpointId') return reference('ep')
    if (name === 'cursor') return reference('cursor')
    if (name === 'callbackUrl' || name === 'url') {
      return fc.oneof(
        { arbitrary: reference('url'), weight: 3 },
        { arbitrary: NEW_URL, weight: 2 },
        fc.constantFrom(...URLS),
      )
    }
    if (name === 'deadline' || name === 'overlap')
      return fc.constantFrom('2h', '24h', '1ms', '7d', '0s', '365d', '1e9h', '-1s')
    if (name === 'since' || name === 'until')
      return fc.constantFrom('24h', '2026-11-22T11:59:00Z', '1970-01-01T00:00:00+14:00', '999999d', '0s', '2026-11-22')
    if (name === 'submittedAt')
      return fc.constantFrom('2026-11-22T11:59:00Z', '2026-11-21T23:59:59.999+01:00', '2026-11-22T12:00:00')
    if (name === 'secret') return fc.base64String({ minLength: 32, maxLength: 88 }).map((text) => `whsec_${text}`)
    return null
  }
}

const NEW_ID = fc.stringMatching(/^[\x21-\x7e]{1,24}$/)
const NEW_URL = fc.nat({ max: 9999 }).map((index) => `https://shop-${index}.example/hooks`)
const URLS = [
  'https://example.com/hook',
  'https://example.com:8443/a%2fb?key=1&key=2',
  'https://xn--bcher-kva.example/ü?ü#ü',
  'https://me:secret@example.com/',
  'http://127.0.0.1/',
  'https://[::ffff:a9fe:a9fe]/',
  'ftp://example.com/',
  'https://',
  `https://example.com/${'x'.repeat(3000)}`,
]

export function nameOf({ method, path }: Operation): string {
  return `${method} ${path}`
}

export function fuzzRequests(
  operations: readonly Operation[],
  document: OpenApiDocument,
  token: string,
): fc.Arbitrary<FuzzRequest> {
  const drafts = operations.map((operation) => ({
    // What takes a body has more to get wrong.
    weight: operation.body === null ? 1 : 5,
    arbitrary: goodDraft(operation, document, token),
  }))
  const changes = fc.oneof(
    { arbitrary: fc.constant([]), weight: 5 },
    { arbitrary: fc.array(CHANGES, { minLength: 1, maxLength: 1 }), weight: 5 },
    { arbitrary: fc.array(CHANGES, { minLength: 2, maxLength: 3 }), weight: 2 },
  )
  return fc.tuple(fc.oneof(...drafts), changes).map(([good, list]) => {
    let draft: Draft = good
    for (const change of list) draft = { ...draft, ...change(draft) }
    return requestOf(draft)
  })
}

function goodDraft(operation: Operation, document: OpenApiDocument, token: string): fc.Arbitrary<Draft> {
  const hint = hintFor(operation)
  const parameters = operation.parameters.map(({ name, required, schema }) => {
    const value = allowedBy(schema, document, hint, name).map(String)
    return required === true ? value : fc.option(value, { freq: 1, nil: null })
  })
  const body = operation.body === null ? fc.constant(undefined) : bodyBy(operation.body, document, hint)
  return fc.tuple(fc.tuple(...parameters), body).map(([values, value]) => {
    const given = operation.parameters.map((parameter, index) => ({ ...parameter, value: values[index] ?? null }))
    const inPath = given.filter((parameter) => parameter.in === 'path')
    const query = given.flatMap(({ in: place, name, value: text }) =>
      place === 'query' && text !== null ? [[name, text] as const] : [],
    )
    const path = inPath.reduce(
      (all, { name, value: text }) => all.replace(`{${name}}`, escaped(text ?? '')),
      operation.path,
    )
    const headers = {
      authorization: `Bearer ${token}`,
      ...(value === undefined ? {} : { 'content-type': 'application/json' }),
    }
    return { operation, method: operation.method, path, query, headers, body: value, text: null, pieces: null }
  })
}

/** Registrations want exactly one of two members, which no schema says: most get it, whatever was drawn. */
function bodyBy(schema: Schema, document: OpenApiDocument, hint: Hint): fc.Arbitrary<unknown> {
  const drawn = fc.tuple(allowedBy(schema, document, hint), NEW_URL, fc.nat({ max: 4 }))
  return drawn.map(([body, callbackUrl, luck]) => {
    if (luck === 0 || typeof body !== 'object' || body === null) return body
    if ('tasks' in body && Array.isArray(body.tasks)) {
      return { ...body, tasks: body.tasks.map((task) => withOneCallback(task, callbackUrl)) }
    }
    return withOneCallback(body, callbackUrl)
  })
}

function withOneCallback(body: object, callbackUrl: string): object {
  if (!('taskId' in body)) return body
  if (!('endpointId' in body)) return { callbackUrl, ...body }
  const { endpointId, ...others } = body
  return 'callbackUrl' in others ? others : body
}

/** Encodes what has to be, and leaves references readable; half a surrogate pair cannot be encoded at all. */
function escaped(text: string): string {
  return encodeURIComponent(text.replaceAll(/\p{Cs}/gu, '\ufffd'))
    .replaceAll('%40', '@')
    .replaceAll('%3A', ':')
}

function requestOf({ operation, method, path, query, headers, body, text, pieces }: Draft): FuzzRequest {
  const search = query.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).join('&')
  const json = body === undefined ? null : JSON.stringify(body)
  return {
    operation: operation === null ? null : nameOf(operation),
    method,
    target: search === '' ? path : `${path}?${search}`,
    headers,
    body: json === null || text === null ? json : text(json),
    pieces,
  }
}
