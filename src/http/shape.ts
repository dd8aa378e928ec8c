/** Checks a value's shape by its schema, and says what is wrong with it as faults that a person can act on. */

import type { z } from '@hono/zod-openapi'
import { AppError, type Fault } from '../core/errors.ts'
import { pointerToken, shown } from '../core/shown.ts'

type Issue = z.core.$ZodIssue

export type Shaped<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: AppError }

/** `base` is the pointer of the value itself: empty for a whole body. */
export function shape<T>(schema: z.ZodType<T>, value: unknown, base = ''): Shaped<T> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return { ok: true, value: parsed.data }
  const faults = parsed.error.issues.flatMap((issue) => faultsOf(issue, value, base, knownFields(schema)))
  return { ok: false, error: invalid(faults) }
}

/** The same, for a whole body or query: throws `invalid` (422). */
export function shaped<T>(schema: z.ZodType<T>, value: unknown, base = ''): T {
  const result = shape(schema, value, base)
  if (!result.ok) throw result.error
  return result.value
}

/** Query parameters as an object. A name that is given twice is refused, because one of the two would be ignored. */
export function queryOf<T>(schema: z.ZodType<T>, url: string): T {
  const parameters = new URL(url).searchParams
  const query: Record<string, string> = Object.create(null)
  for (const [name, value] of parameters) {
    if (name in query) {
      throw invalid([
        { pointer: `/query/${pointerToken(name)}`, code: 'duplicate', message: 'is given twice; send it once' },
      ])
    }
    query[name] = value
  }
  return shaped(schema, query, '/query')
}

export function invalid(faults: readonly Fault[]): AppError {
  const [first] = faults
  const detail =
    faults.length === 1 && first !== undefined
      ? `${first.pointer.slice(1) || 'the body'}: ${first.message}`
      : `${faults.length} things are wrong; see errors`
  return new AppError('invalid', detail, { faults })
}

/** More would only make a long answer longer. */
const UNKNOWN_FIELDS_MAX = 20

function faultsOf(issue: Issue, value: unknown, base: string, known: readonly string[]): readonly Fault[] {
  const pointer = `${base}${issue.path.map((key) => `/${pointerToken(String(key))}`).join('')}`
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, UNKNOWN_FIELDS_MAX).map((key) => ({
      pointer: `${pointer}/${pointerToken(key)}`,
      code: 'unknown_field',
      message: `${shown(key)} is not known here; known are ${known.join(', ')}`,
    }))
  }
  const found = valueAt(value, issue.path)
  if (found === undefined) {
    const expected = issue.code === 'invalid_type' ? `; expected ${inWords(issue.expected)}` : ''
    return [{ pointer, code: 'missing', message: `is missing${expected}` }]
  }
  if (issue.code === 'invalid_type') {
    return [{ pointer, code: 'invalid_type', message: `expected ${inWords(issue.expected)}, got ${shown(found)}` }]
  }
  const got = Array.isArray(found) ? `${found.length} items` : shown(found)
  return [{ pointer, code: codeOf(issue), message: `${issue.message}, got ${got}` }]
}

function codeOf(issue: Issue): string {
  if (issue.code === 'invalid_union') return 'invalid_type'
  return issue.code === 'too_big' || issue.code === 'too_small' ? 'out_of_range' : 'invalid_value'
}

function inWords(type: string): string {
  if (type === 'string') return 'text'
  if (type === 'array') return 'a list'
  return type === 'object' ? 'a JSON object' : `a ${type}`
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (part, key) => (typeof part === 'object' && part !== null ? Reflect.get(part, key) : undefined),
    value,
  )
}

function knownFields(schema: z.ZodType): readonly string[] {
  return 'shape' in schema && typeof schema.shape === 'object' && schema.shape !== null ? Object.keys(schema.shape) : []
}
