/**
 * How an endpoint fares, and what follows: every way into `disabled` and out of it is in this file.
 *
 * ```
 *            failed for 5 days, 3 events                a probe fails: the next one later
 *   enabled ─────────────────────────────► disabled    ◄──────┐
 *      ▲                                   (failing) ─────────┘
 *      ├──────── any attempt succeeds ──────────┤
 *      │                                        │ 410
 *      ├──────── a person resumes it ◄── disabled (gone) ◄── 410, at any time
 *      └──────── its secret can be read ◄── disabled (secret_unreadable)
 * ```
 * What counts is what uses up an attempt: answers other than 2xx, silence, and an address that is blocked, because all of
 * these are the receiver's or its name's. What is given back (our own faults) leaves no trace here either.
 *
 * Five days are longer than the whole retry schedule (75 h), so that whoever is down over a long weekend loses no more
 * than the schedule says; three events, so that one that nobody can digest does not silence all the others.
 */

import type { DisabledReason, EndpointStatus } from './endpoint.ts'
import type { EventId } from './ids.ts'
import { jittered } from './retry.ts'
import { after, DAY, type EpochMs, HOUR, MINUTE } from './time.ts'

export const FAILING_MS_MAX = 5 * DAY
export const FAILING_EVENTS_MIN = 3

/** The wait before probe n is entry n (1-based), the last one from then on; each with the jitter of a retry. */
export const PROBE_GAPS_MS: readonly number[] = [
  5 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  4 * HOUR,
  6 * HOUR,
]

/** What is kept of an endpoint's health. */
export interface Standing {
  readonly status: EndpointStatus
  readonly disabledReason: DisabledReason | null
  /** When the first attempt failed after the last that succeeded. */
  readonly failingSince: EpochMs | null
  /** The first few events that failed since then. */
  readonly failingEvents: readonly EventId[]
  /** When one that was disabled for failing is tried again, if something waits for it; null for all others. */
  readonly probeAt: EpochMs | null
  /** Probes that failed since it was disabled. */
  readonly probeCount: number
}

/** What an attempt that counts came to. `gone`: it answered 410. */
export type AttemptEnd = 'succeeded' | 'failed' | 'gone'

export interface AttemptFacts {
  readonly eventId: EventId
  readonly end: AttemptEnd
  readonly isProbe: boolean
  readonly now: EpochMs
  /** In [0, 1). */
  readonly random: number
}

const NOT_FAILING = { failingSince: null, failingEvents: [] } as const
const NO_PROBES = { probeAt: null, probeCount: 0 } as const
const ENABLED = { status: 'enabled', disabledReason: null, ...NOT_FAILING, ...NO_PROBES } as const

/** The same object when nothing changed: most attempts of a healthy endpoint. */
export function afterAttempt(standing: Standing, facts: AttemptFacts): Standing {
  switch (facts.end) {
    case 'succeeded':
      return afterSuccess(standing)
    case 'gone':
      return standing.disabledReason === 'gone' ? standing : afterDisabling(standing, 'gone')
    case 'failed':
      return afterFailure(standing, facts)
  }
}

function afterSuccess(standing: Standing): Standing {
  // Whoever has said 410, or has a secret that we cannot read, waits for a person, whatever else is still under way.
  if (isProbed(standing)) return { ...standing, ...ENABLED }
  return standing.failingSince === null ? standing : { ...standing, ...NOT_FAILING }
}

function afterFailure(standing: Standing, { eventId, isProbe, now, random }: AttemptFacts): Standing {
  if (isProbed(standing)) {
    // Others may have been under way when it was disabled: they are not what the next probe waits for.
    if (!isProbe) return standing
    const probeCount = standing.probeCount + 1
    return { ...standing, probeCount, probeAt: after(now, probeGapMs(probeCount, random)) }
  }
  if (standing.status === 'disabled') return standing
  const failing = withFailure(standing, eventId, now)
  if (failing.status !== 'enabled' || !isHopeless(failing, now)) return failing
  return { ...afterDisabling(failing, 'failing'), probeAt: after(now, probeGapMs(0, random)) }
}

function withFailure(standing: Standing, eventId: EventId, now: EpochMs): Standing {
  const { failingSince, failingEvents } = standing
  const isCounted = failingEvents.length >= FAILING_EVENTS_MIN || failingEvents.includes(eventId)
  if (failingSince !== null && isCounted) return standing
  return {
    ...standing,
    failingSince: failingSince ?? now,
    failingEvents: isCounted ? failingEvents : [...failingEvents, eventId],
  }
}

function isHopeless({ failingSince, failingEvents }: Standing, now: EpochMs): boolean {
  return failingSince !== null && now - failingSince >= FAILING_MS_MAX && failingEvents.length >= FAILING_EVENTS_MIN
}

/** Whether it is tried again by itself. */
export function isProbed({ status, disabledReason }: Pick<Standing, 'status' | 'disabledReason'>): boolean {
  return status === 'disabled' && disabledReason === 'failing'
}

/** The wait after `probeCount` probes have failed. */
export function probeGapMs(probeCount: number, random: number): number {
  const gapMs = PROBE_GAPS_MS[Math.min(probeCount, PROBE_GAPS_MS.length - 1)] ?? 0
  return jittered(gapMs, random)
}

/** For what only a person, or another key, can mend there are no probes. */
export function afterDisabling(standing: Standing, reason: DisabledReason): Standing {
  return { ...standing, status: 'disabled', disabledReason: reason, ...NO_PROBES }
}

/** A person stops sending to it: what is known of it stays, but it is not tried either. */
export function afterPause(standing: Standing): Standing {
  return { ...standing, status: 'paused', disabledReason: null, ...NO_PROBES }
}

/** A person, or its secret that can be read again, gives it another five days. */
export function afterResume(standing: Standing): Standing {
  return { ...standing, ...ENABLED }
}

/** It is somewhere else now: how it fared where it was says nothing, and one that was disabled for it is tried at once. */
export function afterMove(standing: Standing, now: EpochMs): Standing {
  return { ...standing, ...NOT_FAILING, ...NO_PROBES, probeAt: isProbed(standing) ? now : null }
}

/** What happened to it as far as others are told of it. A change of the reason is news: other people have to act. */
export function changeOf(before: Standing, now: Standing): 'disabled' | 'enabled' | null {
  if (now.status === 'disabled') return before.disabledReason === now.disabledReason ? null : 'disabled'
  return before.status === 'disabled' && now.status === 'enabled' ? 'enabled' : null
}
