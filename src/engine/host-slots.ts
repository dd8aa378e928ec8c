/**
 * How many attempts each host may have at once, as many endpoints of one host share what that host can take; and which
 * hosts are slow.
 *
 * Kept in memory, as it is learned anew within one attempt; and only of hosts that have something under way, or less than
 * the maximum, or are slow, of each of the latter no more than `HOSTS_KEPT_MAX`.
 */

import { type Allowance, allowanceAfter, allowedSlots, isSlow } from '../core/allowance.ts'
import type { HostRoom } from '../store/store.ts'

export interface HostSlots {
  take(host: string): void
  /** `end`: null when it says nothing about the host. */
  free(host: string, end: AttemptAtHost | null): void
  room(): HostRoom
}

export interface AttemptAtHost {
  readonly hasAnswered: boolean
  readonly durationMs: number
}

const HOSTS_KEPT_MAX = 1_000

export function createHostSlots(max: number): HostSlots {
  const busy = new Map<string, number>()
  /** The host that was heard of longest ago is the first to be forgotten. */
  const reduced = new Map<string, number>()
  const slow = new Set<string>()

  function keep(host: string, slots: Allowance, isSlowNow: boolean): void {
    reduced.delete(host)
    slow.delete(host)
    if (slots !== null) forgetEldest(reduced.set(host, slots))
    if (isSlowNow) forgetEldest(slow.add(host))
  }

  function left(host: string): number {
    return allowedSlots(reduced.get(host) ?? null, max) - (busy.get(host) ?? 0)
  }

  return {
    take(host) {
      busy.set(host, (busy.get(host) ?? 0) + 1)
    },
    free(host, end) {
      const rest = (busy.get(host) ?? 1) - 1
      if (rest === 0) busy.delete(host)
      else busy.set(host, rest)
      if (end === null) return
      const isSlowNow = isSlow(end.durationMs, slow.has(host))
      keep(host, allowanceAfter(reduced.get(host) ?? null, max, end.hasAnswered), isSlowNow)
    },
    room: () => ({
      max,
      left: new Map([...reduced.keys(), ...busy.keys()].map((host) => [host, left(host)])),
      slow: new Set(slow),
    }),
  }
}

function forgetEldest(hosts: Map<string, unknown> | Set<string>): void {
  const [eldest] = hosts.keys()
  if (hosts.size > HOSTS_KEPT_MAX && eldest !== undefined) hosts.delete(eldest)
}
