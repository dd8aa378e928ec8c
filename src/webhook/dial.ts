/** The one place where sockets to receivers are opened: to judged addresses only, with TLS that is verified. */

import { isIP, type LookupFunction, connect as openTcp, type Socket } from 'node:net'
import { connect as openTls } from 'node:tls'
import type { buildConnector } from 'undici'
import { type AddressGuard, BLOCKED_ADDRESS_CODE, BlockedAddressError } from './address-guard.ts'
import { isLoopback } from './address-policy.ts'

export interface DialOptions {
  readonly guard: Pick<AddressGuard, 'judgeAddress' | 'lookupFor'>
  /** PEM certificates to trust instead of the system's. */
  readonly trustedCertificates: readonly string[] | null
  /** A name was resolved to an address outside this machine. */
  readonly onResolved: (hostname: string) => void
  /** A host outside this machine accepted a connection. */
  readonly onConnected: (hostname: string) => void
}

/** The steps of opening a socket, as each is done: the name is looked up, TCP is connected, TLS is agreed on. */
export interface Opening {
  onResolved(): void
  onTcpConnected(): void
  onConnected(address: string | null): void
}

/** Opens a socket and hands it over when it can be written to. Returns it at once, so that opening can be called off. */
export type Dial = (target: buildConnector.Options, done: buildConnector.Callback, opening: Opening) => Socket | null

/** Before the next address of a name is tried as well; Node's 250 ms gives up on receivers that are only far away. */
const NEXT_ADDRESS_AFTER_MS = 1_000
/** As much as Node takes from the kernel at a time when it reads for TLS. */
export const READ_BYTES_MAX = 16_384

export function createDial(options: DialOptions): Dial {
  return (target, done, opening) => {
    const { hostname } = target
    const port = portOf(target)
    // Node asks no lookup about an address, so that one is judged here.
    const verdict = isIP(hostname) === 0 ? null : options.guard.judgeAddress(hostname, hostname, port)
    if (verdict?.isAllowed === false) {
      queueMicrotask(() => done(new BlockedAddressError(verdict.reason), null))
      return null
    }
    const isTls = target.protocol === 'https:'
    const tcp = tcpOptions(hostname, port, witnessedLookup(options, port, opening.onResolved))
    const socket = isTls ? openSecure(tcp, options.trustedCertificates) : openPlain(tcp)
    if (isTls) socket.once('connect', opening.onTcpConnected)
    let isDone = false
    socket.on('error', (error) => {
      if (isDone) return
      isDone = true
      done(error, null)
    })
    socket.once(isTls ? 'secureConnect' : 'connect', () => {
      isDone = true
      const address = socket.remoteAddress ?? null
      if (!isTls) opening.onTcpConnected()
      opening.onConnected(address)
      if (address !== null && !isLoopback(address)) options.onConnected(hostname)
      done(null, socket)
    })
    return socket
  }
}

function portOf({ protocol, port }: buildConnector.Options): number {
  if (port !== '') return Number(port)
  return protocol === 'https:' ? 443 : 80
}

/**
 * Reads in small pieces. By itself Node takes up to 64 KiB at a time, by which a limit that is looked at between two reads
 * would be overrun; of an ordinary answer, a few hundred bytes, the copy costs nothing.
 */
function openPlain(tcp: ReturnType<typeof tcpOptions>): Socket {
  const buffer = Buffer.alloc(READ_BYTES_MAX)
  const callback = (count: number, bytes: Uint8Array): boolean => socket.push(Buffer.from(bytes.subarray(0, count)))
  const socket: Socket = openTcp({ ...tcp, onread: { buffer, callback } })
  return socket
}

function openSecure(tcp: ReturnType<typeof tcpOptions>, trusted: readonly string[] | null): Socket {
  return openTls({
    ...tcp,
    // An address cannot be a server name (RFC 6066 §3), and a dot at the end is no part of one.
    servername: isIP(tcp.host) === 0 ? tcp.host.replace(/\.$/, '') : '',
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // Said although it is the default, because an environment variable can change the default.
    rejectUnauthorized: true,
    ...(trusted === null ? {} : { ca: [...trusted] }),
  })
}

function tcpOptions(host: string, port: number, lookup: LookupFunction) {
  return {
    host,
    port,
    lookup,
    noDelay: true,
    keepAlive: true,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_AFTER_MS,
  }
}

function witnessedLookup({ guard, onResolved }: DialOptions, port: number, onLookedUp: () => void): LookupFunction {
  const lookup = guard.lookupFor(port)
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, answer, family) => {
      const addresses = typeof answer === 'string' ? [answer] : answer.map(({ address }) => address)
      // What this machine knows of itself (localhost, its hosts file) says nothing about its name servers.
      const isAnswered = error === null ? !addresses.every(isLoopback) : error.code === BLOCKED_ADDRESS_CODE
      if (isAnswered) onResolved(hostname)
      onLookedUp()
      callback(error, answer, family)
    })
  }
}
