/**
 * Whose turn it is among the due tasks of one credential.
 *
 * They stand in queues: of each kind those that were never asked about, and those that were. In each the longest due comes
 * first. Everybody together by that rule alone would let a kind with a hundred thousand overdue starve one with ten, and an
 * afternoon's registrations starve what is about to finish. So the queues take turns, in rounds: each in which somebody
 * waits has one in every round, the one whose first has been due for longest before the others. A queue with nobody in it
 * costs the others nothing.
 *
 * Kept between claims is who had a turn in the round that is under way: with a slow rate a claim may be for one query.
 */

import type { EpochMs } from './time.ts'

export interface Queue {
  readonly kind: string
  /** Of those that were never asked about. */
  readonly isNew: boolean
  /** Since when its first is due. */
  readonly dueAt: EpochMs
}

/** Names of the queues that had their turn in this round. */
export type Served = readonly string[]

export interface Share {
  readonly queue: Queue
  readonly count: number
}

/** How many of the next `count` turns each queue has, if each has enough waiting for them. */
export function shareOut(
  queues: readonly Queue[],
  served: Served,
  count: number,
): { readonly shares: readonly Share[]; readonly served: Served } {
  if (queues.length === 0 || count === 0) return { shares: [], served }
  const inOrder = queues.toSorted((a, b) => a.dueAt - b.dueAt)
  const left = inOrder.filter((queue) => !served.includes(nameOf(queue)))
  if (count < left.length) {
    const first = left.slice(0, count)
    return { shares: first.map((queue) => ({ queue, count: 1 })), served: [...served, ...first.map(nameOf)] }
  }
  const roundCount = Math.floor((count - left.length) / inOrder.length)
  const begun = inOrder.slice(0, (count - left.length) % inOrder.length)
  const shares = inOrder.map((queue) => ({
    queue,
    count: (left.includes(queue) ? 1 : 0) + roundCount + (begun.includes(queue) ? 1 : 0),
  }))
  return { shares: shares.filter((share) => share.count > 0), served: begun.map(nameOf) }
}

function nameOf({ kind, isNew }: Queue): string {
  return `${isNew ? 'new' : 'known'} ${kind}`
}
