/** Where and how an endpoint is sent to now: its URL, what signs, and the headers of its own. */

import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { Reach } from '../store.ts'
import type { CustomHeaderTable } from './custom-headers.ts'
import type { EndpointTable } from './endpoints.ts'
import type { SecretTable } from './secrets.ts'

export interface ReachParts {
  readonly endpoints: EndpointTable
  readonly secrets: SecretTable
  readonly customHeaders: CustomHeaderTable
}

export function reachOf({ endpoints, secrets, customHeaders }: ReachParts, id: EndpointId, now: EpochMs): Reach {
  const endpoint = endpoints.find(id, now)
  if (endpoint === undefined) return { kind: 'not_found' }
  const { url } = endpoint
  if (url === null) return { kind: 'no_url' }
  const signers = secrets.signersOf(id, now)
  const headers = customHeaders.openOf(id)
  if (signers === null || headers === null) return { kind: 'unreadable_secret' }
  return { kind: 'reachable', url, signers, headers }
}
