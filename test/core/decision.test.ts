/** What follows from observations for a task: confirmations, the deadline, whose turn it is, and backing off. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCadence } from '../../src/core/cadence.ts'
import { type Decision, decide, expiredOutcome, sightingOf } from '../../src/core/decision.ts'
import type { Observation } from '../../src/core/observation.ts'
import type { DueTask } from '../../src/core/task.ts'
import { type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { aTask, at, FINISHED, failedWith, NOW, REFUSED, RUNNING, THROTTLED, UNAVAILABLE } from './builders.ts'

/** A query is worth so little waiting that a running task is asked about as soon as it may. */
const settings = { intervalMinMs: SECOND, intervalMaxMs: MINUTE, pollCostMs: 1 }
const cadence = createCadence(settings)
const FAILED_700 = failedWith('700', 3)
const FAILED_801 = failedWith('801', 3)
const FAILED_1001 = failedWith('1001', 5)

function decided(task: DueTask, observation: Observation, now: EpochMs, random = 0.5): Decision {
  return decide({ task, observation, askedAt: now, now, settings, cadence, priceFactor: 1, random })
}

/** The task as the store keeps it after a decision; null when it has settled. */
function afterwards(task: DueTask, decision: Decision): DueTask | null {
  if (decision.kind === 'settle') return null
  const { suspicion, unavailableCount, nextPollAt } = decision
  return { ...task, suspicion, unavailableCount, dueAt: nextPollAt, pollCount: task.pollCount + 1 }
}

type Heard = readonly [offsetMs: number, observation: Observation]

/** The number of the observation, from 1, that settled the task; null when none did. */
function settledBy(heard: readonly Heard[]): number | null {
  let task = aTask()
  for (const [index, [offsetMs, observation]] of heard.entries()) {
    const next = afterwards(task, decided(task, observation, at(offsetMs)))
    if (next === null) return index + 1
    task = next
  }
  return null
}

