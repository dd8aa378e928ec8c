/** From an OpenAPI 3.1 document: its operations, values that its schemas allow, and what is wrong with values they do not. */

import fc from 'fast-check'

/** The part of JSON Schema that the document uses; a word that is not listed here is an error, not ignored. */
export interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly pattern?: string
  readonly format?: string
  readonly example?: unknown
  readonly default?: unknown
  readonly description?: string
}

interface Media {
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>
}

interface Described {
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: Media
  readonly responses: Readonly<Record<string, Media>>
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Described>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query'
  readonly required?: boolean
  readonly schema: Schema
}

export interface Operation {
  readonly method: string
  /** With `{names}`. */
  readonly path: string
  readonly parameters: readonly Parameter[]
  readonly body: Schema | null
  /** What an answer with this status carries, by content type. */
  readonly answers: ReadonlyMap<number, Readonly<Record<string, Schema>>>
}

export function operationsOf({ paths }: OpenApiDocument): readonly Operation[] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters = [], requestBody, responses }]) => ({
      method: method.toUpperCase(),
      path,
      parameters,
      body: requestBody?.content?.['application/json']?.schema ?? null,
      answers: new Map(Object.entries(responses).map(([status, media]) => [Number(status), schemasOf(media)])),
    })),
  )
}

function schemasOf({ content = {} }: Media): Readonly<Record<string, Schema>> {
  return Object.fromEntries(Object.entries(content).map(([type, { schema }]) => [type, schema]))
}

/** What a text is likely to be when the schema does not say: by the name of its property or parameter. */
export type Hint = (name: string) => fc.Arbitrary<string> | null

/** Values that the schema allows. Those of texts are weighted towards examples, defaults and hints, or few would be kept. */
export function allowedBy(schema: Schema, document: OpenApiDocument, hint: Hint, name = ''): fc.Arbitrary<unknown> {
  const inside = (part: Schema, partName = name) => allowedBy(part, document, hint, partName)
  const { $ref, anyOf, enum: values } = schema
  if ($ref !== undefined) return inside(resolve($ref, document))
  if (values !== undefined) return fc.constantFrom(...values)
  if (anyOf !== undefined) return fc.oneof(...anyOf.map((part) => inside(part)))
  const types = typesOf(schema)
  if (types.length === 0) return fc.jsonValue({ maxDepth: 2 })
  return fc.oneof(...types.map((type) => ofType(type, schema, inside, hint(name))))
}

type Inside = (part: Schema, name?: string) => fc.Arbitrary<unknown>

function ofType(type: string, schema: Schema, inside: Inside, likely: fc.Arbitrary<string> | null) {
  switch (type) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'integer':
      return fc.integer({ min: schema.minimum ?? -(2 ** 31), max: schema.maximum ?? 2 ** 31 - 1 })
    case 'number':
      return fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }))
    case 'string':
      return text(schema, likely)
    case 'array':
      return fc.array(inside(schema.items ?? {}), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? 8, 8),
      })
    case 'object':
      return object(schema, inside)
    default:
      throw new Error(`a schema has the type ${type}, for which no values are made`)
  }
}

const INSTANTS = fc
  .date({ min: new Date('1970-01-01T00:00:00Z'), max: new Date('2100-01-01T00:00:00Z'), noInvalidDate: true })
  .map((date) => date.toISOString())

function text(schema: Schema, likely: fc.Arbitrary<string> | null): fc.Arbitrary<string> {
  const { minLength = 0, maxLength = 300, pattern, format, example } = schema
  const given = [example, schema.default].filter((value) => typeof value === 'string')
  const free =
    pattern === undefined ? fc.string({ unit: 'binary', minLength, maxLength }) : fc.stringMatching(new RegExp(pattern))
  return fc.oneof(
    { arbitrary: free, weight: given.length === 0 && likely === null ? 3 : 1 },
    ...(given.length === 0 ? [] : [{ arbitrary: fc.constantFrom(...given), weight: 5 }]),
    ...(likely === null ? [] : [{ arbitrary: likely, weight: 6 }]),
    ...(format === 'date-time' ? [{ arbitrary: INSTANTS, weight: 3 }] : []),
    ...(format === 'uri' ? [{ arbitrary: fc.webUrl({ withQueryParameters: true }), weight: 2 }] : []),
  )
}

