/** The retry contract: what an attempt comes to, and what follows. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AttemptResult,
  DELIVERY_STATUSES,
  DELIVERY_TRANSITIONS,
  describeResult,
  type JudgeInput,
  type Judgement,
  judge,
  type NoResponseReason,
  type OwnFault,
} from '../../src/core/delivery.ts'
import { RETRY_CONTRACT, RETRY_SCHEDULE_MS, type RetryEffect, retryEffectOf } from '../../src/core/retry.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { at, NOW } from './builders.ts'

const NO_RESPONSE_REASONS: readonly NoResponseReason[] = [
  'timeout',
  'connect',
  'reset',
  'dns',
  'tls',
  'protocol',
  'blocked_address',
]
const OWN_FAULTS: readonly OwnFault[] = ['shutdown', 'no_file_handles', 'our_dns', 'network_down', 'internal']

function response(status: number, retryAfter: string | null = null): AttemptResult {
  return { kind: 'response', status, retryAfter }
}

function ownFault(reason: OwnFault): AttemptResult {
  return { kind: 'own_fault', reason, detail: 'our own' }
}

interface Parts extends Partial<JudgeInput['delivery']> {
  readonly random?: number
  readonly scheduleMs?: readonly number[]
}

/** Judges an attempt at `NOW`; the first one by the schedule, without jitter, unless told. */
function judged(
  result: AttemptResult,
  { random = 0.5, scheduleMs = RETRY_SCHEDULE_MS, ...delivery }: Parts = {},
): Judgement {
  const first = { scheduledAttemptCount: 0, isManual: false, isProbe: false, statusBefore: 'pending' } as const
  return judge({ delivery: { ...first, ...delivery }, result, now: NOW, scheduleMs, random })
}

function retryIn(delayMs: number): Judgement {
  return { verdict: { kind: 'retry', nextAttemptAt: at(delayMs) }, isEndpointGone: false }
}

const VERDICTS: Readonly<Record<RetryEffect, Judgement['verdict']['kind']>> = {
  deliver: 'delivered',
  retry: 'retry',
  retry_no_sooner: 'retry',
  retry_and_disable: 'retry',
  give_back: 'give_back',
}

describe('the contract', () => {
  test('has a rule for whatever an attempt can come to, and judges by it', () => {
    const results: readonly AttemptResult[] = [
      ...Array.from({ length: 1_000 }, (_, status) => response(status)),
      ...NO_RESPONSE_REASONS.map((reason) => ({ kind: 'no_response', reason, detail: '-' }) as const),
      ...OWN_FAULTS.map(ownFault),
    ]
    const used = new Set<string>()
    for (const result of results) {
      const effect = retryEffectOf(result)
      const { verdict, isEndpointGone } = judged(result)
      expect(verdict.kind, JSON.stringify(result)).toBe(VERDICTS[effect])
      expect(isEndpointGone).toBe(effect === 'retry_and_disable')
      used.add(RETRY_CONTRACT.find(({ matches }) => matches(result))?.when ?? 'none')
    }
    expect([...used].sort()).toEqual(RETRY_CONTRACT.map(({ when }) => when).sort())
  })
})

describe('success', () => {
  test('is a 2xx status line, and nothing else is', () => {
    for (let status = 0; status <= 999; status += 1) {
      const isDelivered = judged(response(status)).verdict.kind === 'delivered'
      expect(isDelivered, `HTTP ${status}`).toBe(status >= 200 && status <= 299)
    }
  })

  test('is success on the last attempt, on a manual one, and whatever Retry-After says', () => {
    const delivered = { verdict: { kind: 'delivered' }, isEndpointGone: false }
    expect(judged(response(204), { scheduledAttemptCount: 9 })).toEqual(delivered)
    expect(judged(response(200), { isManual: true, statusBefore: 'exhausted' })).toEqual(delivered)
    expect(judged(response(202, '3600'))).toEqual(delivered)
  })
})