describe('a failure that may be a hiccup', () => {
  test.each([
    [3, FAILED_700],
    [3, FAILED_801],
    [3, failedWith('1002', 3)],
    [5, FAILED_1001],
  ])('is believed after %i answers alike in a row, ten seconds apart', (answersNeeded, observation) => {
    const heard = Array.from({ length: 8 }, (_, index): Heard => [index * 10 * SECOND, observation])
    expect(settledBy(heard)).toBe(answersNeeded)
  })

  test('that needs one answer is believed at once', () => {
    expect(settledBy([[0, failedWith('1000', 1)]])).toBe(1)
  })

  test('is not counted twice within ten seconds', () => {
    const heard = Array.from({ length: 21 }, (_, index): Heard => [index * 999, FAILED_700])
    // Counted at 0 s, at 10.989 s, and never again before 20.989 s.
    expect(settledBy(heard)).toBeNull()
    expect(settledBy([...heard, [20_989, FAILED_700]])).toBe(22)
  })

  test('is counted at ten seconds exactly and not a millisecond before', () => {
    const third = (offsetMs: number): Heard[] => [
      [0, FAILED_700],
      [10_000, FAILED_700],
      [offsetMs, FAILED_700],
    ]
    expect(settledBy(third(19_999))).toBeNull()
    expect(settledBy(third(20_000))).toBe(3)
  })

  test('is suspected anew when another code comes', () => {
    const heard = [FAILED_700, FAILED_700, FAILED_801, FAILED_700, FAILED_700].map(
      (observation, index): Heard => [index * 10_000, observation],
    )
    expect(settledBy(heard)).toBeNull()
    expect(settledBy([...heard, [50_000, FAILED_700]])).toBe(6)
  })

  test('is no longer suspected once the task is seen running', () => {
    const heard = [FAILED_700, FAILED_700, RUNNING, FAILED_700, FAILED_700].map(
      (observation, index): Heard => [index * 10_000, observation],
    )
    expect(settledBy(heard)).toBeNull()
    expect(
      decided(aTask({ suspicion: { code: '700', answerCount: 2, lastAnswerAt: NOW } }), RUNNING, at(5)),
    ).toMatchObject({
      suspicion: null,
    })
  })

  test.each([
    ['silence', UNAVAILABLE],
    ['being throttled', THROTTLED],
    ['being refused', REFUSED],
  ])('is neither confirmed nor cleared by %s', (_what, other) => {
    const heard = [FAILED_700, other, FAILED_700, other, other, other].map(
      (observation, index): Heard => [index * 10_000, observation],
    )
    expect(settledBy(heard)).toBeNull()
    expect(settledBy([...heard, [60_000, FAILED_700]])).toBe(7)
  })

  test('is asked about again ten seconds after the last answer that counted', () => {
    const first = decided(aTask(), FAILED_700, NOW)
    expect(first).toMatchObject({ nextPollAt: at(10_000), reason: 'answer 1 of 3 alike (700)' })
    const early = decided(afterwards(aTask(), first)!, FAILED_700, at(4_000))
    expect(early).toMatchObject({ nextPollAt: at(10_000), reason: 'answer 1 of 3 alike (700)' })
  })

  test('does not wait longer for its confirmation because the clock jumped back', () => {
    const task = aTask({ suspicion: { code: '700', answerCount: 1, lastAnswerAt: NOW }, registeredAt: at(-2 * HOUR) })
    const decision = decided(task, FAILED_700, at(-HOUR))
    if (decision.kind !== 'poll_again') throw new Error('one answer more is no confirmation yet')
    expect(decision.nextPollAt - at(-HOUR)).toBeLessThanOrEqual(10 * SECOND)
    const confirmed = decided(afterwards(task, decision)!, FAILED_700, decision.nextPollAt)
    expect(confirmed.kind === 'settle' || confirmed.suspicion?.answerCount === 2).toBe(true)
  })

  test('is believed exactly when enough spaced answers alike stand in a row, whatever comes between', () => {
    const anObservation = fc.constantFrom(
      FAILED_700,
      FAILED_700,
      FAILED_700,
      FAILED_801,
      RUNNING,
      UNAVAILABLE,
      THROTTLED,
      REFUSED,
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(15_000), anObservation), { maxLength: 30 }), (steps) => {
        let offsetMs = 0
        const heard = steps.map(([gapMs, observation]): Heard => {
          offsetMs += gapMs
          return [offsetMs, observation]
        })
        expect(settledBy(heard)).toBe(settledByTheRule(heard))
      }),
      { numRuns: 500 },
    )
  })
})

/** The rule in other words: look back from each failure over the answers about the task, and take those that count. */
function settledByTheRule(heard: readonly Heard[]): number | null {
  for (const [index, [, observation]] of heard.entries()) {
    if (observation.kind !== 'failed') continue
    const answers = heard.slice(0, index + 1).filter(([, { kind }]) => kind === 'running' || kind === 'failed')
    const breakIndex = answers.findLastIndex(([, other]) => other.kind !== 'failed' || other.code !== observation.code)
    let countedCount = 0
    let countedAt = Number.NEGATIVE_INFINITY
    for (const [offsetMs] of answers.slice(breakIndex + 1)) {
      if (offsetMs - countedAt < 10_000) continue
      countedCount += 1
      countedAt = offsetMs
    }
    if (countedCount >= observation.answersNeeded) return index + 1
  }
  return null
}

