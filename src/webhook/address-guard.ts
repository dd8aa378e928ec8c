/**
 * Keeps webhooks away from addresses that are not the receiver's business: the operator's own network, cloud metadata,
 * this daemon itself (SSRF).
 *
 * A callback URL is judged three times. By its text when it is registered and again before each attempt: the *parsed*
 * URL, as the parser reads dozens of spellings as 127.0.0.1. And by the addresses that its name has at the moment of
 * connecting: the connection goes to exactly the list that was judged, so a name that changes its mind between the
 * question and the connection (DNS rebinding) gains nothing.
 */

import { ADDRCONFIG as LOOKUP_CONFIGURED_FAMILIES, type LookupAddress, lookup as lookupBySystem } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import type { GuardUrl, UrlVerdict } from '../ports.ts'
import {
  type AllowList,
  canonicalHost,
  classifyAddress,
  listsAddress,
  METADATA_HOSTS,
  opensAddress,
  opensHost,
} from './address-policy.ts'
import { createOwnMachine, effectivePort, type OwnMachine } from './own-machine.ts'
import { remembered } from './remembered.ts'

export { ALLOW_NOTHING, type AllowList, parseAllowList } from './address-policy.ts'

export type AddressVerdict =
  | { readonly isAllowed: true }
  /** `reason` is a sentence with the remedy, without anything of a URL but its host. */
  | { readonly isAllowed: false; readonly reason: string }

/** Asks for all addresses of a name, in the order in which to try them. */
export type Resolve = (
  hostname: string,
  done: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void

export interface AddressGuardOptions {
  readonly allow: AllowList
  /** Where this daemon listens, e.g. `http://127.0.0.1:7464`: a webhook to ourselves would be a loop. */
  readonly ownOrigins: () => readonly string[]
  /** Default: the addresses of this machine's network interfaces. */
  readonly ownAddresses?: () => readonly string[]
  /** Default: the system's resolver. */
  readonly resolve?: Resolve
}

export interface AddressGuard {
  readonly judgeUrl: GuardUrl
  readonly judgeAddress: (address: string, hostname: string, port: number) => AddressVerdict
  /**
   * For a `net.connect` or `tls.connect` to this port, which does not call it for hosts that are addresses already. The
   * port counts because a name may lead to where we ourselves listen, and only the connection knows both.
   */
  readonly lookupFor: (port: number) => LookupFunction
}

/** Of the error that `lookup` fails with when a name has an address that is denied. */
export const BLOCKED_ADDRESS_CODE = 'ERR_BLOCKED_ADDRESS'

export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError'
  readonly code = BLOCKED_ADDRESS_CODE
}

export function createAddressGuard({
  allow,
  ownOrigins,
  ownAddresses,
  resolve = resolveBySystem,
}: AddressGuardOptions): AddressGuard {
  const rules = { allow, own: createOwnMachine(ownOrigins, ownAddresses) }
  const ask = shared(resolve)
  const read = remembered(READING_COUNT_MAX, (text) => readUrl(allow, text))
  return {
    // What is too long is not remembered either.
    judgeUrl: (text) => (text.length > URL_LENGTH_MAX ? tooLong() : verdictOnUrl(rules.own, read(text))),
    judgeAddress: (address, hostname, port) => verdictOnAddress(rules, { address, hostname, port }),
    lookupFor: (port) =>
      guardedLookup(ask, (address, hostname) => verdictOnAddress(rules, { address, hostname, port })),
  }
}

interface Rules {
  readonly allow: AllowList
  readonly own: OwnMachine
}

// The text of a URL

const URL_LENGTH_MAX = 2_048

/** A webhook to one of these would speak HTTP into another protocol (the idea of the "bad ports" of WHATWG fetch). */
const DENIED_PORTS: ReadonlySet<number> = new Set([
  1433, 1521, 1719, 1720, 1723, 2049, 2181, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672, 5900, 6000, 6379,
  6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 11211, 27017, 27018, 27019,
])

const PRIVATE_SUFFIXES = ['.localhost', '.local', '.internal', '.home.arpa', '.onion']

/** Of URLs that are posted to again and again. */
const READING_COUNT_MAX = 1_000

/** What the text of a URL says by itself: the same for as long as the daemon runs, so that it can be remembered. */
type UrlReading =
  | { readonly kind: 'denied'; readonly verdict: UrlVerdict }
  | {
      readonly kind: 'read'
      readonly host: string
      readonly port: number
      /** The host is a public address that nobody listed: this machine itself may have it at the moment. */
      readonly isPublicAddress: boolean
      /** As far as the addresses of this machine have nothing against it. */
      readonly verdict: UrlVerdict
    }

