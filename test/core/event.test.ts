/** The body of an event: what receivers hold on to. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type EventSubject, eventBody, eventTypeOf } from '../../src/core/event.ts'
import type { Outcome, ResultImage } from '../../src/core/task.ts'
import { epochMs, toIso } from '../../src/core/time.ts'
import { anOutcome, at, NOW } from './builders.ts'

function aSubject(parts: Partial<EventSubject> = {}): EventSubject {
  return {
    id: 'task_1',
    taskId: '4dcfa662-d5b3-48d5-842e-a87f70ac1522',
    kind: 'virtual-model-generation',
    metadata: '{}',
    registeredAt: NOW,
    pollCount: 1,
    ...parts,
  }
}

const anInstant = fc.nat(4_102_444_800_000).map(epochMs)
const anyText = fc.string({ unit: 'binary' })
const aSize = fc.option(fc.nat(20_000))

const anImage: fc.Arbitrary<ResultImage> = fc.record({
  url: fc.webUrl({ withQueryParameters: true }),
  width: aSize,
  height: aSize,
  expiresAt: fc.option(anInstant),
})

/** JSON text as it may come over a wire: any spacing, and numbers that JavaScript cannot hold. */
function jsonText(isObject: boolean): fc.Arbitrary<string> {
  const value = fc.oneof(
    fc.json(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 80n }).map(String),
    fc.constantFrom('1.10', '1e400', '-0', '"\\u0041\\/"', '"https://a.test/x?Signature=5vdK%3D&b=%2F"'),
  )
  const space = fc.constantFrom('', ' ', '\n  ', '\t')
  const object = fc
    .array(fc.tuple(fc.string(), value, space), { maxLength: 5 })
    .map((members) => `{${members.map(([key, json, gap]) => `${gap}${JSON.stringify(key)}${gap}:${json}`).join(',')}}`)
  return isObject ? object : fc.oneof(object, value)
}

const aTaskError = fc.record({
  code: fc.constantFrom(
    'content_rejected',
    'invalid_input',
    'model_failed',
    'risk_control_failed',
    'not_found',
    'upstream_failed',
    'unknown',
  ),
  upstreamCode: fc.option(anyText),
  message: anyText,
  requestId: fc.option(anyText),
})

const anySubject: fc.Arbitrary<EventSubject> = fc.record({
  id: fc.stringMatching(/^[0-9a-z]{26}$/).map((text) => `task_${text}` as const),
  taskId: fc.stringMatching(/^[\x21-\x7e]{1,256}$/),
  kind: fc.constantFrom('virtual-model-generation', 'virtual-try-on', 'my"own\\kind'),
  metadata: jsonText(true),
  registeredAt: anInstant,
  pollCount: fc.nat(),
})

const anyOutcome: fc.Arbitrary<Outcome> = fc.record({
  status: fc.constantFrom('succeeded', 'failed', 'expired'),
  partial: fc.boolean(),
  images: fc.array(anImage, { maxLength: 4 }),
  error: fc.option(aTaskError),
  response: fc.option(jsonText(false)),
  responseTruncated: fc.boolean(),
})

const isoInstant = z.iso.datetime({ precision: 3 })

/** The public contract of a body, strictly: a field that is not promised is a mistake too. */
const bodySchema = z.strictObject({
  type: z.enum(['task.succeeded', 'task.failed', 'task.expired']),
  timestamp: isoInstant,
  data: z.strictObject({
    id: z.string().startsWith('task_'),
    taskId: z.string(),
    kind: z.string(),
    status: z.enum(['succeeded', 'failed', 'expired']),
    partial: z.boolean(),
    images: z.array(
      z.strictObject({
        url: z.string(),
        width: z.number().nullable(),
        height: z.number().nullable(),
        expiresAt: isoInstant.nullable(),
      }),
    ),
    error: z
      .strictObject({
        code: z.string(),
        upstreamCode: z.string().nullable(),
        message: z.string(),
        requestId: z.string().nullable(),
      })
      .nullable(),
    metadata: z.record(z.string(), z.unknown()),
    registeredAt: isoInstant,
    settledAt: isoInstant,
    pollCount: z.int(),
    response: z.unknown(),
    responseTruncated: z.literal(true).optional(),
  }),
})

