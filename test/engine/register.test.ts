/** Registering: which inputs become registrations, and what is said about the others. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCadence } from '../../src/core/cadence.ts'
import { DAY, type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createRegistrar, type RegistrationInput } from '../../src/engine/register.ts'
import type { GuardUrl } from '../../src/ports.ts'
import type { Registered, Registration, Task } from '../../src/store/store.ts'

const NOW = epochMs(Date.UTC(2026, 10, 22, 12))
const SETTINGS = { taskDeadlineMs: 24 * HOUR }
/** A query is worth so little waiting that it is made as soon as it may. */
const CADENCE = { intervalMinMs: 2 * SECOND, intervalMaxMs: MINUTE, pollCostMs: 1 }
const KINDS: readonly string[] = ['virtual-model-generation', 'image-translation']

const guardUrl: GuardUrl = (url) =>
  url.startsWith('https://')
    ? { isAllowed: true, url: url.toLowerCase() }
    : { isAllowed: false, code: 'insecure_scheme', message: 'use https' }

function aTask(registration: Registration): Task {
  const { taskId, kind, metadata, submittedAt, deadlineAt, firstPollAt } = registration
  return {
    id: `task_${taskId.length}`,
    taskId,
    kind,
    status: 'pending',
    metadata,
    registeredAt: NOW,
    submittedAt,
    settledAt: null,
    deadlineAt,
    nextPollAt: firstPollAt,
    pollCount: 0,
    lastObservation: null,
    eventId: null,
    outcome: null,
    subscriptions: [],
  }
}

function aRegistrar(answer: (registration: Registration) => Registered = kept, now: EpochMs = NOW) {
  const calls: (readonly Registration[])[] = []
  const told: (readonly Registered[])[] = []
  const registrar = createRegistrar(
    {
      store: {
        async registerTasks({ registrations }) {
          calls.push(registrations)
          return registrations.map(answer)
        },
      },
      upstream: {
        kinds: () => KINDS,
        idsPerQuery: (kind) => (KINDS.includes(kind) ? 1 : null),
        credentialOf: (kind) => `key of ${kind}`,
      },
      guardUrl,
      clock: { now: () => now },
      cadences: { ...createCadence(CADENCE), priceFactorOf: () => 1 },
      onRegistered: (registered) => told.push(registered),
    },
    SETTINGS,
  )
  return { ...registrar, calls, told }
}

const kept = (registration: Registration): Registered => ({
  kind: 'registered',
  task: aTask(registration),
  isNew: true,
})

const anInput = (input: Partial<RegistrationInput> = {}): RegistrationInput => ({
  taskId: '9f2c1e77',
  callbackUrl: 'https://example.com/hook',
  ...input,
})

async function registrationOf(input: Partial<RegistrationInput>): Promise<Registration> {
  const registrar = aRegistrar()
  const [result] = await registrar.register([anInput(input)])
  if (result?.ok !== true) throw new Error(`refused: ${result?.error.message}`)
  return registrar.calls[0]![0]!
}

async function faultsOf(input: Partial<RegistrationInput>) {
  const registrar = aRegistrar()
  const [result] = await registrar.register([anInput(input)])
  if (result?.ok !== false) throw new Error('accepted')
  expect(registrar.calls).toEqual([])
  expect(registrar.told).toEqual([])
  expect(result.error.code).toBe('invalid')
  return result.error.faults
}

