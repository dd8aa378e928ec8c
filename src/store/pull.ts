/** The part of the store that receivers read who come and ask: events in their order, and what of them has arrived. */

import type { Signer } from '../core/endpoint.ts'
import type { Event } from '../core/event.ts'
import type { EndpointId } from '../core/ids.ts'
import type { EpochMs } from '../core/time.ts'

/** An event in its place in the order of the commits: nothing is ever added below a place that was read. */
export interface PlacedEvent {
  readonly position: number
  readonly event: Event
}

export type PullResult =
  | { readonly kind: 'events'; readonly events: readonly PlacedEvent[]; readonly signers: readonly Signer[] }
  | { readonly kind: 'unknown_endpoint' }
  | { readonly kind: 'unreadable_secret'; readonly endpointId: EndpointId }
  /** `after` is beyond the last position that there ever was: it was made up, or is of another database. */
  | { readonly kind: 'beyond_the_last'; readonly lastPosition: number }

export interface PullStore {
  /**
   * The events after a position, oldest first, with what signs them: of all, or of those that one endpoint is told of.
   */
  pullEvents(params: { now: EpochMs; endpointId: EndpointId | null; after: number; limit: number }): Promise<PullResult>
  /**
   * Whoever asks for what comes after `upTo` has the rest: an endpoint that is not sent to has it delivered, `limit` of it
   * in one step. Returns how many; fewer than `limit` when none are left. Writes nothing when there are none.
   */
  acknowledgeEvents(params: { now: EpochMs; endpointId: EndpointId; upTo: number; limit: number }): Promise<number>
}
