/** What the invariants are written with. */

import { DAY } from '../../src/core/time.ts'
import type { Ledger } from './ledger.ts'

/** What is wrong, in words; empty: nothing. */
export type Problems = readonly string[]

export const none: Problems = []

export const unless = (isTrue: boolean, problem: () => string): Problems => (isTrue ? none : [problem()])

export function tally<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1)
  return counts
}

/** Events are forgotten within the history. */
export function isForgetful({ plan }: Ledger): boolean {
  return plan.options.retentionMs < DAY
}
