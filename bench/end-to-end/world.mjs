/** What every contender finds: the tasks of a round, the account, the secret. The same seed makes the same world. */

/** mulberry32: small, and good enough to make ids from. */
function randomOf(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const hex = (random, digits) =>
  Math.floor(random() * 16 ** digits)
    .toString(16)
    .padStart(digits, '0')

/** `{accessKeyName, accessKeySecret, webhookSecret}` of a seed; the last as `whsec_` and base64 of 32 bytes. */
export function accountOf(seed) {
  const random = randomOf(seed)
  const digits = (count) => Array.from({ length: count }, () => hex(random, 1)).join('')
  return {
    accessKeyName: String(100_000 + Math.floor(random() * 900_000)),
    accessKeySecret: digits(32),
    webhookSecret: `whsec_${Buffer.from(digits(64), 'hex').toString('base64')}`,
  }
}

/** `count` ids as Aidge gives them, different in each round. */
export function taskIdsOf({ seed, round, count }) {
  const random = randomOf(seed * 1_000 + round + 1)
  return Array.from({ length: count }, () =>
    [hex(random, 8), hex(random, 4), hex(random, 4), hex(random, 4), hex(random, 6) + hex(random, 6)].join('-'),
  )
}

/** A clock that all processes of a machine share, in milliseconds. */
export const monotonicMs = () => Number(process.hrtime.bigint()) / 1e6