describe('what goes in', () => {
  test('an id and a callback are enough', async () => {
    expect(await registrationOf({})).toEqual({
      taskId: '9f2c1e77',
      kind: 'virtual-model-generation',
      credential: 'key of virtual-model-generation',
      callback: { kind: 'url', url: 'https://example.com/hook' },
      metadata: '{}',
      submittedAt: null,
      deadlineAt: NOW + 24 * HOUR,
      firstPollAt: NOW,
    })
  })

  test('an endpoint takes the place of a callback', async () => {
    const { callback } = await registrationOf({ callbackUrl: undefined, endpointId: 'ep_01abc' })
    expect(callback).toEqual({ kind: 'endpoint', endpointId: 'ep_01abc' })
  })

  test('a kind of its own, with the credential that pays for it', async () => {
    const registration = await registrationOf({ kind: 'image-translation' })
    expect(registration).toMatchObject({ kind: 'image-translation', credential: 'key of image-translation' })
  })

  test('the URL is kept as the guard writes it', async () => {
    const { callback } = await registrationOf({ callbackUrl: 'https://EXAMPLE.com/hook' })
    expect(callback).toEqual({ kind: 'url', url: 'https://example.com/hook' })
  })

  test.each([
    ['2h', NOW + 2 * HOUR],
    ['365d', NOW + 365 * DAY],
    ['2026-11-22T13:00:00Z', NOW + HOUR],
    ['2026-11-22T14:00:00.5+01:00', NOW + HOUR + 500],
  ])('a deadline of %s', async (deadline, deadlineAt) => {
    expect((await registrationOf({ deadline })).deadlineAt).toBe(deadlineAt)
  })

  test.each([
    ['2026-11-22T11:59:00Z', NOW - MINUTE],
    [NOW - MINUTE, NOW - MINUTE],
    // Clocks differ a little: what is a few minutes ahead counts as now.
    [NOW + 5 * MINUTE, NOW],
    ['2026-11-22T12:01:00Z', NOW],
  ])('a submission at %s', async (submittedAt, kept) => {
    expect((await registrationOf({ submittedAt })).submittedAt).toBe(kept)
  })

  test('metadata comes back as it was given', async () => {
    const metadata = JSON.parse('{"a":[1,2.5,-0.1,null,true],"__proto__":{"x":"é\\u0000"},"max":9007199254740991}')
    expect((await registrationOf({ metadata })).metadata).toBe(JSON.stringify(metadata))
  })
})

describe('the first question', () => {
  test('is asked at once when nobody knows how old the task is', async () => {
    expect((await registrationOf({})).firstPollAt).toBe(NOW)
  })
  test('is asked at once when the task is older than the first interval', async () => {
    expect((await registrationOf({ submittedAt: NOW - 3 * HOUR })).firstPollAt).toBe(NOW)
    expect((await registrationOf({ submittedAt: NOW - 2 * SECOND })).firstPollAt).toBe(NOW)
  })
  test('waits for the first interval after the submission of a younger task', async () => {
    expect((await registrationOf({ submittedAt: NOW - 500 })).firstPollAt).toBe(NOW + 1500)
    expect((await registrationOf({ submittedAt: NOW })).firstPollAt).toBe(NOW + 2 * SECOND)
  })
  test('is never asked after the deadline', async () => {
    const registration = await registrationOf({ submittedAt: NOW, deadline: '500ms' })
    expect(registration.firstPollAt).toBe(NOW + 500)
  })
})

