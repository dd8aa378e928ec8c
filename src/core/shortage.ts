/**
 * How many slots remain in use when the machine runs short of something that each of them needs: half of them at once,
 * and one more for every round in which all of them found it (additive increase, multiplicative decrease, as of TCP).
 *
 * By rounds and not by time: whoever has little to do loses nothing by few slots, and whoever has much has them back soon.
 */

export interface RoomLeft {
  /** Fractional: each success adds its share of a slot. */
  readonly slots: number
  /** Those who started before the last shortage all meet the same one; it halves once. */
  readonly shortageCount: number
}

export interface SlotEnd {
  readonly isShort: boolean
  /** `shortageCount` when the slot was taken. */
  readonly shortageCount: number
  /** How many were in use, this one included. */
  readonly busyCount: number
  readonly slotsMax: number
}

/** The room after a slot came free. */
export function roomAfter(room: RoomLeft, { isShort, shortageCount, busyCount, slotsMax }: SlotEnd): RoomLeft {
  if (!isShort) return { ...room, slots: Math.min(slotsMax, room.slots + 1 / room.slots) }
  if (shortageCount < room.shortageCount) return room
  // Half of what was really in use: half of a number that was never reached would change nothing.
  const slots = Math.max(1, Math.floor(Math.min(room.slots, busyCount) / 2))
  return { slots, shortageCount: room.shortageCount + 1 }
}
