/** The headers that make a request a Standard Webhook (1.0.0): what it tells, when it was sent, and who says so. */

import type { Signer } from './endpoint.ts'
import type { Event } from './event.ts'
import type { EventId } from './ids.ts'
import { type SigningKey, sign } from './signature.ts'
import { type EpochMs, toUnixSeconds } from './time.ts'

export interface SignedMessage {
  readonly eventId: EventId
  readonly body: string
  /** Of this sending: a timestamp taken earlier would be out of the receiver's tolerance after a wait. */
  readonly sentAt: EpochMs
  readonly signers: readonly Signer[]
  /** Sign where a signer is the daemon itself. */
  readonly daemonKeys: readonly SigningKey[]
}

export interface WebhookHeaders {
  readonly 'webhook-id': string
  readonly 'webhook-timestamp': string
  readonly 'webhook-signature': string
}

/** An event as it is handed out: what was stored, and the headers of this one sending. */
export interface SignedEvent {
  readonly event: Event
  readonly headers: WebhookHeaders
}

export function webhookHeaders({ eventId, body, sentAt, signers, daemonKeys }: SignedMessage): WebhookHeaders {
  const timestampSeconds = toUnixSeconds(sentAt)
  const keys = signers.flatMap((signer) => (signer === 'daemon' ? daemonKeys : [signer]))
  return {
    'webhook-id': eventId,
    'webhook-timestamp': String(timestampSeconds),
    'webhook-signature': sign({ id: eventId, timestampSeconds, body, keys }),
  }
}