describe('deadline passed', () => {
  const task = aTask({ deadlineAt: at(MINUTE) })

  test.each([
    [RUNNING, 'running (running)'],
    [UNAVAILABLE, 'unavailable (timeout: no answer in 30s)'],
    [THROTTLED, 'throttled (HTTP 429)'],
    [REFUSED, 'refused (NoResource: -)'],
    [FAILED_700, 'failed (700)'],
  ])('is expired, with the last observation in it: $kind', (observation, last) => {
    const decision = decided(task, observation, at(MINUTE))
    expect(decision).toMatchObject({
      kind: 'settle',
      outcome: { status: 'expired', partial: false, images: [], response: null },
    })
    if (decision.kind !== 'settle') return
    expect(decision.outcome.error).toMatchObject({ code: 'unknown', requestId: null })
    expect(decision.outcome.error?.message).toContain(`deadline 2026-01-15T12:01:00.000Z; last observation: ${last}`)
  })

  test('does not take from a task the end that it had', () => {
    expect(decided(task, FINISHED, at(HOUR))).toEqual({ kind: 'settle', outcome: { ...anEnd(FINISHED) } })
    const failed = failedWith('1000', 1)
    expect(decided(task, failed, at(HOUR))).toEqual({ kind: 'settle', outcome: { ...anEnd(failed) } })
    const suspected = { ...task, suspicion: { code: '700', answerCount: 2, lastAnswerAt: NOW } }
    expect(decided(suspected, FAILED_700, at(HOUR))).toEqual({ kind: 'settle', outcome: { ...anEnd(FAILED_700) } })
  })

  test('is not reached a millisecond before, and the last ask is at the deadline', () => {
    for (const observation of [RUNNING, UNAVAILABLE, FAILED_700]) {
      expect(decided(task, observation, at(MINUTE - 1))).toMatchObject({ kind: 'poll_again', nextPollAt: at(MINUTE) })
    }
  })

  test('tells the code that was suspected when it passed, the one just heard included, and no other', () => {
    const suspected = { ...task, suspicion: { code: '801', answerCount: 1, lastAnswerAt: NOW } }
    const codeAfter = (before: DueTask, observation: Observation) => {
      const decision = decided(before, observation, at(MINUTE))
      return decision.kind === 'settle' ? decision.outcome.error?.upstreamCode : undefined
    }
    expect(codeAfter(suspected, UNAVAILABLE)).toBe('801')
    expect(codeAfter(task, FAILED_700)).toBe('700')
    expect(codeAfter(suspected, FAILED_700)).toBe('700')
    expect(codeAfter(suspected, RUNNING)).toBeNull()
  })

  test('without another ask tells what was heard last, or that nothing ever was', () => {
    const message = (parts: Partial<DueTask>) => expiredOutcome({ ...task, ...parts }, null).error?.message
    expect(message({ lastObservation: 'running (queued)' })).toMatch(/last observation: running \(queued\)$/)
    expect(message({})).toMatch(/last observation: the upstream was never heard$/)
  })
})

function anEnd(observation: Observation) {
  if (observation.kind !== 'finished' && observation.kind !== 'failed') throw new Error('not an end')
  return observation.outcome
}

describe('being throttled or refused', () => {
  test('being refused puts the task behind the others, further each time, up to ten minutes', () => {
    const suspicion = { code: '700', answerCount: 1, lastAnswerAt: at(-MINUTE) }
    const waits = [0, 1, 2, 3, 4, 40].map((unavailableCount) => {
      const task = aTask({ dueAt: at(-5_000), suspicion, unavailableCount })
      const decision = decided(task, REFUSED, NOW)
      expect(decision).toMatchObject({ kind: 'poll_again', suspicion, unavailableCount: unavailableCount + 1 })
      return decision.kind === 'poll_again' ? (decision.nextPollAt - NOW) / MINUTE : null
    })
    expect(waits).toEqual([1, 2, 4, 8, 10, 10])
  })

  test('being throttled leaves the task its turn, and everything else', () => {
    const suspicion = { code: '700', answerCount: 1, lastAnswerAt: at(-MINUTE) }
    const task = aTask({ dueAt: at(-5_000), suspicion, unavailableCount: 4 })
    expect(decided(task, THROTTLED, NOW)).toMatchObject({
      kind: 'poll_again',
      nextPollAt: NOW,
      suspicion,
      unavailableCount: 4,
    })
  })

  test('fails no task, however often it comes', () => {
    const heard = Array.from({ length: 1_000 }, (_, index): Heard => [index * MINUTE, index % 2 ? REFUSED : THROTTLED])
    expect(settledBy(heard)).toBeNull()
  })
})

