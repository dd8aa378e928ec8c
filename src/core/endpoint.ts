/** An endpoint: a callback URL, whether we may send to it, and the secrets that sign for it. */

import type { CustomHeaders } from './custom-headers.ts'
import type { EndpointId } from './ids.ts'
import type { SigningKey } from './signature.ts'
import { after, DAY, type EpochMs, earliest } from './time.ts'

export const ENDPOINT_TRANSITIONS = {
  enabled: ['paused', 'disabled', 'deleted'],
  paused: ['enabled', 'disabled', 'deleted'],
  disabled: ['enabled', 'paused', 'deleted'],
  deleted: [],
} as const satisfies Record<string, readonly string[]>

/**
 * `paused` by a person, `disabled` by the rules; only an enabled endpoint is sent to, and both others keep their backlog.
 * `deleted`: kept only for what once was sent there; nobody is shown it, and its URL is free for another.
 */
export type EndpointStatus = keyof typeof ENDPOINT_TRANSITIONS

export const ENDPOINT_STATUSES = Object.keys(ENDPOINT_TRANSITIONS) as readonly EndpointStatus[]

/**
 * `gone`: it answered 410. `failing`: nothing but failures for days. `secret_unreadable`: a secret or a header of
 * it was sealed with another key than the one we were given.
 */
export type DisabledReason = 'gone' | 'failing' | 'secret_unreadable'

/** When a secret signs: from its making until it is replaced and the overlap has passed. Null: until it is replaced. */
export interface SecretLife {
  readonly createdAt: EpochMs
  readonly expiresAt: EpochMs | null
}

export interface Endpoint {
  readonly id: EndpointId
  /** Null: nothing is sent, its receiver comes and asks (`GET /v1/events`). */
  readonly url: string | null
  readonly name: string | null
  readonly status: EndpointStatus
  readonly disabledReason: DisabledReason | null
  /** Names only: the values may be secrets. */
  readonly headerNames: readonly string[]
  /** Null: it is told of all. */
  readonly eventTypes: readonly string[] | null
  /** Attempts a second; null: as fast as its slots allow. */
  readonly rateMax: number | null
  /** Attempts at once; null: as the settings say. */
  readonly concurrencyMax: number | null
  readonly health: EndpointHealth
  /** What we tell of ourselves goes there too. */
  readonly isOperator: boolean
  /** The live secrets of its own, newest first. None: the daemon's own secret signs. */
  readonly secrets: readonly SecretLife[]
  /** `whpk_…`: what its receiver verifies `v1a` signatures with, newest first. None: it did not ask for them. */
  readonly publicKeys: readonly string[]
  readonly createdAt: EpochMs
  readonly updatedAt: EpochMs
}

/** `chosen`: the types it wants, or null for all. */
export function hearsOf(chosen: readonly string[] | null, type: string): boolean {
  return chosen?.includes(type) ?? true
}

/** What a person sets, all that signs for it apart. */
export interface EndpointSettings extends Pick<Endpoint, 'url' | 'name' | 'eventTypes' | 'rateMax' | 'concurrencyMax'> {
  /** All of them: what was set before and is not among these is gone. */
  readonly headers: CustomHeaders
}

/** Slower is a pause, and faster than any receiver. */
export const ENDPOINT_RATE_MIN = 0.001
export const ENDPOINT_RATE_MAX = 10_000
export const ENDPOINT_CONCURRENCY_MAX = 1_000

/** How it fared lately. */
export interface EndpointHealth {
  /** Since when nothing but failures; null while its last attempt succeeded, or none was made. */
  readonly failingSince: EpochMs | null
  /** How many attempts it may have at once while it recovers; null: as many as it may have at all. */
  readonly slots: number | null
  /** When it is tried again after it was disabled for failing. */
  readonly probeAt: EpochMs | null
  readonly probeCount: number
}

/** Why nothing is sent to an endpoint of which we cannot open what we would have to send, and what to do. */
export function unreadableInWords(id: EndpointId): string {
  const why = `A secret or a header of ${id} was sealed with another key than RINGBACK_SECRET_KEY.`
  const remedy = 'Start the daemon with that key, or replace the secret with an overlap of 0s and set the headers anew.'
  return `${why} ${remedy} With an overlap the old secret has to sign too, and nothing is sent until it is over.`
}

/** What signs an attempt: a secret of the endpoint's own, or the daemon's. */
export type Signer = SigningKey | 'daemon'

/** While one secret is replaced by the next, receivers may know either: more than this nobody can keep apart. */
export const LIVE_SECRETS_MAX = 3
export const OVERLAP_MS_DEFAULT = DAY
export const OVERLAP_MS_MAX = 7 * DAY

/**
 * When the secrets that are live now end, once a new one is added: after the overlap, or at once when with the new one
 * there would be too many. `live` is newest first; the answer is in the same order.
 */
export function expiriesAfterRotation(
  live: readonly SecretLife[],
  now: EpochMs,
  overlapMs: number,
): readonly EpochMs[] {
  return live.map(({ expiresAt }, index) => {
    if (index >= LIVE_SECRETS_MAX - 1) return now
    const overlapEnd = after(now, overlapMs)
    return expiresAt === null ? overlapEnd : earliest(expiresAt, overlapEnd)
  })
}
