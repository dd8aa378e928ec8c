/** Which addresses the world at large can have, and which an operator opened: pure, no name server is asked. */

import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6

export type AddressClass =
  | { readonly kind: 'public' }
  /** Hands out a cloud machine's credentials; no range of an allow list opens it, only its own name or address. */
  | { readonly kind: 'metadata' }
  /** An IPv6 address that carries an IPv4 address to somewhere else. Nothing opens it. */
  | { readonly kind: 'tunnel'; readonly range: string }
  /** Not reachable from the internet, or not for one machine alone. `block` is what an operator would allow. */
  | { readonly kind: 'special'; readonly range: string; readonly block: string }
  | { readonly kind: 'unreadable' }

export interface AllowList {
  readonly hosts: ReadonlySet<string>
  readonly addresses: ReadonlySet<string>
  readonly blocks: readonly (readonly [Address, number])[]
}

export const ALLOW_NOTHING: AllowList = { hosts: new Set(), addresses: new Set(), blocks: [] }

/** AWS (IMDS, ECS, EKS), Google, Azure WireServer, Alibaba, Oracle: each serves credentials to whoever can ask it. */
const METADATA_ADDRESSES: ReadonlySet<string> = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
])

export const METADATA_HOSTS: ReadonlySet<string> = new Set([
  'metadata.google.internal',
  'metadata.goog',
  'metadata',
  'instance-data',
  'instance-data.ec2.internal',
])

/** ipaddr.js's names of the ranges that embed an IPv4 address (NAT64 is rfc6052, SIIT is rfc6145). */
const TUNNEL_RANGES: ReadonlySet<string> = new Set(['ipv4Mapped', 'rfc6145', 'rfc6052', '6to4', 'teredo'])

const LOOPBACK_ADDRESSES = ['127.0.0.1', '::1']

/** The blocks that people really use inside; for everything else the remedy names the one address. */
const FAMILIAR_BLOCKS = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  'fc00::/7',
].map((text) => ({ text, block: ipaddr.parseCIDR(text) }))

export function classifyAddress(text: string): AddressClass {
  const address = parseAddress(text)
  if (address === null) return { kind: 'unreadable' }
  // Before the ranges: WireServer is a public address by its number alone.
  if (METADATA_ADDRESSES.has(address.toString())) return { kind: 'metadata' }
  const range: string = address.kind() === 'ipv4' ? address.range() : rangeOfIpv6(address as ipaddr.IPv6)
  if (TUNNEL_RANGES.has(range)) return { kind: 'tunnel', range }
  return range === 'unicast' ? { kind: 'public' } : { kind: 'special', range, block: blockAround(address) }
}

/** `ipaddr.js` calls everything that it has no name for "unicast": here only what IANA gives out (2000::/3) is. */
function rangeOfIpv6(address: ipaddr.IPv6): string {
  const [first = 0, second, third, fourth, fifth, sixth] = address.parts
  const isUnderZero = first === 0 && second === 0 && third === 0 && fourth === 0 && fifth === 0 && sixth === 0
  const range: string = address.range()
  if (range !== 'unicast') return range
  if (isUnderZero) return 'ipv4Mapped'
  // ISATAP (RFC 5214): any prefix, then 0000:5efe or 0200:5efe and the IPv4 address.
  if ((fifth === 0 || fifth === 0x200) && sixth === 0x5efe) return 'ipv4Mapped'
  return (first & 0xe000) === 0x2000 ? 'unicast' : 'reserved'
}

function blockAround(address: Address): string {
  const familiar = FAMILIAR_BLOCKS.find(({ block }) => isInside(address, block))
  return familiar?.text ?? address.toString()
}

function parseAddress(text: string): Address | null {
  // A zone (fe80::1%eth0) says through which interface, not to whom.
  const bare = text.replace(/%.*$/, '')
  if (!ipaddr.isValid(bare)) return null
  // ipaddr.js reads ::a.b.c.d (compatible) as ::ffff:a.b.c.d (mapped): both are tunnels here, so that nothing is lost.
  return ipaddr.parse(bare)
}

function isInside(address: Address, [base, bits]: readonly [Address, number]): boolean {
  return address.kind() === base.kind() && address.match(base, bits)
}