describe('what does not', () => {
  const LONG = 'x'.repeat(300)
  test.each([
    ['an empty id', { taskId: '' }, '/taskId', 'invalid_task_id', '""'],
    ['an id with a space', { taskId: 'a b' }, '/taskId', 'invalid_task_id', '"a b"'],
    ['an id with a NUL', { taskId: 'a\0b' }, '/taskId', 'invalid_task_id', '"a\\u0000b"'],
    ['an id with a line break', { taskId: 'a\n' }, '/taskId', 'invalid_task_id', '"a\\n"'],
    ['an id with an emoji', { taskId: 'a😀' }, '/taskId', 'invalid_task_id', '"a😀"'],
    ['an id of 300 characters', { taskId: LONG }, '/taskId', 'invalid_task_id', '(300 characters)'],
    ['a lone surrogate', { taskId: '\ud800' }, '/taskId', 'invalid_task_id', '\\ud800'],
    ['text that would turn a line around', { taskId: 'a\u202eb' }, '/taskId', 'invalid_task_id', '\\u202e'],
    ['no callback', { callbackUrl: undefined }, '/callbackUrl', 'missing', 'endpointId'],
    ['two callbacks', { endpointId: 'ep_1' }, '/endpointId', 'conflicting', 'only one'],
    ['a URL that the guard refuses', { callbackUrl: 'ftp://x' }, '/callbackUrl', 'insecure_scheme', 'use https'],
    ['no endpoint id', { callbackUrl: undefined, endpointId: 'E1' }, '/endpointId', 'unknown_endpoint', '"E1"'],
    ['an unknown kind', { kind: 'video' }, '/kind', 'unknown_kind', 'virtual-model-generation, image-translation'],
    ['metadata that is a list', { metadata: [] }, '/metadata', 'invalid_type', 'a list'],
    ['metadata that is null', { metadata: null }, '/metadata', 'invalid_type', 'null'],
    ['large metadata', { metadata: { a: 'é'.repeat(8200) } }, '/metadata', 'too_large', '16408 bytes'],
    ['a number beyond 2^53', { metadata: { 'a/b': [2 ** 53] } }, '/metadata/a~1b/0', 'inexact_number', 'as text'],
    ['a number beyond all', { metadata: { a: Number.POSITIVE_INFINITY } }, '/metadata/a', 'inexact_number', 'Infinity'],
    ['a deadline of a word', { deadline: 'soon' }, '/deadline', 'invalid_instant', '"soon"'],
    ['a deadline without a zone', { deadline: '2026-11-23T00:00:00' }, '/deadline', 'invalid_instant', 'such as 30m'],
    ['a deadline of nothing', { deadline: '0s' }, '/deadline', 'out_of_range', 'not in the future'],
    ['a deadline that has passed', { deadline: '2026-11-22T12:00:00Z' }, '/deadline', 'out_of_range', 'not in the fut'],
    ['a deadline in two years', { deadline: '366d' }, '/deadline', 'out_of_range', '365d'],
    ['a submission tomorrow', { submittedAt: NOW + DAY }, '/submittedAt', 'out_of_range', 'in the future'],
    ['a submission in seconds', { submittedAt: 1_790_000_000 }, '/submittedAt', 'out_of_range', '1970-01-21'],
    [
      'a submission of half a millisecond',
      { submittedAt: NOW - 0.5 },
      '/submittedAt',
      'invalid_instant',
      'whole milli',
    ],
    ['a submission of a word', { submittedAt: 'yesterday' }, '/submittedAt', 'invalid_instant', '"yesterday"'],
  ] satisfies [string, Partial<RegistrationInput>, string, string, string][])(
    '%s',
    async (_, input, pointer, code, said) => {
      const faults = await faultsOf(input)
      expect(faults).toEqual([{ pointer, code, message: expect.stringContaining(said) }])
    },
  )

  test('metadata may nest 32 levels and no more', async () => {
    const nested = (depth: number): object => (depth === 1 ? {} : { a: nested(depth - 1) })
    expect((await registrationOf({ metadata: nested(32) })).metadata).toHaveLength(2 + 31 * 6)
    expect(await faultsOf({ metadata: nested(33) })).toMatchObject([{ pointer: '/metadata', code: 'too_deep' }])
  })

  test('metadata may be 16 KiB and no more', async () => {
    const sized = (byteCount: number) => ({ a: 'x'.repeat(byteCount - '{"a":""}'.length) })
    expect((await registrationOf({ metadata: sized(16384) })).metadata).toHaveLength(16384)
    expect(await faultsOf({ metadata: sized(16385) })).toMatchObject([{ code: 'too_large' }])
  })

  test('all faults of an input are told at once', async () => {
    const faults = await faultsOf({
      taskId: ' ',
      callbackUrl: 'x',
      kind: 'x',
      metadata: 1,
      deadline: 'x',
      submittedAt: 'x',
    })
    expect(faults.map(({ pointer }) => pointer)).toEqual([
      '/taskId',
      '/callbackUrl',
      '/kind',
      '/metadata',
      '/deadline',
      '/submittedAt',
    ])
  })

  test('a message shows at most a hundred characters of a value', async () => {
    const [fault] = await faultsOf({ taskId: ' '.repeat(100_000) })
    expect(fault!.message.length).toBeLessThan(300)
  })

  test('a pointer into metadata names a key of any length in a hundred characters', async () => {
    const [fault] = await faultsOf({ metadata: { ['k'.repeat(10_000)]: 2 ** 60 } })
    expect(fault).toMatchObject({ pointer: `/metadata/${'k'.repeat(100)}`, code: 'inexact_number' })
  })

  test('an instant beyond those that can be written is none', async () => {
    expect(await faultsOf({ submittedAt: 9_000_000_000_000_000 })).toMatchObject([{ code: 'invalid_instant' }])
  })

  test('an endpoint that the store does not know', async () => {
    const registrar = aRegistrar(() => ({ kind: 'unknown_endpoint', endpointId: 'ep_gone' }))
    const [result] = await registrar.register([anInput({ callbackUrl: undefined, endpointId: 'ep_gone' })])
    expect(result).toMatchObject({
      ok: false,
      error: { code: 'invalid', faults: [{ pointer: '/endpointId', code: 'unknown_endpoint' }] },
    })
  })
})

