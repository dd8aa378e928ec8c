/** Slots under a shortage: half of what was in use, once per shortage, never none, and won back step by step. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type RoomLeft, roomAfter, type SlotEnd } from '../../src/core/shortage.ts'

const ALL: RoomLeft = { slots: 64, shortageCount: 0 }
const END: SlotEnd = { isShort: false, shortageCount: 0, busyCount: 64, slotsMax: 64 }

test('one shortage halves once, however many meet it', () => {
  let room = ALL
  for (let one = 0; one < 40; one += 1) room = roomAfter(room, { ...END, isShort: true })
  expect(room).toEqual({ slots: 32, shortageCount: 1 })
})

test('a shortage that goes on halves again for those that started after the last', () => {
  let room = ALL
  for (let count = 0; count < 5; count += 1) room = roomAfter(room, { ...END, isShort: true, shortageCount: count })
  expect(room.slots).toBe(2)
})

test('half is half of what was in use', () => {
  expect(roomAfter(ALL, { ...END, isShort: true, busyCount: 10 }).slots).toBe(5)
})

test('a whole round of successes wins one slot back', () => {
  let room: RoomLeft = { slots: 8, shortageCount: 1 }
  for (let one = 0; one < 8; one += 1) room = roomAfter(room, END)
  expect(room.slots).toBeGreaterThan(8.9)
  expect(room.slots).toBeLessThanOrEqual(9)
  for (let one = 0; one < 64 * 64; one += 1) room = roomAfter(room, END)
  expect(room.slots).toBe(64)
})

test('whatever happens there is one slot, and never more than there may be', () => {
  const ends = fc.array(
    fc.record({ isShort: fc.boolean(), shortageCount: fc.nat(20), busyCount: fc.integer({ min: 1, max: 64 }) }),
  )
  fc.assert(
    fc.property(ends, fc.integer({ min: 1, max: 64 }), (all, slotsMax) => {
      let room: RoomLeft = { slots: slotsMax, shortageCount: 0 }
      for (const end of all) {
        room = roomAfter(room, { ...end, slotsMax })
        expect(room.slots).toBeGreaterThanOrEqual(1)
        expect(room.slots).toBeLessThanOrEqual(slotsMax)
      }
    }),
  )
})