/** One spelling for each address, without its zone; null for what is no address. */
export function canonicalAddress(text: string): string | null {
  return parseAddress(text)?.toString() ?? null
}

export function isLoopback(text: string): boolean {
  return parseAddress(text)?.range() === 'loopback'
}

/** Whether the list opens this address, by itself or by a block around it. */
export function opensAddress(allow: AllowList, text: string): boolean {
  const address = parseAddress(text)
  if (address === null) return false
  return allow.addresses.has(address.toString()) || allow.blocks.some((block) => isInside(address, block))
}

export function listsAddress(allow: AllowList, text: string): boolean {
  const address = parseAddress(text)
  return address !== null && allow.addresses.has(address.toString())
}

/** Whether the list opens this name: the name itself, or for `localhost` any of the loopback addresses. */
export function opensHost(allow: AllowList, host: string): boolean {
  if (allow.hosts.has(host)) return true
  return host === 'localhost' && LOOPBACK_ADDRESSES.some((address) => opensAddress(allow, address))
}

/** Lower case, punycode, no brackets, no dot at the end: how the list and a URL's host are compared. */
export function canonicalHost(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '')
}

/**
 * Reads the entries of RINGBACK_CALLBACK_ALLOW: hosts, addresses and CIDR blocks. Reports every entry that it cannot
 * read, and those that could never open anything.
 */
export function parseAllowList(
  entries: readonly string[],
): { readonly allow: AllowList } | { readonly problems: readonly string[] } {
  const hosts = new Set<string>()
  const addresses = new Set<string>()
  const blocks: (readonly [Address, number])[] = []
  const problems: string[] = []
  for (const entry of entries.map((text) => text.trim()).filter((text) => text !== '')) {
    const read = readEntry(entry)
    if (read.kind === 'problem') problems.push(read.problem)
    else if (read.kind === 'block') blocks.push(read.block)
    else if (read.kind === 'address') addresses.add(read.address)
    else hosts.add(read.host)
  }
  return problems.length > 0 ? { problems } : { allow: { hosts, addresses, blocks } }
}

type Entry =
  | { readonly kind: 'host'; readonly host: string }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'block'; readonly block: readonly [Address, number] }
  | { readonly kind: 'problem'; readonly problem: string }

function readEntry(entry: string): Entry {
  const expected = `expected a host, an address or a CIDR block such as receiver.test, ::1 or 10.0.0.0/8, got "${entry}"`
  if (entry.includes('/')) {
    if (!ipaddr.isValidCIDR(entry)) return { kind: 'problem', problem: expected }
    const [base, bits] = ipaddr.parseCIDR(entry)
    const isOneAddress = bits === (base.kind() === 'ipv4' ? 32 : 128)
    const read: Entry = isOneAddress
      ? { kind: 'address', address: base.toString() }
      : { kind: 'block', block: [base, bits] }
    return neverOpens(base, entry) ?? read
  }
  const host = hostOfEntry(entry)
  if (host === null) return { kind: 'problem', problem: `${expected}, without a scheme or a port` }
  const address = parseAddress(host)
  if (address === null) return { kind: 'host', host }
  return neverOpens(address, entry) ?? { kind: 'address', address: address.toString() }
}

/** The URL parser spells a host of the list exactly as it will spell the host of a callback URL. */
function hostOfEntry(entry: string): string | null {
  if (/[\s/\\?#@*%]/.test(entry)) return null
  const isIpv6 = ipaddr.IPv6.isValid(entry)
  if (!isIpv6 && !entry.startsWith('[') && entry.includes(':')) return null
  try {
    const url = new URL(isIpv6 ? `https://[${entry}]/` : `https://${entry}/`)
    const host = canonicalHost(url.hostname)
    return host === '' || url.port !== '' ? null : host
  } catch {
    return null
  }
}

function neverOpens(address: Address, entry: string): Entry | null {
  if (classifyAddress(address.toString()).kind !== 'tunnel') return null
  const problem = `"${entry}" carries IPv4 addresses inside IPv6 ones, which are never sent to: list the IPv4 addresses`
  return { kind: 'problem', problem }
}
