/**
 * What leads back to the machine that we run on: where the daemon listens, and the addresses of the network interfaces.
 *
 * A server with a public address of its own reaches its other services at that address too, past a firewall that only
 * looks at what comes from outside. So the interfaces count as private, though the address is public by its number.
 */

import { networkInterfaces } from 'node:os'
import { canonicalAddress, canonicalHost, isLoopback } from './address-policy.ts'
import { remembered } from './remembered.ts'

export interface OwnMachine {
  /** Whether a connection to this host or address, on this port, would reach the daemon itself. */
  readonly isListeningAt: (host: string, port: number) => boolean
  readonly hasInterface: (address: string) => boolean
}

/** More than a daemon has. */
const ORIGIN_COUNT_MAX = 16

interface Listener {
  readonly host: string
  readonly port: number
}

/**
 * `addresses` is asked anew each time: interfaces come and go. That costs about 60 µs, and only where a connection is
 * opened or a public address stands in a URL.
 */
export function createOwnMachine(
  origins: () => readonly string[],
  addresses: () => readonly string[] = interfaceAddresses,
): OwnMachine {
  const hasInterface = (address: string) => {
    const wanted = canonicalAddress(address)
    return wanted !== null && addresses().some((own) => canonicalAddress(own) === wanted)
  }
  const listenerAt = remembered(ORIGIN_COUNT_MAX, listenerOf)
  return {
    hasInterface,
    // The scheme does not matter: whatever is sent there, it is we who would get it.
    isListeningAt: (host, port) =>
      origins().some((origin) => {
        const own = listenerAt(origin)
        return own?.port === port && isSameListener(own.host, host, hasInterface)
      }),
  }
}

function listenerOf(origin: string): Listener | null {
  if (!URL.canParse(origin)) return null
  const url = new URL(origin)
  return { host: canonicalHost(url.hostname), port: effectivePort(url) }
}

export function effectivePort(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'https:' ? 443 : 80
}

function isSameListener(ownHost: string, host: string, hasInterface: OwnMachine['hasInterface']): boolean {
  if (ownHost === host || (isLocal(ownHost) && isLocal(host))) return true
  return isEveryInterface(ownHost) && hasInterface(host)
}

/** A connection to the unspecified address goes to this machine, and a listener there hears it on all interfaces. */
function isLocal(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || isEveryInterface(host) || isLoopback(host)
}

function isEveryInterface(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function interfaceAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((one) => (one ?? []).map(({ address }) => address))
}
