/** The retry contract: what each way in which an attempt can end leads to, and how long to wait before the next one. */

import type { AttemptResult } from './delivery.ts'
import { assert } from './errors.ts'
import { DAY, type EpochMs, HOUR, MINUTE, parseHttpDate, SECOND } from './time.ts'

/**
 * What an attempt leads to.
 *
 * - `deliver`: the delivery is done, whatever happens to the rest of the answer.
 * - `retry`: the next attempt by the schedule; after the last one the delivery is exhausted.
 * - `retry_no_sooner`: the same, but not before the instant that the receiver asks for with Retry-After.
 * - `retry_and_disable`: the same, and nothing more is sent to the endpoint until a person resumes it.
 * - `give_back`: as if the attempt had not been made: it was no fault of the receiver.
 */
export type RetryEffect = 'deliver' | 'retry' | 'retry_no_sooner' | 'retry_and_disable' | 'give_back'

interface RetryRule {
  /** How it is told in the documentation. */
  readonly when: string
  readonly matches: (result: AttemptResult) => boolean
  readonly effect: RetryEffect
}

const isStatus = (from: number, to: number) => (result: AttemptResult) =>
  result.kind === 'response' && result.status >= from && result.status <= to

/** The first that matches holds. docs/delivery.md shows this table, and a test compares them. */
export const RETRY_CONTRACT = [
  { when: 'a 2xx status line', matches: isStatus(200, 299), effect: 'deliver' },
  { when: '3xx: a redirect, which is not followed', matches: isStatus(300, 399), effect: 'retry' },
  { when: '410 Gone', matches: isStatus(410, 410), effect: 'retry_and_disable' },
  { when: '429 Too Many Requests', matches: isStatus(429, 429), effect: 'retry_no_sooner' },
  { when: 'another 4xx', matches: isStatus(400, 499), effect: 'retry' },
  { when: '503 Service Unavailable', matches: isStatus(503, 503), effect: 'retry_no_sooner' },
  { when: 'any other status', matches: ({ kind }) => kind === 'response', effect: 'retry' },
  {
    when: 'no status line: timeout, refused, reset, DNS, TLS, not HTTP, or an address that is not allowed',
    matches: ({ kind }) => kind === 'no_response',
    effect: 'retry',
  },
  {
    when: 'our own fault: stopping, no file handles, our DNS, our network, an internal error',
    matches: ({ kind }) => kind === 'own_fault',
    effect: 'give_back',
  },
] as const satisfies readonly RetryRule[]

export function retryEffectOf(result: AttemptResult): RetryEffect {
  const rule = RETRY_CONTRACT.find(({ matches }) => matches(result))
  assert(rule !== undefined, 'the contract has a rule for every result')
  return rule.effect
}

/**
 * The wait before attempt n is entry n (1-based). The gaps are those that the Standard Webhooks specification
 * recommends, over three days, so that a receiver may be down for a weekend.
 */
export const RETRY_SCHEDULE_MS: readonly number[] = [
  0,
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
]

/** Each wait is spread by this share to either side, so that receivers that failed together do not return together. */
export const JITTER_SHARE = 0.2

/** No receiver may make us wait longer than this, whatever its Retry-After says. */
export const RETRY_AFTER_MAX_MS = DAY

/** A wait in [1 − jitter, 1 + jitter] × `waitMs`. `random` is in [0, 1). */
export function jittered(waitMs: number, random: number): number {
  return Math.round(waitMs * (1 - JITTER_SHARE + 2 * JITTER_SHARE * random))
}

/**
 * Reads Retry-After in both its forms (RFC 9110 §10.2.3): whole seconds, or an HTTP date. Null for anything else, and
 * for instants that have passed; never more than `RETRY_AFTER_MAX_MS`.
 */
export function parseRetryAfter(header: string | null, now: EpochMs): number | null {
  if (header === null) return null
  const text = header.trim()
  const waitMs = /^\d+$/.test(text) ? Number(text) * SECOND : untilDate(text, now)
  return waitMs === null || waitMs < 0 ? null : Math.min(waitMs, RETRY_AFTER_MAX_MS)
}

function untilDate(text: string, now: EpochMs): number | null {
  const at = parseHttpDate(text)
  return at === null ? null : at - now
}
