/**
 * How many attempts the file handles of this process allow at once. Kept in memory: the next process may have more of
 * them, and learns within one attempt if it does not.
 */

import type { AttemptResult } from '../core/delivery.ts'
import { type RoomLeft, roomAfter } from '../core/shortage.ts'
import type { Log } from '../ports.ts'

export interface HandleSlots {
  count(): number
  /** An attempt begins; the answer is to be called with what came of it, and with how many were under way by then. */
  take(): (result: AttemptResult, busyCount: number) => void
}

export function createHandleSlots(slotsMax: number, log: Pick<Log, 'info' | 'warn'>): HandleSlots {
  let room: RoomLeft = { slots: slotsMax, shortageCount: 0 }
  const count = () => Math.floor(room.slots)

  function tell(before: number, isNew: boolean): void {
    const slots = count()
    if (isNew) {
      const remedy = 'raise the limit (ulimit -n, LimitNOFILE)'
      log.warn(
        { event: 'dispatcher.short', slots, slotsMax },
        `no file handle is left: ${slots} at once now; ${remedy}`,
      )
    }
    if (before < slotsMax && slots === slotsMax)
      log.info({ event: 'dispatcher.recovered', slots }, `file handles suffice: ${slots} at once again`)
  }

  return {
    count,
    take() {
      const { shortageCount } = room
      return (result, busyCount) => {
        const before = room
        const isShort = result.kind === 'own_fault' && result.reason === 'no_file_handles'
        room = roomAfter(room, { isShort, shortageCount, busyCount, slotsMax })
        tell(Math.floor(before.slots), before.shortageCount < room.shortageCount)
      }
    },
  }
}
