/** What people do to endpoints, step by step: making one, changing it, replacing what signs for it. */

import type { Endpoint } from '../../core/endpoint.ts'
import { assert } from '../../core/errors.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { EndpointResult, Store } from '../store.ts'
import type { CustomHeaderTable } from './custom-headers.ts'
import type { EndpointHealthTable } from './endpoint-health.ts'
import type { EndpointTable } from './endpoints.ts'
import type { SecretTable } from './secrets.ts'
import type { TurnTable } from './turns.ts'

export interface EndpointChangesParts {
  readonly endpoints: EndpointTable
  readonly secrets: SecretTable
  readonly customHeaders: CustomHeaderTable
  readonly turns: Pick<TurnTable, 'changed'>
  readonly health: Pick<EndpointHealthTable, 'moved' | 'resume'>
}

type Params<M extends 'createEndpoint' | 'updateEndpoint' | 'rotateSecret'> = Parameters<Store[M]>[0]

export function createEndpointChanges({ endpoints, secrets, customHeaders, turns, health }: EndpointChangesParts) {
  function kept(id: EndpointId, now: EpochMs): { kind: 'kept'; endpoint: Endpoint } {
    const endpoint = endpoints.find(id, now)
    assert(endpoint !== undefined, `endpoint ${id} is there in its own step`)
    return { kind: 'kept', endpoint }
  }

  /** Another one that has the URL. */
  function ownerOf(url: string | null | undefined, now: EpochMs): Endpoint | undefined {
    return url === null || url === undefined ? undefined : endpoints.findByUrl(url, now)
  }

  /** Whether all that it is sent with can be opened. */
  function isReadable(id: EndpointId, now: EpochMs): boolean {
    return secrets.signersOf(id, now) !== null && customHeaders.openOf(id) !== null
  }

  /** What could not be opened has been replaced. */
  function resumeIfMended({ id, disabledReason }: Endpoint, now: EpochMs): void {
    if (disabledReason === 'secret_unreadable' && isReadable(id, now)) health.resume(id, now)
  }

  return {
    create({ now, secret, privateKey, ...settings }: Params<'createEndpoint'>) {
      const taken = ownerOf(settings.url, now)
      if (taken !== undefined) return { kind: 'url_taken' as const, endpoint: taken }
      const keys = privateKey === undefined ? { secret } : { secret, privateKey }
      return kept(endpoints.create(settings, keys, now), now)
    },

    update({ now, id, privateKey, ...changes }: Params<'updateEndpoint'>): EndpointResult {
      const endpoint = endpoints.find(id, now)
      if (endpoint === undefined) return { kind: 'not_found' }
      if (changes.url !== undefined && (changes.url === null) !== (endpoint.url === null)) {
        return { kind: 'way_fixed', endpoint }
      }
      const taken = ownerOf(changes.url, now)
      if (taken !== undefined && taken.id !== id) return { kind: 'url_taken', endpoint: taken }
      endpoints.update(endpoint, changes, now)
      if (changes.url !== undefined && changes.url !== endpoint.url) health.moved(id, now)
      if (isSentOtherwise(endpoint, changes)) turns.changed(id, now)
      if (privateKey === null) secrets.endPrivateKeys(id, now)
      else if (privateKey !== undefined) secrets.beginPrivateKey(id, privateKey, now)
      resumeIfMended(endpoint, now)
      return kept(id, now)
    },

    rotate({ now, id, secret, privateKey, overlapMs }: Params<'rotateSecret'>): Endpoint | null {
      const endpoint = endpoints.find(id, now)
      if (endpoint === undefined) return null
      secrets.rotate(id, secret, now, overlapMs)
      if (privateKey !== undefined) secrets.rotatePrivateKey(id, privateKey, now, overlapMs)
      resumeIfMended(endpoint, now)
      return kept(id, now).endpoint
    },

    isReadable,
  }
}

function isSentOtherwise(
  endpoint: Endpoint,
  { url, rateMax }: Pick<Params<'updateEndpoint'>, 'url' | 'rateMax'>,
): boolean {
  return (url !== undefined && url !== endpoint.url) || (rateMax !== undefined && rateMax !== endpoint.rateMax)
}
