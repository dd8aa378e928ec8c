/**
 * How many attempts each host may have at once: many endpoints of one host share what that host can take.
 *
 * Kept in memory, as it is learned anew within one attempt; and only of hosts that have something under way or less than
 * the maximum, of the latter no more than `HOSTS_KEPT_MAX`.
 */

import { type Allowance, allowanceAfter, allowedSlots } from '../core/allowance.ts'
import type { HostRoom } from '../store/store.ts'

export interface HostSlots {
  take(host: string): void
  /** `hasAnswered`: null when that is not known. */
  free(host: string, hasAnswered: boolean | null): void
  room(): HostRoom
}

const HOSTS_KEPT_MAX = 1_000

export function createHostSlots(max: number): HostSlots {
  const busy = new Map<string, number>()
  /** The host that was heard of longest ago is the first to be forgotten. */
  const reduced = new Map<string, number>()

  function keep(host: string, slots: Allowance): void {
    reduced.delete(host)
    if (slots === null) return
    reduced.set(host, slots)
    const [eldest] = reduced.keys()
    if (reduced.size > HOSTS_KEPT_MAX && eldest !== undefined) reduced.delete(eldest)
  }

  function left(host: string): number {
    return allowedSlots(reduced.get(host) ?? null, max) - (busy.get(host) ?? 0)
  }

  return {
    take(host) {
      busy.set(host, (busy.get(host) ?? 0) + 1)
    },
    free(host, hasAnswered) {
      const rest = (busy.get(host) ?? 1) - 1
      if (rest === 0) busy.delete(host)
      else busy.set(host, rest)
      if (hasAnswered !== null) keep(host, allowanceAfter(reduced.get(host) ?? null, max, hasAnswered))
    },
    room: () => ({ max, left: new Map([...reduced.keys(), ...busy.keys()].map((host) => [host, left(host)])) }),
  }
}