describe('failure', () => {
  test.each([
    100, 101, 103, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 409, 422, 429, 500, 502, 503, 504, 599, 600, 999,
  ])('HTTP %i is tried again by the schedule', (status) => {
    expect(judged(response(status))).toEqual(retryIn(5 * SECOND))
  })

  test.each(NO_RESPONSE_REASONS)('no status line (%s) is tried again by the schedule', (reason) => {
    expect(judged({ kind: 'no_response', reason, detail: '-' })).toEqual(retryIn(5 * SECOND))
  })

  test('waits as long as the schedule says after each attempt, within 20 %', () => {
    for (const [index, waitMs] of RETRY_SCHEDULE_MS.slice(1).entries()) {
      expect(judged(response(500), { scheduledAttemptCount: index })).toEqual(retryIn(waitMs))
      expect(judged(response(500), { scheduledAttemptCount: index, random: 0 })).toEqual(retryIn(waitMs * 0.8))
    }
  })

  test('410 tells that the endpoint is gone, and keeps the delivery', () => {
    expect(judged(response(410))).toEqual({ ...retryIn(5 * SECOND), isEndpointGone: true })
    expect(judged(response(410), { scheduledAttemptCount: 9 })).toEqual({
      verdict: { kind: 'exhausted' },
      isEndpointGone: true,
    })
    expect(judged(response(410), { isManual: true, statusBefore: 'delivered' }).isEndpointGone).toBe(true)
  })

  test('no other answer tells that the endpoint is gone', () => {
    for (let status = 0; status <= 999; status += 1) {
      expect(judged(response(status)).isEndpointGone, `HTTP ${status}`).toBe(status === 410)
    }
  })
})

describe('Retry-After', () => {
  test.each([429, 503])('with HTTP %i makes the wait longer, never shorter', (status) => {
    expect(judged(response(status, '60'))).toEqual(retryIn(MINUTE))
    expect(judged(response(status, new Date(at(HOUR)).toUTCString()))).toEqual(retryIn(HOUR))
    expect(judged(response(status, '1'))).toEqual(retryIn(5 * SECOND))
    expect(judged(response(status, '1'), { scheduledAttemptCount: 4 })).toEqual(retryIn(5 * HOUR))
  })

  test.each(['99999999999', '9'.repeat(30)])('asks for no more than a day: %s', (retryAfter) => {
    expect(judged(response(429, retryAfter))).toEqual(retryIn(DAY))
  })

  test.each(['-1', 'soon', '', 'Fri, 31 Dec 1999 23:59:59 GMT'])(
    'that makes no sense changes nothing: %j',
    (retryAfter) => {
      expect(judged(response(503, retryAfter))).toEqual(retryIn(5 * SECOND))
    },
  )

  test.each([301, 400, 500, 504])('with HTTP %i is not what the contract speaks of', (status) => {
    expect(judged(response(status, '3600'))).toEqual(retryIn(5 * SECOND))
  })

  test('does not add an attempt to the schedule', () => {
    expect(judged(response(429, '60'), { scheduledAttemptCount: 9 }).verdict).toEqual({ kind: 'exhausted' })
  })
})

describe('a fault of our own', () => {
  test.each(OWN_FAULTS)('(%s) gives the delivery back at any point of the schedule', (reason) => {
    const delayMs = reason === 'shutdown' ? 0 : 5 * SECOND
    const givenBack = { verdict: { kind: 'give_back', nextAttemptAt: at(delayMs) }, isEndpointGone: false }
    expect(judged(ownFault(reason))).toEqual(givenBack)
    expect(judged(ownFault(reason), { scheduledAttemptCount: 9 })).toEqual(givenBack)
    expect(judged(ownFault(reason), { isManual: true, statusBefore: 'exhausted' })).toEqual(givenBack)
  })
})

describe("a person's attempt", () => {
  test.each(['delivered', 'exhausted'] as const)('that fails leaves a delivery %s as it was', (statusBefore) => {
    const unchanged = { verdict: { kind: 'unchanged' }, isEndpointGone: false }
    expect(judged(response(500), { isManual: true, statusBefore, scheduledAttemptCount: 10 })).toEqual(unchanged)
    expect(judged(response(429, '60'), { isManual: true, statusBefore, scheduledAttemptCount: 1 })).toEqual(unchanged)
  })

  test('that fails while the schedule goes on does not use it up', () => {
    expect(judged(response(500), { isManual: true, scheduledAttemptCount: 9 })).toEqual(retryIn(24 * HOUR))
    expect(judged(response(500), { isManual: false, scheduledAttemptCount: 9 }).verdict).toEqual({ kind: 'exhausted' })
  })
})