describe('the body of an event', () => {
  test('is what the public contract says, for any task and outcome', () => {
    fc.assert(
      fc.property(anySubject, anyOutcome, anInstant, (subject, outcome, settledAt) => {
        const body = JSON.parse(eventBody(subject, outcome, settledAt)) as z.infer<typeof bodySchema>
        // Only judged by it: a schema leaves out a member called __proto__, which the body carries like any other.
        bodySchema.parse(body)
        expect(body.type).toBe(`task.${outcome.status}`)
        expect(body.timestamp).toBe(toIso(settledAt))
        expect(body.data).toEqual({
          id: subject.id,
          taskId: subject.taskId,
          kind: subject.kind,
          status: outcome.status,
          partial: outcome.partial,
          images: outcome.images.map((image) => ({
            ...image,
            expiresAt: image.expiresAt === null ? null : toIso(image.expiresAt),
          })),
          error: asOnTheWire(outcome.error),
          metadata: JSON.parse(subject.metadata),
          registeredAt: toIso(subject.registeredAt),
          settledAt: toIso(settledAt),
          pollCount: subject.pollCount,
          response: outcome.response === null ? null : JSON.parse(outcome.response),
          ...(outcome.responseTruncated ? { responseTruncated: true } : {}),
        })
      }),
    )
  })

  test('carries metadata and response byte for byte', () => {
    fc.assert(
      fc.property(anySubject, anyOutcome, jsonText(false), (subject, outcome, response) => {
        const body = eventBody(subject, { ...outcome, response }, NOW)
        expect(body).toContain(`,"metadata":${subject.metadata},"registeredAt":"`)
        expect(body).toContain(`,"response":${response}${outcome.responseTruncated ? ',' : '}'}`)
      }),
    )
  })

  test('leaves numbers beyond 2^53 and the spelling of signed URLs intact', () => {
    const metadata = '{ "order" : 12345678901234567890 }'
    const response =
      '{"taskId":9007199254740993,"price":1.10,"url":"https:\\/\\/a.test\\/x?Expires=27&Signature=5v%2FzA%3D"}'
    const body = eventBody(aSubject({ metadata }), anOutcome({ response }), NOW)
    expect(body).toContain('12345678901234567890')
    expect(body).toContain(response)
  })

  test('is the same bytes for the same input', () => {
    fc.assert(
      fc.property(anySubject, anyOutcome, anInstant, (subject, outcome, settledAt) => {
        const again = eventBody(structuredClone(subject), structuredClone(outcome), settledAt)
        expect(again).toBe(eventBody(subject, outcome, settledAt))
      }),
    )
  })

  test('is this, to the byte', () => {
    const image = {
      url: 'http://a.test/%2F.png?Signature=5v%3D&b=1',
      width: 768,
      height: null,
      expiresAt: at(3_600_000),
    }
    const response = '{"taskStatus":"finished"}'
    const outcome = anOutcome({ partial: true, images: [image], response })
    expect(eventBody(aSubject({ metadata: '{"order":1}', pollCount: 3 }), outcome, at(1_500))).toBe(
      [
        '{"type":"task.succeeded","timestamp":"2026-01-15T12:00:01.500Z","data":{"id":"task_1",',
        '"taskId":"4dcfa662-d5b3-48d5-842e-a87f70ac1522","kind":"virtual-model-generation",',
        '"status":"succeeded","partial":true,"images":[{"url":"http://a.test/%2F.png?Signature=5v%3D&b=1",',
        '"width":768,"height":null,"expiresAt":"2026-01-15T13:00:00.000Z"}],"error":null,',
        '"metadata":{"order":1},"registeredAt":"2026-01-15T12:00:00.000Z",',
        '"settledAt":"2026-01-15T12:00:01.500Z","pollCount":3,"response":{"taskStatus":"finished"}}}',
      ].join(''),
    )
  })

  test('says so where the response was too large to pass on, and nothing where it was not', () => {
    const truncated = eventBody(aSubject(), anOutcome({ responseTruncated: true }), NOW)
    expect(truncated).toMatch(/"response":null,"responseTruncated":true\}\}$/)
    expect(eventBody(aSubject(), anOutcome(), NOW)).not.toContain('responseTruncated')
  })
})

test('the type of an event is named from how the task ended', () => {
  const types = (['succeeded', 'failed', 'expired'] as const).map(eventTypeOf)
  expect(types).toEqual(['task.succeeded', 'task.failed', 'task.expired'])
})

/** Lone surrogates survive JSON text, so that comparing through it is exact. */
function asOnTheWire<T>(value: T): T {
  return JSON.parse(JSON.stringify(value))
}
