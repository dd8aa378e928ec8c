/** The token check gives nothing away by the time it takes, by its source and by a clock; and counts guesses within bounds. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { AppError } from '../../src/core/errors.ts'
import { after, MINUTE } from '../../src/core/time.ts'
import { createCheckToken, WRONG_TOKENS_MAX } from '../../src/http/auth.ts'
import { aLog, anApp, NOW } from './fakes.ts'

const SECRET = 'rb_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ'

test('digests of equal length are compared by timingSafeEqual, and the token is compared by nothing else', () => {
  const source = readFileSync(new URL('../../src/http/auth.ts', import.meta.url), 'utf8')
  expect(source).toContain('timingSafeEqual(digestOf(given), expected)')
  expect(source).toContain('const expected = digestOf(token)')
  expect(source).toMatch(/function digestOf\(token: string\): Buffer \{\s+return createHash\('sha256'\)/)
  // `given` is asked for null and hashed; `token` is hashed.
  expect(source.match(/\bgiven\b[^,;)\n]*(===|!==|==|startsWith|includes|indexOf|localeCompare)/g)).toEqual([
    'given ===',
  ])
  expect(source.match(/\btoken (===|!==|==)|\btoken\.(startsWith|includes|indexOf|length)/g)).toBeNull()
})

test('a guess that begins like the token takes as long as one that does not', () => {
  const check = createCheckToken(SECRET, { clock: { now: () => NOW }, log: aLog() })
  const guesses = {
    near: `Bearer ${SECRET.slice(0, -1)}!`,
    far: `Bearer ${'!'.repeat(SECRET.length)}`,
  }
  const times: Record<keyof typeof guesses, bigint[]> = { near: [], far: [] }
  const attempt = (which: keyof typeof guesses) => {
    const startedAt = process.hrtime.bigint()
    try {
      check({ authorization: guesses[which], query: '', address: '' })
    } catch {
      times[which].push(process.hrtime.bigint() - startedAt)
    }
  }
  // In turns, so that whatever else the machine does slows both alike.
  for (let round = 0; round < 20_000; round += 1) for (const which of ['near', 'far'] as const) attempt(which)
  const median = (which: keyof typeof guesses) => Number(times[which].sort((a, b) => Number(a - b))[10_000])
  expect([times.near.length, times.far.length]).toEqual([20_000, 20_000])
  // No proof, only a net for gross mistakes: a comparison that stops at the first difference is apart by less than that.
  expect(median('near') / median('far')).toBeGreaterThan(0.7)
  expect(median('near') / median('far')).toBeLessThan(1.4)
})

describe('wrong tokens are counted by address', () => {
  function aChecker() {
    const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    let now = NOW
    const check = createCheckToken('the right one', { clock: { now: () => now }, log: silent })
    const codeOf = (address: string): string => {
      try {
        check({ authorization: 'Bearer wrong', query: '', address })
        return 'passed'
      } catch (error) {
        return (error as AppError).code
      }
    }
    const guess = (address: string, times: number) => Array.from({ length: times }, () => codeOf(address)).at(-1)
    return {
      guess,
      pass(ms: number) {
        now = after(now, ms)
      },
    }
  }

  test('as many addresses as it remembers cost a bounded memory: the one that came first is forgotten', () => {
    const { guess } = aChecker()
    expect(guess('first', WRONG_TOKENS_MAX + 1)).toBe('throttled')
    for (let count = 0; count < 9_999; count += 1) guess(`address ${count}`, 1)
    expect(guess('first', 1)).toBe('throttled')
    guess('one more', 1)
    expect(guess('first', 1)).toBe('unauthorized')
  })

  test('an address that begins a new minute counts as one that has just come', () => {
    const { guess, pass } = aChecker()
    guess('guesser', 1)
    pass(1)
    guess('bystander', 1)
    pass(MINUTE - 1)
    expect(guess('guesser', WRONG_TOKENS_MAX + 1)).toBe('throttled')
    for (let count = 0; count < 9_999; count += 1) guess(`address ${count}`, 1)
    expect(guess('guesser', 1)).toBe('throttled')
  })
})

test('a daemon without a token is refused, because it would let everybody in', () => {
  expect(() => anApp({ token: '' })).toThrow('an empty token')
})
