/** The part of the store that tells the operator of ourselves. */

import type { Endpoint } from '../core/endpoint.ts'
import type { OperatorEvent } from '../core/operator-event.ts'
import type { EpochMs } from '../core/time.ts'

export interface OperatorStore {
  /**
   * Whom we tell of ourselves: the endpoint of this URL, which is found or made, and no other; null: nobody. What another
   * one was to be told before is still delivered there.
   */
  keepOperatorEndpoint(params: { now: EpochMs; url: string | null }): Promise<Endpoint | null>

  /**
   * Calls back with what the operator is told, once it is on disk. Each transition (of an endpoint's health, of a delivery
   * that is given up, of a credential's pause, of the disk) makes one event, in the step of the transition. What was told
   * before anybody listened is handed over at once.
   */
  onTold(listen: (told: readonly OperatorEvent[]) => void): void

  /** Forgets what was told before that, delivered or not. Returns how many events. */
  deleteOperatorEvents(params: { toldBefore: EpochMs; limit: number }): Promise<number>
}
