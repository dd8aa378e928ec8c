/** What can be wrong with a request that was good: in its line, its headers, its query, its body or the way it arrives. */

import fc from 'fast-check'
import type { Operation } from './openapi-arbitraries.ts'

/** Everything that a request is made of, before it becomes bytes. */
export interface Draft {
  readonly operation: Operation | null
  readonly method: string
  readonly path: string
  readonly query: readonly (readonly [string, string])[]
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  /** What is done to the text of the body, at last. */
  readonly text: ((text: string) => string | Uint8Array) | null
  readonly pieces: { readonly size: number; readonly breaksAfter: number | null } | null
}

type Change = (draft: Draft) => Partial<Draft>

const VALUES: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    -1,
    1.5,
    1e308,
    2 ** 53,
    '',
    ' ',
    '\0',
    '\ud800',
    '\udfff x',
    '\u202e',
    'null',
    [],
    {},
    [[]],
  ),
  fc.constantFrom(
    'x'.repeat(300),
    'x'.repeat(20_000),
    '../../etc/passwd',
    "'; drop table tasks --",
    '<script>',
    '\x1b[31m',
    'é',
    'e\u0301',
  ),
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer({ min: 2, max: 200 }).map((depth) => nested(depth)),
)

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < depth; level += 1) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

const NAMES = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    '',
    'task_id',
    'TaskId',
    'a/b~c',
    '\0',
    'status',
    'x'.repeat(500),
  ),
  fc.string({ unit: 'binary', maxLength: 10 }),
)

/** To the value of the body: wrong types, members missing, foreign or twisted; at any depth. */
const BODY_CHANGES: fc.Arbitrary<Change> = fc.oneof(
  VALUES.map((value) => () => ({ body: value })),
  fc.tuple(fc.nat(), VALUES).map(([at, value]) => onMember(at, (object, name) => define(object, name, value))),
  fc.nat().map((at) => onMember(at, (object, name) => void delete object[name])),
  fc.tuple(fc.nat(), NAMES, VALUES).map(([at, name, value]) => onMember(at, (object) => define(object, name, value))),
  fc.nat().map((at) => onMember(at, (object, name) => define(object, name, [object[name], object[name]]))),
)

