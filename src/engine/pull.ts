/** Pull: what the dispatcher would POST, handed to a receiver that comes and asks; signed at the moment it is handed out. */

import { unreadableInWords } from '../core/endpoint.ts'
import { AppError } from '../core/errors.ts'
import type { EndpointId } from '../core/ids.ts'
import type { SigningKey } from '../core/signature.ts'
import { type SignedEvent, webhookHeaders } from '../core/webhook-headers.ts'
import type { Clock } from '../ports.ts'
import type { PlacedEvent, PullStore } from '../store/pull.ts'

export interface PullerDeps {
  readonly store: PullStore
  readonly clock: Pick<Clock, 'now' | 'wall'>
  readonly signingKeys: readonly SigningKey[]
}

export interface PullRequest {
  /** Null: the events of all. */
  readonly endpointId: EndpointId | null
  /** The position of the last one that the receiver has; 0 for none. */
  readonly after: number
  readonly limit: number
}

export interface PulledEvent extends SignedEvent {
  readonly position: number
}

export interface Puller {
  /** Oldest first. Throws an `AppError` for an endpoint that is unknown, or whose secret cannot be opened. */
  pull(request: PullRequest): Promise<readonly PulledEvent[]>
  /** An endpoint without a URL has what came up to there: it counts as delivered. */
  acknowledge(endpointId: EndpointId, upTo: number): Promise<void>
}

export function createPuller({ store, clock, signingKeys }: PullerDeps): Puller {
  return {
    async pull(request) {
      const result = await store.pullEvents({ now: clock.now(), ...request })
      if (result.kind === 'unknown_endpoint')
        throw new AppError('not_found', `There is no endpoint ${request.endpointId}; it may have been deleted.`)
      if (result.kind === 'unreadable_secret') throw new AppError('conflict', unreadableInWords(result.endpointId))
      if (result.kind === 'beyond_the_last') throw beyondTheLast(request.after, result.lastPosition)
      const sentAt = clock.wall()
      return result.events.map(({ position, event }: PlacedEvent) => {
        const { id: eventId, body } = event
        const { signers } = result
        return { position, event, headers: webhookHeaders({ eventId, body, sentAt, signers, daemonKeys: signingKeys }) }
      })
    },
    async acknowledge(endpointId, upTo) {
      const limit = ACKNOWLEDGED_PIECE
      while ((await store.acknowledgeEvents({ now: clock.now(), endpointId, upTo, limit })) === limit) {}
    },
  }
}

/** Between two pieces everybody else has a turn. */
const ACKNOWLEDGED_PIECE = 1_000

/** What a cursor that is too high would skip is never asked for again, and would count as delivered. */
function beyondTheLast(after: number, lastPosition: number): AppError {
  const message =
    `${after} is beyond the last event (${lastPosition}): expected the nextCursor of an earlier page; ` +
    'of a database that was restored from a backup ask for more, and tell by the ids what you have already'
  return new AppError('invalid', `after: ${message}`, {
    faults: [{ pointer: '/query/after', code: 'out_of_range', message }],
  })
}