function verdictOnUrl(own: OwnMachine, reading: UrlReading): UrlVerdict {
  if (reading.kind === 'denied') return reading.verdict
  const { host, port, isPublicAddress, verdict } = reading
  if (own.isListeningAt(host, port)) {
    return denied('loop', `${host}:${port} is where this daemon itself listens: give the URL of the receiver`)
  }
  if (isPublicAddress && own.hasInterface(host)) return denied('blocked_address', isOurAddress(host, host))
  return verdict
}

function readUrl(allow: AllowList, text: string): UrlReading {
  const url = parseUrl(text)
  if (url === null) return deniedText(unreadableUrl(text))
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    const message = `webhooks are sent over https, not "${url.protocol.slice(0, 40)}"`
    return deniedText(denied('unsupported_scheme', message))
  }
  if (url.username !== '' || url.password !== '') {
    const message = 'the URL has a user name or password in it: send a custom header instead'
    return deniedText(denied('userinfo', message))
  }
  url.hash = ''
  if (url.href.length > URL_LENGTH_MAX) return deniedText(tooLong())
  const port = effectivePort(url)
  if (!isWebPort(port)) return deniedText(badPort(port))
  const host = canonicalHost(url.hostname)
  const standing = isIP(host) === 0 ? standingOfName(allow, host) : standingOfAddress(allow, host, host)
  const verdict =
    standing.kind === 'denied'
      ? denied('blocked_address', standing.reason)
      : (verdictOnScheme(allow, url, host) ?? { isAllowed: true, url: url.href })
  return { kind: 'read', host, port, isPublicAddress: standing.kind === 'public', verdict }
}

function deniedText(verdict: UrlVerdict): UrlReading {
  return { kind: 'denied', verdict }
}

function standingOfName(allow: AllowList, host: string): Standing {
  if (opensHost(allow, host)) return ALLOWED
  const isPrivate =
    host === '' ||
    !host.includes('.') ||
    METADATA_HOSTS.has(host) ||
    PRIVATE_SUFFIXES.some((suffix) => host.endsWith(suffix))
  if (!isPrivate) return ALLOWED
  const remedy = host === 'localhost' ? '127.0.0.0/8,::1' : host
  const reason = `"${host}" is a name of a private network. ${howToAllow(remedy)}`
  return { kind: 'denied', reason: host === '' ? 'the URL has no host' : reason }
}

