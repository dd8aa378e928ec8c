/** Which Aidge products can be asked about: path, method and id parameter of each, as data. */

import { z } from 'zod'
import { DEFAULT_KIND } from '../../core/task.ts'

export interface AidgeKind {
  readonly name: string
  /** Without the `/rest` prefix that every path has. */
  readonly queryPath: string
  readonly method: 'POST' | 'GET'
  /** What the product calls the task id; in the JSON body of a POST, in the query string of a GET. */
  readonly idParameter: string
  readonly idsPerQuery: 1
}

function kind(name: string, queryPath: string, differences: Partial<AidgeKind> = {}): AidgeKind {
  return { name, queryPath, method: 'POST', idParameter: 'taskId', idsPerQuery: 1, ...differences }
}

/**
 * The asynchronous products of the vendor's documentation and samples. Most pages allow GET and POST; POST keeps the
 * task id out of proxies' logs. Image translation is documented with GET alone.
 *
 * The English try-on page and the vendor's samples say `task_id`, its Chinese page `taskId`. A kind of the same name in
 * the configuration replaces the one here, should the other spelling be the right one for an account.
 */
export const AIDGE_KINDS: readonly AidgeKind[] = [
  kind(DEFAULT_KIND, '/ai/virtual/model/generation/query'),
  kind('virtual-tryon', '/ai/virtual/tryon-results', { idParameter: 'task_id' }),
  kind('virtual-tryon-pro', '/ai/virtual/tryon-results', { idParameter: 'task_id' }),
  kind('hand-foot-repair', '/ai/hand-foot/repair-results'),
  kind('image-translation-pro', '/ai/image/translation_mllm/results', { method: 'GET' }),
  kind('image-detection', '/ai/image/detection/query'),
  kind('background-generation', '/ai/image/background/generation/query'),
  kind('video-removal', '/ai/video/removal/result'),
  kind('video-translation', '/ai/video/translation/result'),
]

const NAME_RULE = 'expected 1–64 lower-case letters, digits and hyphens, such as my-product'
const PATH_RULE = 'expected a path such as /ai/my/product/query, without /rest, query or spaces'
const METHOD_RULE = 'expected POST or GET'
const PARAMETER_RULE = 'expected a parameter name such as taskId'
const LIST_RULE = 'expected a JSON array such as [{"name":"my-product","queryPath":"/ai/my/product/query"}]'

const kindSchema = z.strictObject(
  {
    name: z.string({ error: NAME_RULE }).regex(/^[a-z0-9][a-z0-9-]{0,63}$/, { error: NAME_RULE }),
    queryPath: z
      .string({ error: PATH_RULE })
      .regex(/^(?!\/rest(\/|$))(\/[A-Za-z0-9._~-]+)+$/, { error: PATH_RULE })
      .max(256, { error: PATH_RULE }),
    method: z.enum(['POST', 'GET'], { error: METHOD_RULE }).default('POST'),
    idParameter: z
      .string({ error: PARAMETER_RULE })
      .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: PARAMETER_RULE })
      .default('taskId'),
  },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `unknown member ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}: there are name, queryPath, method and idParameter`
        : 'expected an object such as {"name":"my-product","queryPath":"/ai/my/product/query"}',
  },
)
const kindsSchema = z.array(kindSchema, { error: LIST_RULE })

export type ParsedKinds = { readonly kinds: readonly AidgeKind[] } | { readonly problems: readonly string[] }

/**
 * Reads the kinds that are added by configuration: a JSON array of `{name, queryPath, method?, idParameter?}`. All
 * problems at once, each saying where it is and what was expected.
 */
export function parseKinds(json: string): ParsedKinds {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return { problems: [`not JSON: ${LIST_RULE}`] }
  }
  const parsed = kindsSchema.safeParse(value)
  if (!parsed.success) return { problems: parsed.error.issues.map((issue) => problemText(issue, value)) }
  const problems = repeatedNames(parsed.data).map((name) => `the name "${name}" is given twice: names must be unique`)
  if (problems.length > 0) return { problems }
  return { kinds: parsed.data.map((given) => ({ ...given, idsPerQuery: 1 })) }
}

function problemText(issue: { path: PropertyKey[]; message: string; code?: string }, root: unknown): string {
  const place = issue.path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
  if (issue.code === 'unrecognized_keys') return `${place}: ${issue.message}`
  return `${place === '' ? 'as a whole' : place}: ${issue.message}; got ${excerpt(valueAt(root, issue.path))}`
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    return Reflect.get(value, key)
  }, root)
}

function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`
}

function repeatedNames(kinds: readonly { name: string }[]): readonly string[] {
  const names = kinds.map(({ name }) => name)
  return [...new Set(names.filter((name, index) => names.indexOf(name) !== index))]
}