describe('a whole delivery', () => {
  const aFailure = fc.oneof(
    fc.constantFrom(301, 404, 429, 500, 503).map((status) => response(status)),
    fc.constantFrom('1', '60', '7200', '999999', 'soon').map((retryAfter) => response(429, retryAfter)),
    fc
      .constantFrom(...NO_RESPONSE_REASONS)
      .map((reason): AttemptResult => ({ kind: 'no_response', reason, detail: '-' })),
  )
  const aRandom = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  const aSchedule = fc.oneof(fc.constant(RETRY_SCHEDULE_MS), fc.array(fc.nat(DAY), { minLength: 1, maxLength: 12 }))
  const aStep = fc.record({
    cause: fc.constantFrom('schedule', 'schedule', 'person', 'own_fault'),
    failure: aFailure,
    fault: fc.constantFrom(...OWN_FAULTS),
    random: aRandom,
  })

  test('that always fails makes exactly as many attempts as the schedule is long, whatever else happens meanwhile', () => {
    fc.assert(
      fc.property(aSchedule, fc.infiniteStream(aStep), (scheduleMs, steps) => {
        let now = NOW
        let scheduledAttemptCount = 0
        for (const { cause, failure, fault, random } of steps) {
          const isManual = cause === 'person'
          const delivery = { scheduledAttemptCount, isManual, isProbe: false, statusBefore: 'pending' } as const
          const result = cause === 'own_fault' ? ownFault(fault) : failure
          const { verdict } = judge({ delivery, result, now, scheduleMs, random })
          if (cause === 'schedule') scheduledAttemptCount += 1
          if (verdict.kind === 'exhausted') break
          if (verdict.kind !== 'retry' && verdict.kind !== 'give_back') throw new Error(`unexpected ${verdict.kind}`)
          expect(verdict.kind).toBe(cause === 'own_fault' ? 'give_back' : 'retry')
          if (verdict.kind === 'retry') {
            const waitMs = scheduleMs[scheduledAttemptCount] ?? Number.NaN
            expect(verdict.nextAttemptAt - now).toBeGreaterThanOrEqual(Math.floor(waitMs * 0.8))
            expect(verdict.nextAttemptAt - now).toBeLessThanOrEqual(Math.max(Math.ceil(waitMs * 1.2), DAY))
          }
          now = verdict.nextAttemptAt
        }
        expect(scheduledAttemptCount).toBe(scheduleMs.length)
      }),
    )
  })

  test('that always fails without jitter ends 75 h 35 m and 5 s after it began', () => {
    let now = NOW
    for (let scheduledAttemptCount = 0; scheduledAttemptCount < 9; scheduledAttemptCount += 1) {
      const delivery = { scheduledAttemptCount, isManual: false, isProbe: false, statusBefore: 'pending' } as const
      const { verdict } = judge({ delivery, result: response(500), now, scheduleMs: RETRY_SCHEDULE_MS, random: 0.5 })
      if (verdict.kind !== 'retry') throw new Error(`unexpected ${verdict.kind}`)
      now = verdict.nextAttemptAt
    }
    expect(now - NOW).toBe(75 * HOUR + 35 * MINUTE + 5 * SECOND)
  })

  test('with a schedule of one attempt is exhausted by it', () => {
    expect(judged(response(500), { scheduleMs: [0] }).verdict).toEqual({ kind: 'exhausted' })
  })
})

describe('the life of a delivery', () => {
  test('ends in three ways; only a canceled one cannot be taken up again', () => {
    expect(DELIVERY_STATUSES).toEqual(['pending', 'delivered', 'exhausted', 'canceled'])
    expect(DELIVERY_TRANSITIONS.pending).toEqual(['delivered', 'exhausted', 'canceled'])
    expect(DELIVERY_STATUSES.filter((status) => DELIVERY_TRANSITIONS[status].length === 0)).toEqual(['canceled'])
    expect(DELIVERY_TRANSITIONS.delivered).toEqual(['pending'])
    expect(DELIVERY_TRANSITIONS.exhausted).toEqual(['pending'])
  })
})

test('a result is told in one line', () => {
  expect(describeResult(response(503))).toBe('HTTP 503')
  expect(describeResult({ kind: 'no_response', reason: 'timeout', detail: 'no answer in 20s' })).toBe(
    'timeout: no answer in 20s',
  )
  expect(describeResult(ownFault('our_dns'))).toBe('our_dns: our own')
})
