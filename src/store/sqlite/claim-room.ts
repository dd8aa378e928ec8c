/**
 * What one claim may still take: counted down in all, for each endpoint, for each host, for those that failed lately, and
 * for those together with the slow ones. The second is less than the third, so what fails does not starve what is slow.
 */

import { allowedSlots } from '../../core/allowance.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { ClaimDeliveries } from '../store.ts'
import type { DueEndpoints, EndpointTurn } from './turns.ts'

type Limited = Pick<EndpointTurn, 'id' | 'host' | 'concurrencyMax' | 'slots'>

export interface ClaimRoom {
  inAll(): number
  ofHost(host: string): number
  of(endpoint: Limited): number
  /** They were claimed. */
  take(endpoint: Limited, count: number): void
  /** What there is no room for, so that it need not be looked at. */
  passedBy(): Pick<DueEndpoints, 'full' | 'fullHosts' | 'isRecoveringAllowed'>
}

export function slotsMaxOf({ concurrencyMax }: Pick<Limited, 'concurrencyMax'>, params: ClaimDeliveries): number {
  return concurrencyMax ?? params.endpointConcurrency
}

/** `busy`: those that have something under way. */
export function createClaimRoom(params: ClaimDeliveries, busy: readonly Limited[]): ClaimRoom {
  const { hosts } = params
  const underWay = new Map(params.inFlight)
  const takenOfHosts = new Map<string, number>()
  const full = new Set<EndpointId>()
  let inAll = params.limit
  let ofRecovering = params.recoveringMax
  let ofUnhurried = params.unhurriedMax
  for (const one of busy) {
    if (ofEndpoint(one) <= 0) full.add(one.id)
    takeOfShared(one, underWay.get(one.id) ?? 0)
  }

  function ofShared({ slots, host }: Limited): number {
    if (slots !== null) return Math.min(ofRecovering, ofUnhurried)
    return hosts.slow.has(host) ? ofUnhurried : inAll
  }

  function takeOfShared({ slots, host }: Limited, count: number): void {
    if (slots !== null) ofRecovering -= count
    if (slots !== null || hosts.slow.has(host)) ofUnhurried -= count
  }

  function ofEndpoint(one: Limited): number {
    return allowedSlots(one.slots, slotsMaxOf(one, params)) - (underWay.get(one.id) ?? 0)
  }

  function ofHost(host: string): number {
    return (hosts.left.get(host) ?? hosts.max) - (takenOfHosts.get(host) ?? 0)
  }

  return {
    inAll: () => inAll,
    ofHost,
    of: (one) => Math.max(0, Math.min(inAll, ofEndpoint(one), ofHost(one.host), ofShared(one))),
    take(one, count) {
      inAll -= count
      underWay.set(one.id, (underWay.get(one.id) ?? 0) + count)
      takenOfHosts.set(one.host, (takenOfHosts.get(one.host) ?? 0) + count)
      takeOfShared(one, count)
      if (ofEndpoint(one) <= 0) full.add(one.id)
    },
    passedBy: () => ({
      full: [...full],
      fullHosts: [
        ...[...new Set([...hosts.left.keys(), ...takenOfHosts.keys()])].filter((host) => ofHost(host) <= 0),
        ...(ofUnhurried > 0 ? [] : hosts.slow),
      ],
      isRecoveringAllowed: Math.min(ofRecovering, ofUnhurried) > 0,
    }),
  }
}