describe('many at once', () => {
  test('a bad one does not stop the others, and results keep the order', async () => {
    const registrar = aRegistrar()
    const results = await registrar.register(['a', 'b b', 'ccc'].map((taskId) => anInput({ taskId })))
    expect(results.map((result) => (result.ok ? result.task.taskId : result.error.faults[0]!.code))).toEqual([
      'a',
      'invalid_task_id',
      'ccc',
    ])
    expect(registrar.calls).toHaveLength(1)
    expect(registrar.calls[0]!.map(({ taskId }) => taskId)).toEqual(['a', 'ccc'])
    expect(registrar.told).toHaveLength(1)
  })

  test('of several alike the first goes in; another callback or kind is not alike', async () => {
    const registrar = aRegistrar()
    const results = await registrar.register([
      anInput(),
      anInput({ callbackUrl: 'https://EXAMPLE.com/hook' }),
      anInput({ callbackUrl: 'https://example.com/other' }),
      anInput({ kind: 'image-translation' }),
      anInput({ callbackUrl: undefined, endpointId: 'ep_1' }),
      anInput(),
    ])
    expect(results.map((result) => (result.ok ? 'in' : result.error.faults[0]!.code))).toEqual([
      'in',
      'duplicate',
      'in',
      'in',
      'in',
      'duplicate',
    ])
    expect(results[5]).toMatchObject({ error: { faults: [{ message: expect.stringContaining('item 0') }] } })
  })

  test('a store that fails fails the call, and nobody is woken', async () => {
    const registrar = aRegistrar(() => {
      throw new Error('disk')
    })
    await expect(registrar.register([anInput()])).rejects.toThrow('disk')
    expect(registrar.told).toEqual([])
  })

  test('for all inputs: one result each, and what goes in obeys the rules', async () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('a', 'ep_1', 'https://x.y', '2h', '9d'),
    )
    const input = fc.record(
      {
        taskId: text,
        callbackUrl: text,
        endpointId: text,
        kind: fc.oneof(text, fc.constantFrom(...KINDS)),
        metadata: fc.jsonValue(),
        deadline: text,
        submittedAt: fc.oneof(text, fc.double(), fc.integer(), fc.integer({ min: NOW - DAY, max: NOW + DAY })),
      },
      { requiredKeys: ['taskId'] },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(input, { maxLength: 8 }), async (inputs) => {
        const registrar = aRegistrar()
        const results = await registrar.register(inputs)
        expect(results).toHaveLength(inputs.length)
        for (const registration of registrar.calls.flat()) {
          expect(registration.taskId).toMatch(/^[\x21-\x7e]{1,256}$/)
          expect(registration.firstPollAt).toBeGreaterThanOrEqual(NOW)
          expect(registration.firstPollAt).toBeLessThanOrEqual(registration.deadlineAt)
          expect(registration.deadlineAt).toBeGreaterThan(NOW)
          expect(JSON.parse(registration.metadata)).toBeTypeOf('object')
        }
      }),
    )
  })
})
