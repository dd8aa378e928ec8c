/**
 * The classifier against IANA's registries as data (test/fixtures/iana): an address inside a block that is not globally
 * reachable is denied, any other global unicast address is allowed. What decides which is which here shares no code with
 * the classifier.
 */

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ALLOW_NOTHING, createAddressGuard } from '../../src/webhook/address-guard.ts'

interface Block {
  readonly text: string
  readonly first: bigint
  readonly prefixBits: number
  readonly isReachable: boolean
}

interface Family {
  readonly bits: 32 | 128
  readonly blocks: readonly Block[]
  readonly format: (value: bigint) => string
}

const IPV4: Family = { bits: 32, blocks: blocksOf('.', 32), format: formatIpv4 }
const IPV6: Family = { bits: 128, blocks: blocksOf(':', 128), format: formatIpv6 }

const guard = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [], ownAddresses: () => [] })
const isAllowed = (address: string) => guard.judgeAddress(address, address, 443).isAllowed

function blocksOf(mark: '.' | ':', bits: number): readonly Block[] {
  const rows = ['ipv4-special.csv', 'ipv6-special.csv', 'outside-registries.csv'].flatMap((name) =>
    readFileSync(new URL(`../fixtures/iana/${name}`, import.meta.url), 'utf8')
      .trim()
      .split('\n')
      .slice(1),
  )
  return rows
    .map((row) => /^([^,]+\/\d+),(.+),(RFC \d+),(true|false|n\/a)$/.exec(row) ?? [row])
    .map(([row, block, , , reachable]) => {
      if (block === undefined || reachable === undefined) throw new Error(`unreadable: ${row}`)
      const [address = '', prefix = ''] = block.split('/')
      return { text: block, address, prefixBits: Number(prefix), isReachable: reachable === 'true' }
    })
    .filter(({ address }) => (address.includes(':') ? ':' : '.') === mark)
    .map(({ address, ...rest }) => ({ ...rest, first: bits === 32 ? parseIpv4(address) : parseIpv6(address) }))
}

function parseIpv4(text: string): bigint {
  return text.split('.').reduce((sum, octet) => sum * 256n + BigInt(octet), 0n)
}

function parseIpv6(text: string): bigint {
  const [left = '', right] = text.split('::')
  const parts = (side: string) => (side === '' ? [] : side.split(':'))
  const missing = right === undefined ? 0 : 8 - parts(left).length - parts(right).length
  const all = [...parts(left), ...Array.from({ length: missing }, () => '0'), ...parts(right ?? '')]
  return all.reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n)
}

function formatIpv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.')
}

function formatIpv6(value: bigint): string {
  const shifts = [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n]
  return shifts.map((shift) => ((value >> shift) & 65_535n).toString(16)).join(':')
}

const sizeOf = ({ prefixBits }: Block, bits: number) => 1n << BigInt(bits - prefixBits)

/** The most specific block around an address; null when no registry names it. */
function blockAround({ blocks, bits }: Family, value: bigint): Block | null {
  const around = blocks.filter((block) => value >= block.first && value < block.first + sizeOf(block, bits))
  return around.toSorted((one, other) => other.prefixBits - one.prefixBits)[0] ?? null
}

function insideOf({ bits }: Family, block: Block): fc.Arbitrary<bigint> {
  const size = sizeOf(block, bits)
  const edge = fc.constantFrom(0n, size - 1n, size / 2n)
  return fc.oneof(edge, fc.bigInt({ min: 0n, max: size - 1n })).map((offset) => block.first + offset)
}

const NOT_REACHABLE = [IPV4, IPV6].flatMap((family) =>
  family.blocks.filter((block) => !block.isReachable).map((block) => ({ block: block.text, family, of: block })),
)

describe('the registries', () => {
  test('are all there, and their blocks begin where they say', () => {
    expect([IPV4.blocks.length, IPV6.blocks.length]).toEqual([27, 31])
    for (const { bits, blocks } of [IPV4, IPV6]) {
      for (const block of blocks) expect([block.text, block.first % sizeOf(block, bits)]).toEqual([block.text, 0n])
    }
  })
})

describe('an address', () => {
  test.each(NOT_REACHABLE)('anywhere in $block, which is not globally reachable, is denied', ({ family, of }) => {
    fc.assert(
      fc.property(insideOf(family, of), (value) => {
        // A part of the block may have been opened by a later line, as two anycast addresses in 192.0.0.0/24 were.
        if (blockAround(family, value)?.isReachable === true) return
        expect([family.format(value), isAllowed(family.format(value))]).toEqual([family.format(value), false])
      }),
      { numRuns: 200 },
    )
  })

  test('of IPv4 that no registry names is allowed, but for the metadata server that has one', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }), (value) => {
        const address = formatIpv4(value)
        fc.pre(blockAround(IPV4, value) === null && address !== '168.63.129.16')
        expect([address, isAllowed(address)]).toEqual([address, true])
      }),
      { numRuns: 5_000 },
    )
  })

  test('of IPv6 out of 2000::/3 that no registry names is allowed, unless an IPv4 address is in it (ISATAP)', () => {
    const globalUnicast = fc.bigInt({ min: 0n, max: 2n ** 125n - 1n }).map((rest) => (1n << 125n) + rest)
    fc.assert(
      fc.property(globalUnicast, (value) => {
        fc.pre(blockAround(IPV6, value) === null && !isIsatap(value))
        expect([formatIpv6(value), isAllowed(formatIpv6(value))]).toEqual([formatIpv6(value), true])
      }),
      { numRuns: 5_000 },
    )
  })

  test('just outside a block that is not reachable is judged by where it lies', () => {
    for (const { family, of } of NOT_REACHABLE) {
      for (const value of [of.first - 1n, of.first + sizeOf(of, family.bits)]) {
        if (value < 0n || value >= 1n << BigInt(family.bits)) continue
        const around = blockAround(family, value)
        // A reachable block of the registries is an anycast service or a translator and never a receiver: denied too.
        const isExpected = around === null && (family === IPV4 || value >> 125n === 1n)
        expect([family.format(value), isAllowed(family.format(value))]).toEqual([family.format(value), isExpected])
      }
    }
  })
})

function isIsatap(value: bigint): boolean {
  const identifier = (value >> 32n) & 0xffff_ffffn
  return identifier === 0x5efen || identifier === 0x0200_5efen
}