function verdictOnScheme(allow: AllowList, url: URL, host: string): UrlVerdict | null {
  if (url.protocol === 'https:') return null
  const isOpened = isIP(host) === 0 ? opensHost(allow, host) : opensAddress(allow, host)
  if (isOpened) return null
  return denied('insecure_scheme', `http is readable on the way to ${host}: use https. ${howToAllow(host)}`)
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

/** Says why as far as one can tell, and never repeats the text: there may be a password in it. */
function unreadableUrl(text: string): UrlVerdict {
  const port = /^[a-z]+:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/i.exec(text)?.[1]
  if (port !== undefined && Number(port) > 65_535) return badPort(port.slice(0, 20))
  return denied('not_a_url', 'expected an absolute URL such as https://receiver.example/webhooks')
}

function tooLong(): UrlVerdict {
  return denied('too_long', `the URL is longer than ${URL_LENGTH_MAX} characters`)
}

function badPort(port: number | string): UrlVerdict {
  return denied('bad_port', `port ${port} is no web port: use 443, 80 or one from 1024 on that no other protocol has`)
}

function isWebPort(port: number): boolean {
  return port === 443 || port === 80 || (port >= 1_024 && !DENIED_PORTS.has(port))
}

function denied(code: string, message: string): UrlVerdict {
  return { isAllowed: false, code, message }
}

function howToAllow(entry: string): string {
  return `Set RINGBACK_CALLBACK_ALLOW=${entry} if this receiver is yours`
}

// An address

interface Destination {
  readonly address: string
  /** What the URL calls it. */
  readonly hostname: string
  readonly port: number
}

/** What a host is by itself and by the list, whatever addresses this machine has at the moment. */
type Standing =
  | { readonly kind: 'allowed' }
  /** An address that is public by its number and not listed: denied as long as it is one of this machine's. */
  | { readonly kind: 'public' }
  | { readonly kind: 'denied'; readonly reason: string }

const ALLOWED: Standing = { kind: 'allowed' }

function verdictOnAddress({ allow, own }: Rules, { address, hostname, port }: Destination): AddressVerdict {
  const host = canonicalHost(hostname)
  if (own.isListeningAt(address, port)) {
    const reason = `${subjectOf(address, host)} is where this daemon itself listens (port ${port})`
    return { isAllowed: false, reason }
  }
  const standing = standingOfAddress(allow, address, host)
  switch (standing.kind) {
    case 'allowed':
      return { isAllowed: true }
    case 'public':
      return own.hasInterface(address) ? { isAllowed: false, reason: isOurAddress(address, host) } : { isAllowed: true }
    case 'denied':
      return { isAllowed: false, reason: standing.reason }
  }
}

function standingOfAddress(allow: AllowList, address: string, host: string): Standing {
  const isOpened = opensAddress(allow, address) || allow.hosts.has(host)
  const subject = subjectOf(address, host)
  const found = classifyAddress(address)
  switch (found.kind) {
    case 'public':
      return isOpened ? ALLOWED : { kind: 'public' }
    case 'unreadable':
      return { kind: 'denied', reason: `${subject} is not an IP address` }
    case 'tunnel':
      return { kind: 'denied', reason: `${subject} carries an IPv4 address inside: use the IPv4 address itself` }
    case 'metadata': {
      const isListed = listsAddress(allow, address) || (METADATA_HOSTS.has(host) && allow.hosts.has(host))
      if (isListed) return ALLOWED
      return { kind: 'denied', reason: `${subject} gives out a cloud machine's credentials. ${howToAllow(address)}` }
    }
    case 'special': {
      if (isOpened) return ALLOWED
      return { kind: 'denied', reason: `${subject} is not public (${found.range}). ${howToAllow(found.block)}` }
    }
  }
}

function isOurAddress(address: string, host: string): string {
  return `${subjectOf(address, host)} is an address of this machine. ${howToAllow(host)}`
}

function subjectOf(address: string, host: string): string {
  return isIP(host) === 0 ? `${host} has the address ${address}, which` : address
}

// The addresses of a name

/** A name with a thousand addresses must not make a thousand connections. */
const ADDRESS_COUNT_MAX = 16

type JudgeAddress = (address: string, hostname: string) => AddressVerdict

function guardedLookup(resolve: Resolve, judgeAddress: JudgeAddress): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, (error, answers) => {
      const judged = error === null ? judgeAnswers(hostname, answers, judgeAddress) : error
      if (judged instanceof Error) callback(judged, '', 0)
      else if (options.all === true) callback(null, judged)
      else callback(null, judged[0]?.address ?? '', judged[0]?.family ?? 0)
    })
  }
}

/**
 * One denied answer condemns them all: a public address beside a private one is how rebinding looks. `localhost` alone
 * is excused, because it is ours and has ::1 beside 127.0.0.1 even where only one of them was opened.
 */
function judgeAnswers(
  hostname: string,
  answers: readonly LookupAddress[],
  judgeAddress: JudgeAddress,
): LookupAddress[] | Error {
  const allowed: LookupAddress[] = []
  let firstReason: string | null = null
  for (const { address } of answers) {
    const verdict = judgeAddress(address, hostname)
    if (verdict.isAllowed) allowed.push({ address, family: isIP(address) })
    else firstReason ??= verdict.reason
  }
  const isExcused = canonicalHost(hostname) === 'localhost' && allowed.length > 0
  if (firstReason !== null && !isExcused) return new BlockedAddressError(firstReason)
  if (allowed.length === 0) return Object.assign(new Error(`${hostname} has no addresses`), { code: 'ENOTFOUND' })
  return allowed.slice(0, ADDRESS_COUNT_MAX)
}

function resolveBySystem(hostname: string, done: Parameters<Resolve>[1]): void {
  lookupBySystem(hostname, { all: true, verbatim: true, hints: LOOKUP_CONFIGURED_FAMILIES }, done)
}

/**
 * One question at a time per name. The system's resolver runs on four threads that all names share: without this, the
 * attempts at one name whose server is silent would keep every other name waiting.
 */
function shared(resolve: Resolve): Resolve {
  const waitingByName = new Map<string, Parameters<Resolve>[1][]>()
  return (hostname, done) => {
    const waiting = waitingByName.get(hostname)
    if (waiting !== undefined) {
      waiting.push(done)
      return
    }
    const asking = [done]
    waitingByName.set(hostname, asking)
    resolve(hostname, (error, addresses) => {
      waitingByName.delete(hostname)
      for (const answer of asking) answer(error, addresses)
    })
  }
}
