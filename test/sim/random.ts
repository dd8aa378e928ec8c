/** Chance from a seed: the same seed draws the same world, on every machine. */

export interface Chance {
  /** In [0, 1). */
  next(): number
  /** Whole, in [min, max]. */
  integer(min: number, max: number): number
  /** In [min, max], each order of magnitude as likely as the other: what takes 10 ms or 10 min. */
  spread(min: number, max: number): number
  happens(probability: number): boolean
  pick<T>(items: readonly T[]): T
  /** Picks by weight. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T
  bytes(count: number): Uint8Array
  /** A stream of its own for one part of the world, so that a draw here does not shift what is drawn there. */
  fork(name: string): Chance
}

/** FNV-1a, 32 bits: spreads names over seeds. */
function hash(text: string, seed: number): number {
  let value = (0x811c9dc5 ^ seed) >>> 0
  for (let index = 0; index < text.length; index += 1) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0
  }
  return value
}

/** sfc32 by Chris Doty-Humphrey: small, fast, passes PractRand. */
export function createChance(seed: number): Chance {
  let a = seed >>> 0
  let b = hash('b', seed)
  let c = hash('c', seed)
  let counter = 1

  function word(): number {
    const t = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + t
    return t >>> 0
  }
  for (let round = 0; round < 12; round += 1) word()

  const next = () => word() / 0x1_0000_0000
  const integer = (min: number, max: number) => min + Math.floor(next() * (max - min + 1))

  return {
    next,
    integer,
    spread: (min, max) => Math.round(Math.exp(Math.log(min) + next() * (Math.log(max) - Math.log(min)))),
    happens: (probability) => next() < probability,
    pick: (items) => items[integer(0, items.length - 1)]!,
    weighted(weights) {
      const entries = Object.entries<number>(weights)
      let rest = next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
      for (const [name, weight] of entries) {
        rest -= weight
        if (rest < 0) return name as keyof typeof weights
      }
      return entries.at(-1)![0] as keyof typeof weights
    },
    bytes: (count) => Uint8Array.from({ length: count }, () => word() & 0xff),
    fork: (name) => createChance(hash(name, seed)),
  }
}
