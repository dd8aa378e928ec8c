/** The upstream's clock as it is known from its answers: told once when ours is far off, gone by once a signature was refused. */

import { expect, test } from 'vitest'
import { type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../../src/core/time.ts'
import { createUpstreamClock } from '../../../src/upstream/aidge/upstream-clock.ts'

const NOW = epochMs(1_767_225_600_000)
const dateAt = (ms: number) => new Date(NOW + ms).toUTCString()

function aClock() {
  const machine: { wall: EpochMs } = { wall: NOW }
  const told: string[] = []
  const tell = ({ event }: { event: string }, message: string) => void told.push(`${event}: ${message}`)
  return { machine, told, clock: createUpstreamClock(() => machine.wall, { info: tell, warn: tell }) }
}

test('a clock that agrees within a minute is not told of', () => {
  const { clock, told } = aClock()
  for (const ms of [0, 59 * SECOND, -59 * SECOND]) clock.compare(dateAt(ms))
  for (const date of [null, '', 'yesterday', '2040-01-01T00:00:00Z']) clock.compare(date)
  expect(told).toEqual([])
})

test.each([
  [HOUR, 'behind'],
  [-HOUR, 'ahead of'],
])('a clock that is off by %d ms is told once, and again when it is right', (ms, side) => {
  const { machine, clock, told } = aClock()
  for (let answer = 0; answer < 3; answer += 1) clock.compare(dateAt(ms))
  expect(told).toHaveLength(1)
  expect(told[0]).toContain(`clock.skewed: the machine's clock is 1h ${side} the upstream's`)
  machine.wall = epochMs(NOW + ms)
  for (let answer = 0; answer < 3; answer += 1) clock.compare(dateAt(ms))
  expect(told).toHaveLength(2)
})

test('signatures go by our wall clock until one was refused, and then by the upstream’s, wherever ours is set', () => {
  const { machine, clock } = aClock()
  clock.compare(dateAt(5 * MINUTE))
  expect(clock.now()).toBe(NOW)
  expect(clock.follow(null)).toBe(false)
  expect(clock.follow(dateAt(5 * MINUTE))).toBe(true)
  expect(clock.now()).toBe(NOW + 5 * MINUTE + SECOND / 2)
  machine.wall = epochMs(NOW - HOUR)
  expect(clock.now()).toBe(NOW - HOUR + 5 * MINUTE + SECOND / 2)
  clock.follow(dateAt(0))
  expect(clock.now()).toBe(NOW + SECOND / 2)
})