describe('silence', () => {
  /** How long until the next ask after so many silent answers in a row, this one included. */
  function delayMs(silentCount: number, random: number, ageMs = 0): number {
    const task = aTask({ unavailableCount: silentCount - 1, registeredAt: at(-ageMs) })
    const decision = decided(task, UNAVAILABLE, NOW, random)
    if (decision.kind !== 'poll_again') throw new Error('silence ended a task')
    expect(decision.unavailableCount).toBe(silentCount)
    return decision.nextPollAt - NOW
  }

  const aRandom = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

  test('backs off within [interval min, interval max], for any number of answers and any age', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), aRandom, fc.nat(12 * HOUR), (silentCount, random, ageMs) => {
        const waitMs = delayMs(silentCount, random, ageMs)
        expect(waitMs).toBeGreaterThanOrEqual(settings.intervalMinMs)
        expect(waitMs).toBeLessThanOrEqual(settings.intervalMaxMs)
      }),
    )
  })

  test('waits twice as long each time, up to half of it at random', () => {
    expect([1, 2, 3, 4, 5].map((count) => delayMs(count, 0))).toEqual([1_000, 2_000, 4_000, 8_000, 16_000])
    expect([1, 2, 3, 4].map((count) => delayMs(count, 1 - Number.EPSILON))).toEqual([2_000, 4_000, 8_000, 16_000])
    expect([6, 20, 5_000].map((count) => delayMs(count, 0.5))).toEqual([45_000, 45_000, 45_000])
  })

  test('never asks sooner than a running task would be asked', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), aRandom, fc.nat(HOUR), (silentCount, random, ageMs) => {
        const running = decided(aTask({ registeredAt: at(-ageMs) }), RUNNING, NOW, random)
        if (running.kind !== 'poll_again') throw new Error('running ended a task')
        expect(delayMs(silentCount, random, ageMs)).toBeGreaterThanOrEqual(running.nextPollAt - NOW)
      }),
    )
  })

  test('is forgotten with the first real answer', () => {
    const task = aTask({ unavailableCount: 9 })
    expect(decided(task, RUNNING, NOW)).toMatchObject({ unavailableCount: 0, nextPollAt: at(1_000) })
    expect(decided(task, FAILED_700, NOW)).toMatchObject({ unavailableCount: 0 })
  })

  test('is told in the reason, and running in its own', () => {
    expect(decided(aTask({ unavailableCount: 2 }), UNAVAILABLE, NOW)).toMatchObject({
      reason: 'no usable answer 3 times in a row',
    })
    const running = decided(aTask(), RUNNING, at(90 * SECOND))
    expect(running.kind === 'poll_again' && running.reason).toMatch(/^age 91\.0 s, \d+ % likely done by then, /)
  })

  test('never ends a task before its deadline', () => {
    const heard = Array.from({ length: 1_000 }, (_, index): Heard => [index * MINUTE, UNAVAILABLE])
    expect(settledBy(heard)).toBeNull()
  })
})

test('a running task is asked again by the cadence of its age at the upstream', () => {
  const rare = createCadence({ ...settings, pollCostMs: 5 * SECOND })
  const ask = { observation: RUNNING, askedAt: at(20 * SECOND), settings, cadence: rare, priceFactor: 1, random: 0.5 }
  const planned = (runningAgeMs: number, ageMs: number) =>
    rare.plan({ kind: aTask().kind, runningAgeMs, ageMs, now: NOW, priceFactor: 1, random: 0.5 }).delayMs
  const now = at(20_400)
  expect(decide({ ...ask, task: aTask(), now })).toMatchObject({
    nextPollAt: at(20_400 + planned(20_000, 20_400)),
    runningAt: at(20 * SECOND),
  })
  const submitted = aTask({ submittedAt: at(-80 * SECOND) })
  expect(decide({ ...ask, task: submitted, now })).toMatchObject({ nextPollAt: at(20_400 + planned(100_000, 100_400)) })
  expect(planned(100_000, 100_400)).not.toBe(planned(20_000, 20_400))
})

