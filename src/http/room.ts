/** How many callers may wait inside at once, and how much they may bring: beyond it they are told to come again. */

import { AppError } from '../core/errors.ts'
import { SECOND } from '../core/time.ts'

export interface Room {
  /** Takes a place, or throws `throttled` (429) when all are taken. */
  enter(): Visit
  /** How many are inside. */
  visitCount(): number
}

export interface Visit {
  /** Takes room for what the caller brings, or throws `throttled` (429) when there is not enough left. */
  hold(byteCount: number): void
  /** Gives back the place, and the room for all that was held. */
  leave(): void
}

/** Refusing early is what keeps the memory flat: whoever is let in is parsed, checked and queued for the disk. */
const RETRY_AFTER_MS = SECOND

export function createRoom({ placesMax, bytesMax }: { placesMax: number; bytesMax: number }): Room {
  let placesTaken = 0
  let bytesTaken = 0
  return {
    visitCount: () => placesTaken,
    enter() {
      if (placesTaken >= placesMax) throw full(`${placesMax} requests are waiting already`)
      placesTaken += 1
      let bytesHeld = 0
      let isInside = true
      return {
        hold(byteCount) {
          if (bytesTaken + byteCount > bytesMax) throw full('the bodies that are being read fill the memory set apart')
          bytesHeld += byteCount
          bytesTaken += byteCount
        },
        leave() {
          if (!isInside) return
          isInside = false
          placesTaken -= 1
          bytesTaken -= bytesHeld
        },
      }
    },
  }
}

function full(reason: string): AppError {
  const remedy = 'Nothing of this was kept: send it again after Retry-After.'
  return new AppError('throttled', `Too much at once: ${reason}. ${remedy}`, { retryAfterMs: RETRY_AFTER_MS })
}
