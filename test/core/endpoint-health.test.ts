/** Endpoint health: when an endpoint counts as failing, when it is disabled and tried again, and what a person changes. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ENDPOINT_TRANSITIONS } from '../../src/core/endpoint.ts'
import {
  type AttemptEnd,
  type AttemptFacts,
  afterAttempt,
  afterDisabling,
  afterMove,
  afterPause,
  afterResume,
  changeOf,
  FAILING_EVENTS_MIN,
  FAILING_MS_MAX,
  PROBE_GAPS_MS,
  probeGapMs,
  type Standing,
} from '../../src/core/endpoint-health.ts'
import type { EventId } from '../../src/core/ids.ts'
import { DAY, epochMs, HOUR, MINUTE } from '../../src/core/time.ts'
import { at, NOW } from './builders.ts'

const HEALTHY: Standing = {
  status: 'enabled',
  disabledReason: null,
  failingSince: null,
  failingEvents: [],
  probeAt: null,
  probeCount: 0,
}

function facts(end: AttemptEnd, event: number, offsetMs: number, isProbe = false): AttemptFacts {
  return { eventId: `evt_${event}`, end, isProbe, now: at(offsetMs), random: 0.5 }
}

function withAttempts(standing: Standing, ...steps: readonly AttemptFacts[]): Standing {
  return steps.reduce(afterAttempt, standing)
}

const THREE_FAILED = withAttempts(
  HEALTHY,
  facts('failed', 1, 0),
  facts('failed', 2, HOUR),
  facts('failed', 3, 2 * HOUR),
)
const DISABLED = withAttempts(THREE_FAILED, facts('failed', 1, 5 * DAY))

describe('an endpoint', () => {
  test('is failing since its first failure after the last success', () => {
    expect(THREE_FAILED).toMatchObject({ failingSince: NOW, failingEvents: ['evt_1', 'evt_2', 'evt_3'] })
    const back = withAttempts(THREE_FAILED, facts('succeeded', 1, DAY))
    expect(back).toEqual(HEALTHY)
    expect(withAttempts(back, facts('failed', 1, 2 * DAY)).failingSince).toBe(at(2 * DAY))
  })

  test('that succeeds and never failed stays the very same', () => {
    expect(afterAttempt(HEALTHY, facts('succeeded', 1, 0))).toBe(HEALTHY)
  })

  test('is disabled at five days of nothing but failures, and not a millisecond before', () => {
    expect(withAttempts(THREE_FAILED, facts('failed', 1, FAILING_MS_MAX - 1)).status).toBe('enabled')
    expect(DISABLED).toMatchObject({ status: 'disabled', disabledReason: 'failing', probeCount: 0 })
    expect(DISABLED.probeAt).toBe(at(5 * DAY + 5 * MINUTE))
  })

  test('with two events that fail is never disabled, however long; the third does it', () => {
    const two = withAttempts(HEALTHY, facts('failed', 1, 0), facts('failed', 2, 0), facts('failed', 1, 40 * DAY))
    expect(two.status).toBe('enabled')
    expect(withAttempts(two, facts('failed', 3, 40 * DAY)).status).toBe('disabled')
  })

  test('that answers 410 is disabled at once, whatever it was, and is not tried again', () => {
    for (const before of [HEALTHY, THREE_FAILED, DISABLED, afterPause(HEALTHY)]) {
      const gone = withAttempts(before, facts('gone', 1, 6 * DAY))
      expect(gone).toMatchObject({ status: 'disabled', disabledReason: 'gone', probeAt: null })
      expect(changeOf(before, gone)).toBe('disabled')
      for (const end of ['gone', 'failed', 'succeeded'] as const) {
        const later = withAttempts(gone, facts(end, 2, 7 * DAY))
        expect(later).toMatchObject({ status: 'disabled', disabledReason: 'gone' })
        expect(changeOf(gone, later)).toBeNull()
      }
    }
  })

  test('whose secret cannot be read is not brought back by a success', () => {
    const unreadable = afterDisabling(THREE_FAILED, 'secret_unreadable')
    expect(withAttempts(unreadable, facts('succeeded', 1, DAY)).status).toBe('disabled')
    expect(afterResume(unreadable)).toEqual(HEALTHY)
  })

  test('that is paused notes failures, and is not disabled for them', () => {
    const paused = withAttempts(afterPause(THREE_FAILED), facts('failed', 4, 9 * DAY))
    expect(paused).toMatchObject({ status: 'paused', failingSince: NOW })
  })
})

describe('a probe', () => {
  test('comes at growing gaps: 5 m, 15 m, 30 m, 1 h, 2 h, 4 h, then every 6 h', () => {
    let standing = DISABLED
    const gaps: number[] = [standing.probeAt! - at(5 * DAY)]
    for (let probe = 1; probe <= 9; probe += 1) {
      const now = standing.probeAt!
      standing = afterAttempt(standing, { ...facts('failed', 9, 0, true), now })
      gaps.push(standing.probeAt! - now)
    }
    expect(gaps.map((gap) => gap / MINUTE)).toEqual([5, 15, 30, 60, 120, 240, 360, 360, 360, 360])
    expect(standing.probeCount).toBe(9)
  })

  test('is spread by a fifth to either side', () => {
    fc.assert(
      fc.property(fc.nat(100), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (count, random) => {
        const gapMs = PROBE_GAPS_MS[Math.min(count, PROBE_GAPS_MS.length - 1)]!
        const probeMs = probeGapMs(count, random)
        expect(probeMs).toBeGreaterThanOrEqual(gapMs * 0.8)
        expect(probeMs).toBeLessThanOrEqual(gapMs * 1.2)
      }),
    )
  })

  test('that succeeds enables the endpoint as if nothing had been', () => {
    const back = withAttempts(DISABLED, facts('failed', 1, 5 * DAY + HOUR, true), facts('succeeded', 1, 6 * DAY, true))
    expect(back).toEqual(HEALTHY)
    expect(changeOf(DISABLED, back)).toBe('enabled')
  })

  test('is not put off by attempts that were under way when the endpoint was disabled', () => {
    expect(withAttempts(DISABLED, facts('failed', 4, 5 * DAY + 1))).toBe(DISABLED)
  })
})

describe('a person', () => {
  test('who resumes gives it another five days', () => {
    expect(afterResume(DISABLED)).toEqual(HEALTHY)
    expect(withAttempts(afterResume(DISABLED), facts('failed', 7, 6 * DAY)).failingSince).toBe(at(6 * DAY))
  })

  test('who pauses ends the probes and keeps what is known', () => {
    expect(afterPause(DISABLED)).toMatchObject({
      status: 'paused',
      disabledReason: null,
      probeAt: null,
      failingSince: NOW,
    })
    expect(changeOf(DISABLED, afterPause(DISABLED))).toBeNull()
  })

  test('who moves it has it tried at once, and one that answered 410 waits for more', () => {
    expect(afterMove(DISABLED, at(6 * DAY))).toMatchObject({
      status: 'disabled',
      probeAt: at(6 * DAY),
      failingSince: null,
    })
    expect(afterMove(THREE_FAILED, at(DAY))).toEqual(HEALTHY)
    expect(afterMove(afterDisabling(HEALTHY, 'gone'), at(DAY)).probeAt).toBeNull()
  })
})

test('whatever happens: no way that the table has not, probes only where they belong, disabled only when it is due', () => {
  const step = fc.record({
    what: fc.constantFrom('succeeded', 'failed', 'failed', 'failed', 'gone', 'probe', 'pause', 'resume', 'move'),
    event: fc.nat(5),
    waitMs: fc.nat(2 * DAY),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let standing = HEALTHY
      let now = NOW
      let firstFailedAt: number | null = null
      let failed = new Set<EventId>()
      for (const { what, event, waitMs } of steps) {
        now = epochMs(now + waitMs)
        const eventId = `evt_${event}` as const
        const before = standing
        const end = what === 'succeeded' || what === 'gone' ? what : 'failed'
        const attempt = { eventId, end, isProbe: what === 'probe', now, random: 0.5 } as const
        if (what === 'pause') standing = afterPause(standing)
        else if (what === 'resume') standing = afterResume(standing)
        else if (what === 'move') standing = afterMove(standing, now)
        else standing = afterAttempt(standing, attempt)

        const isFailure = end === 'failed' && !['pause', 'resume', 'move'].includes(what)
        if (what === 'resume' || what === 'move' || (end === 'succeeded' && before.disabledReason !== 'gone')) {
          firstFailedAt = null
          failed = new Set()
        } else if (isFailure && before.status !== 'disabled') {
          firstFailedAt ??= now
          failed.add(eventId)
        }
        const isWay = (ENDPOINT_TRANSITIONS[before.status] as readonly string[]).includes(standing.status)
        expect(before.status === standing.status || isWay).toBe(true)
        const isFailing = standing.status === 'disabled' && standing.disabledReason === 'failing'
        expect(standing.probeAt !== null).toBe(isFailing)
        expect(standing.disabledReason !== null).toBe(standing.status === 'disabled')
        if (isFailing && before.status !== 'disabled') {
          expect(now - firstFailedAt!).toBeGreaterThanOrEqual(FAILING_MS_MAX)
          expect(failed.size).toBeGreaterThanOrEqual(FAILING_EVENTS_MIN)
        }
        // And the other way: what is due to be disabled is.
        if (isFailure && before.status === 'enabled' && now - firstFailedAt! >= FAILING_MS_MAX && failed.size >= 3)
          expect(isFailing).toBe(true)
      }
    }),
    { numRuns: 500 },
  )
})