test('only an answer that it runs is kept as the last time that it was seen running', () => {
  const seen = aTask({ runningAt: at(-5_000) })
  for (const observation of [UNAVAILABLE, THROTTLED, REFUSED, FAILED_700])
    expect(decided(seen, observation, NOW)).toMatchObject({ runningAt: at(-5_000) })
  expect(decided(seen, RUNNING, NOW)).toMatchObject({ runningAt: NOW })
})

describe('what an answer says about how long tasks take', () => {
  const answer = { askedAt: at(30_000), answeredAt: at(30_200) }
  const submitted = aTask({ submittedAt: at(-10_000), registeredAt: NOW })

  test('ended: between the last time it ran and the answer', () => {
    expect(sightingOf({ ...submitted, runningAt: at(20_000) }, FINISHED, true, answer)).toEqual({
      fromMs: 30_000,
      toMs: 40_200,
      hasEnded: true,
    })
  })
  test('running: from the last time to when the query left', () => {
    const sighting = { fromMs: 30_000, toMs: 40_000, hasEnded: false }
    expect(sightingOf({ ...submitted, runningAt: at(20_000) }, RUNNING, false, answer)).toEqual(sighting)
  })
  test('at the first ask it began with its submission, however late it was registered', () => {
    expect(sightingOf(submitted, FINISHED, true, answer)).toEqual({ fromMs: 0, toMs: 40_200, hasEnded: true })
    expect(sightingOf(submitted, RUNNING, false, answer)).toEqual({ fromMs: 0, toMs: 40_000, hasEnded: false })
  })
  test('of a task of unknown age nothing, until it was seen running', () => {
    expect(sightingOf(aTask(), FINISHED, true, answer)).toBeNull()
    expect(sightingOf(aTask(), RUNNING, false, answer)).toBeNull()
    const sighting = { fromMs: 500, toMs: 30_200, hasEnded: true }
    expect(sightingOf(aTask({ runningAt: at(500) }), FINISHED, true, answer)).toEqual(sighting)
  })
  test('a failure that is believed is an end; one that is not, and silence, say nothing', () => {
    expect(sightingOf(submitted, FAILED_700, true, answer)).toMatchObject({ hasEnded: true })
    expect(sightingOf(submitted, FAILED_700, false, answer)).toBeNull()
    for (const observation of [UNAVAILABLE, THROTTLED, REFUSED]) {
      expect(sightingOf(submitted, observation, false, answer)).toBeNull()
      expect(sightingOf(submitted, observation, true, answer)).toBeNull()
    }
  })
  test('a task that ran until its deadline has not ended', () => {
    expect(sightingOf(submitted, RUNNING, true, answer)).toMatchObject({ hasEnded: false })
  })
  test('nothing when the clock was set back in between', () => {
    expect(sightingOf({ ...submitted, runningAt: at(HOUR) }, RUNNING, false, answer)).toBeNull()
  })
})

test('the next ask is never after the deadline and never lost, whatever was observed', () => {
  const anObservation = fc.constantFrom(RUNNING, UNAVAILABLE, THROTTLED, REFUSED, FAILED_700, FAILED_1001)
  fc.assert(
    fc.property(
      anObservation,
      fc.nat(48 * HOUR),
      fc.nat(24 * HOUR),
      fc.nat(30),
      (observation, nowMs, deadlineMs, silentCount) => {
        const task = aTask({ deadlineAt: at(deadlineMs), unavailableCount: silentCount })
        const decision = decided(task, observation, at(nowMs))
        expect(decision.kind).toBe(nowMs >= deadlineMs ? 'settle' : 'poll_again')
        if (decision.kind === 'poll_again') expect(epochMs(decision.nextPollAt)).toBeLessThanOrEqual(task.deadlineAt)
      },
    ),
  )
})