/** Members that may be left out are left out more often than not: most combinations of all of them contradict each other. */
function object(schema: Schema, inside: Inside): fc.Arbitrary<object> {
  const required = new Set(schema.required)
  const properties = Object.entries(schema.properties ?? {})
  const members = properties.map(([name, part]) => {
    const value = inside(part, name)
    const one = value.map((chosen) => [[name, chosen]] as const)
    return required.has(name) ? one : fc.oneof({ arbitrary: fc.constant([]), weight: 2 }, { arbitrary: one, weight: 1 })
  })
  const isOpen = schema.additionalProperties !== undefined && schema.additionalProperties !== false
  const others = isOpen
    ? fc.dictionary(fc.string({ maxLength: 20 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
    : fc.constant({})
  return fc
    .tuple(fc.tuple(...members), others)
    .map(([chosen, more]) => ({ ...more, ...Object.fromEntries(chosen.flat()) }))
}

function typesOf({ type, properties }: Schema): readonly string[] {
  if (type === undefined) return properties === undefined ? [] : ['object']
  return typeof type === 'string' ? [type] : type
}

function resolve($ref: string, document: OpenApiDocument): Schema {
  const name = $ref.replace('#/components/schemas/', '')
  const schema = document.components.schemas[name]
  if (schema === undefined) throw new Error(`the document refers to ${$ref}, which is not there`)
  return schema
}

const KNOWN_WORDS = new Set<string>([
  ...['$ref', 'type', 'enum', 'anyOf', 'allOf', 'properties', 'required', 'additionalProperties', 'items'],
  ...['minItems', 'maxItems', 'minLength', 'maxLength', 'minimum', 'maximum', 'pattern', 'format'],
  ...['example', 'default', 'description'],
])

/**
 * What is wrong with a value, each with its place; nothing when the schema describes it. Stricter than JSON Schema in one
 * point: a member that no schema names is wrong, for a document is there to say what comes.
 */
export function faultsIn(value: unknown, schema: Schema, document: OpenApiDocument, place = ''): readonly string[] {
  const unknownWord = Object.keys(schema).find((word) => !KNOWN_WORDS.has(word))
  if (unknownWord !== undefined) throw new Error(`the document uses ${unknownWord}, which is not checked here`)
  const flat = merged(schema, document)
  const { anyOf, enum: values } = flat
  if (values !== undefined)
    return values.includes(value) ? [] : [`${place}: ${shown(value)} is none of ${values.join()}`]
  if (anyOf !== undefined) {
    const each = anyOf.map((part) => faultsIn(value, part, document, place))
    return each.some((faults) => faults.length === 0) ? [] : each.flat()
  }
  const types = typesOf(flat)
  if (types.length === 0) return []
  const type = types.find((name) => isOf(name, value))
  if (type === undefined) return [`${place}: ${shown(value)} is no ${types.join(' or ')}`]
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => faultsIn(item, flat.items ?? {}, document, `${place}/${index}`))
  }
  if (typeof value === 'object' && value !== null) return memberFaults(value, flat, document, place)
  return typeof value === 'string' ? textFaults(value, flat, place) : []
}

/** `extend` in the source becomes `allOf` in the document: read here as one schema with all the members. */
function merged(schema: Schema, document: OpenApiDocument): Schema {
  if (schema.$ref !== undefined) return merged(resolve(schema.$ref, document), document)
  const { allOf, ...rest } = schema
  if (allOf === undefined) return schema
  const parts = [...allOf.map((part) => merged(part, document)), rest]
  const properties: Record<string, Schema> = {}
  for (const part of parts) Object.assign(properties, part.properties)
  return { type: 'object', properties, required: parts.flatMap(({ required = [] }) => required) }
}

function memberFaults(value: object, schema: Schema, document: OpenApiDocument, place: string): readonly string[] {
  const { properties = {}, required = [], additionalProperties } = schema
  const missing = required.filter((name) => !Object.hasOwn(value, name)).map((name) => `${place}/${name}: is missing`)
  const wrong = Object.entries(value).flatMap(([name, member]) => {
    const part = Object.hasOwn(properties, name) ? properties[name] : additionalProperties
    if (part === undefined || part === false) return [`${place}/${name}: is not described`]
    return part === true ? [] : faultsIn(member, part, document, `${place}/${name}`)
  })
  return [...missing, ...wrong]
}

function textFaults(value: string, { format, pattern }: Schema, place: string): readonly string[] {
  if (format === 'date-time' && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value)) {
    return [`${place}: ${shown(value)} is no instant`]
  }
  if (pattern !== undefined && !new RegExp(pattern).test(value)) return [`${place}: ${shown(value)} breaks ${pattern}`]
  return []
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  // For the others JSON Schema and JavaScript have the same names.
  return typeof value === type
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 100) ?? 'nothing'
}