/** A plain assignment to `__proto__` would be lost on the way. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
}

function onMember(at: number, change: (object: Record<string, unknown>, name: string) => void): Change {
  return (draft) => {
    const copy = structuredClone(draft.body)
    const members: (readonly [Record<string, unknown>, string])[] = []
    const collect = (value: unknown) => {
      if (typeof value !== 'object' || value === null || members.length > 200) return
      for (const [name, inner] of Object.entries(value)) {
        members.push([value as Record<string, unknown>, name])
        collect(inner)
      }
    }
    collect(copy)
    const [object, name] = members[at % Math.max(1, members.length)] ?? []
    if (object !== undefined && name !== undefined) change(object, name)
    return { body: copy }
  }
}

const TEXTS: readonly ((at: number) => (text: string) => string | Uint8Array)[] = [
  (at) => (text) => text.slice(0, at % (text.length + 1)),
  (at) => (text) => `${text.slice(0, at % (text.length + 1))}${text.slice((at * 7) % (text.length + 1))}`,
  () => (text) => text.replace('{', '{"taskId":"twice","taskId":7,'),
  () => (text) => `\ufeff${text}`,
  () => (text) => `${text} ${text}`,
  () => (text) => text.replaceAll('"', "'"),
  () => (text) => text.replace(/"/, '"\\ud800'),
  () => (text) => text.replace(/:/, ':NaN,"a":'),
  () => (text) => text.replace(/:/, ':1e999,"a":'),
  () => (text) => text.replace(/:/, ':12345678901234567890,"a":'),
  () => (text) => `/* */${text}`,
  () => () => '['.repeat(5_000),
  () => () => `${'{"a":'.repeat(63)}1${'}'.repeat(63)}`,
  () => (text) => new Uint8Array(Buffer.from(text, 'utf16le')),
  () => (text) => `${text}${' '.repeat(300_000)}`,
  (at) => (text) => withByte(text, at, 0xff),
  (at) => (text) => withByte(text, at, 0x00),
  (at) => (text) => withByte(text, at, at & 0xff),
]

function withByte(text: string, at: number, byte: number): Uint8Array {
  const bytes = new Uint8Array(Buffer.from(text))
  if (bytes.length > 0) bytes[at % bytes.length] = byte
  return bytes
}

const TEXT_CHANGES: fc.Arbitrary<Change> = fc
  .tuple(fc.constantFrom(...TEXTS), fc.nat({ max: 100_000 }))
  .map(([text, at]) => () => ({ text: text(at) }))

const HEADERS: fc.Arbitrary<readonly [string, string | null]> = fc.oneof(
  fc.tuple(
    fc.constant('authorization'),
    fc.constantFrom(
      null,
      'Bearer',
      'Bearer ',
      'Bearer wrong',
      'Basic cm9vdDpyb290',
      `Bearer ${'x'.repeat(8_000)}`,
      'bearer  \xff',
    ),
  ),
  fc.tuple(
    fc.constant('content-type'),
    fc.constantFrom(
      null,
      '',
      'text/plain',
      'application/json; charset=utf-16',
      'application/json;charset="utf-8"',
      'APPLICATION/JSON',
      'multipart/form-data; boundary=x',
      ';',
      'application/json, text/plain',
    ),
  ),
  fc.tuple(fc.constant('content-encoding'), fc.constantFrom('gzip', 'br', 'identity', 'GZIP, deflate', '')),
  fc.tuple(
    fc.constant('content-length'),
    fc.constantFrom('0', '1', '99999999999', '-1', '1e3', '0x10', '', '٣', '18446744073709551616'),
  ),
  fc.tuple(fc.constant('x-request-id'), fc.constantFrom('mine-1', 'a b', '', 'x'.repeat(200), '\xff', '<script>')),
  fc.tuple(fc.constant('transfer-encoding'), fc.constantFrom('chunked', 'gzip')),
  fc.tuple(fc.constant('host'), fc.constantFrom('', 'evil.example', '127.0.0.1:1')),
  fc.tuple(
    fc.constantFrom(
      'accept',
      'origin',
      'x-forwarded-for',
      'cookie',
      'range',
      'if-none-match',
      'x-http-method-override',
    ),
    LATIN1(),
  ),
)

/** What a header can carry at all. */
function LATIN1(): fc.Arbitrary<string> {
  return fc.string({
    unit: fc
      .integer({ min: 0x20, max: 0xff })
      .filter((code) => code !== 0x7f)
      .map((code) => String.fromCharCode(code)),
    maxLength: 40,
  })
}

const HEADER_CHANGES: fc.Arbitrary<Change> = HEADERS.filter(([, value]) => value === null || isLatin1(value)).map(
  ([name, value]) =>
    ({ headers }) => {
      const { [name]: _, ...others } = headers
      return { headers: value === null ? others : { ...others, [name]: value } }
    },
)

function isLatin1(text: string): boolean {
  return [...text].every((char) => char.charCodeAt(0) <= 0xff)
}

/** Refused by the Request class itself, or ways to speak to a proxy. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'BREW', 'get', 'M-SEARCH']

const LINE_CHANGES: fc.Arbitrary<Change> = fc.oneof(
  fc.constantFrom(...METHODS).map((method) => (draft: Draft) => ({
    operation: draft.method === method ? draft.operation : null,
    method,
  })),
  fc
    .constantFrom<(path: string) => string>(
      (path) => `${path}/`,
      (path) => `/${path}`,
      (path) => path.toUpperCase(),
      (path) => path.replace('/v1/', '/v1//'),
      (path) => path.replace('/v1/', '/v1/%2e%2e/'),
      (path) => path.replace('tasks', '%74asks'),
      (path) => `${path}%00`,
      (path) => `${path}%ff%fe`,
      (path) => `${path}%`,
      (path) => `${path}/${'x'.repeat(5_000)}`,
      (path) => `${path};a=b`,
      (path) => `${path}/../../openapi.json`,
      () => '/openapi.json',
      () => '/',
      () => '/v1',
      () => '/metrics',
    )
    .map((change) => ({ path }: Draft) => ({ operation: null, path: change(path) })),
  fc.webPath().map((path) => () => ({ operation: null, path: `/v1${path}` })),
)

const QUERY_VALUES = fc.oneof(
  fc.constantFrom(
    '',
    '0',
    '-1',
    '1e9',
    '007',
    '999999999999999999999',
    'pending',
    '\0',
    '%',
    '%ff',
    '+',
    '&',
    '=',
    'é',
    '\ud800',
  ),
  fc.string({ unit: 'binary', maxLength: 20 }),
)

const QUERY_CHANGES: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(fc.nat(), QUERY_VALUES).map(([at, value]) => ({ query }: Draft) => ({
    query: query.map(([name, old], index) => [name, index === at % query.length ? value : old] as const),
  })),
  fc
    .tuple(
      fc.constantFrom('limit', 'status', 'wait', 'order', 'token', 'access_token', '__proto__', '', 'sort'),
      QUERY_VALUES,
    )
    .map((pair) => ({ query }: Draft) => ({ query: [...query, pair] })),
  fc.constant(({ query }: Draft) => ({ query: [...query, ...query] })),
)

const PIECES: fc.Arbitrary<Change> = fc
  .record({ size: fc.integer({ min: 1, max: 40 }), breaksAfter: fc.option(fc.nat({ max: 4 })) })
  .map((pieces) => () => ({ pieces }))

export const CHANGES = fc.oneof(
  { arbitrary: BODY_CHANGES, weight: 6 },
  { arbitrary: TEXT_CHANGES, weight: 4 },
  { arbitrary: HEADER_CHANGES, weight: 4 },
  { arbitrary: QUERY_CHANGES, weight: 3 },
  { arbitrary: LINE_CHANGES, weight: 2 },
  { arbitrary: PIECES, weight: 1 },
)
