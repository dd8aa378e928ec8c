/** What one host may have: a part of all, less when it is silent, and nothing remembered of hosts that answer. */

import { expect, test } from 'vitest'
import { createHostSlots, type HostSlots } from '../../src/engine/host-slots.ts'

const HOST = 'shop.example'

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
  slots.free(HOST, true)
  expect(leftOf(slots, HOST)).toBe(1)
})

test('silence halves what a host may have, an answer doubles it, and what is not known changes nothing', () => {
  const slots = createHostSlots(32)
  const after = (hasAnswered: boolean | null) => {
    slots.take(HOST)
    slots.free(HOST, hasAnswered)
    return leftOf(slots, HOST)
  }
  expect([false, false, null, false, false, false, false].map(after)).toEqual([16, 8, 8, 4, 2, 1, 1])
  expect([true, null, true, true, true, true, true].map(after)).toEqual([2, 2, 4, 8, 16, 32, 32])
})

test('a host with more under way than it may have still is full, and has nothing left', () => {
  const slots = createHostSlots(8)
  for (let count = 0; count < 8; count += 1) slots.take(HOST)
  slots.free(HOST, false)
  slots.free(HOST, false)
  expect(leftOf(slots, HOST)).toBeLessThanOrEqual(0)
})

test('of ever so many silent hosts only the last thousand are remembered', () => {
  const slots = createHostSlots(32)
  for (let index = 0; index <= 1_000; index += 1) {
    slots.take(`host-${index}.example`)
    slots.free(`host-${index}.example`, false)
  }
  expect(leftOf(slots, 'host-0.example')).toBe(32)
  expect(leftOf(slots, 'host-1.example')).toBe(16)
  expect(leftOf(slots, 'host-1000.example')).toBe(16)
})
