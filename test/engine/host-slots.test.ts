/** What one host may have: a part of all, less when it is silent, and nothing remembered of hosts that answer. */

import { expect, test } from 'vitest'
import { createHostSlots, type HostSlots } from '../../src/engine/host-slots.ts'

const HOST = 'shop.example'
const ANSWERED = { hasAnswered: true, durationMs: 1 }
const SILENT = { hasAnswered: false, durationMs: 1 }

function leftOf(slots: HostSlots, host: string): number {
  const { max, left } = slots.room()
  return left.get(host) ?? max
}

test('a host has room for the maximum less what is under way', () => {
  const slots = createHostSlots(4)
  expect(leftOf(slots, HOST)).toBe(4)
  slots.take(HOST)
  expect(leftOf(slots, HOST)).toBe(3)
  expect(leftOf(slots, 'another.example')).toBe(4)
})

test('a host is full while all that it may have is under way', () => {
  const slots = createHostSlots(2)
  slots.take(HOST)
  expect(leftOf(slots, HOST)).toBe(1)
  slots.take(HOST)
  expect(leftOf(slots, HOST)).toBe(0)
  slots.free(HOST, ANSWERED)
  expect(leftOf(slots, HOST)).toBe(1)
})

test('silence halves what a host may have, an answer doubles it, and what is not known changes nothing', () => {
  const slots = createHostSlots(32)
  const after = (hasAnswered: boolean | null) => {
    slots.take(HOST)
    slots.free(HOST, hasAnswered === null ? null : { hasAnswered, durationMs: 1 })
    return leftOf(slots, HOST)
  }
  expect([false, false, null, false, false, false, false].map(after)).toEqual([16, 8, 8, 4, 2, 1, 1])
  expect([true, null, true, true, true, true, true].map(after)).toEqual([2, 2, 4, 8, 16, 32, 32])
})

test('a host with more under way than it may have still is full, and has nothing left', () => {
  const slots = createHostSlots(8)
  for (let count = 0; count < 8; count += 1) slots.take(HOST)
  slots.free(HOST, SILENT)
  slots.free(HOST, SILENT)
  expect(leftOf(slots, HOST)).toBeLessThanOrEqual(0)
})

test('a host is slow whose last attempt took longer than a second, whatever came of it, until one is quick', () => {
  const slots = createHostSlots(32)
  const afterwards = (hasAnswered: boolean, durationMs: number) => {
    slots.take(HOST)
    slots.free(HOST, { hasAnswered, durationMs })
    return slots.room().slow.has(HOST)
  }
  expect(afterwards(true, 1_001)).toBe(true)
  expect(afterwards(true, 900)).toBe(true)
  expect(afterwards(true, 500)).toBe(false)
  expect(afterwards(true, 900)).toBe(false)
  expect(afterwards(false, 20_000)).toBe(true)
  slots.take(HOST)
  slots.free(HOST, null)
  expect(slots.room().slow.has(HOST)).toBe(true)
})

test('of ever so many slow or silent hosts only the last thousand are remembered', () => {
  const slots = createHostSlots(32)
  for (let index = 0; index <= 2_001; index += 1) {
    slots.take(`host-${index}.example`)
    slots.free(`host-${index}.example`, { hasAnswered: index % 2 === 0, durationMs: 20_000 })
  }
  expect([1, 3, 1_999].map((index) => leftOf(slots, `host-${index}.example`))).toEqual([32, 16, 16])
  const { slow } = slots.room()
  expect([slow.size, slow.has('host-1001.example'), slow.has('host-1002.example')]).toEqual([1_000, false, true])
})
