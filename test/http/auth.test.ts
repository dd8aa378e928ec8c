/** The token check gives nothing away by the time it takes, by its source and by a clock; and counts guesses within bounds. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { AppError } from '../../src/core/errors.ts'
import { after, MINUTE } from '../../src/core/time.ts'
import { createCheckToken, WRONG_TOKENS_MAX } from '../../src/http/auth.ts'
import {
  type AppParts,
  aDelivery,
  aListeningRegistrar,
  aLog,
  anApp,
  anAttempt,
  aTask,
  NOW,
  problemOf,
} from './fakes.ts'

const SECRET = 'rb_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ'

test('digests of equal length are compared by timingSafeEqual, and the token is compared by nothing else', () => {
  const source = readFileSync(new URL('../../src/http/auth.ts', import.meta.url), 'utf8')
  expect(source).toContain('timingSafeEqual(digestOf(given), expected)')
  expect(source).toContain('const expected = digestOf(token)')
  // Both are compared whatever comes of the first.
  expect(source).toContain('timingSafeEqual(digestOf(given), expectedToRead)\n    if (isFull)')
  expect(source).toMatch(/function digestOf\(token: string\): Buffer \{\s+return createHash\('sha256'\)/)
  // `given` is asked for null and hashed; `token` is hashed.
  expect(source.match(/\bgiven\b[^,;)\n]*(===|!==|==|startsWith|includes|indexOf|localeCompare)/g)).toEqual([
    'given ===',
  ])
  expect(source.match(/\btoken (===|!==|==)|\btoken\.(startsWith|includes|indexOf|length)/g)).toBeNull()
})

test('a guess that begins like the token takes as long as one that does not', () => {
  const check = createCheckToken({ token: SECRET, readToken: null }, { clock: { now: () => NOW }, log: aLog() })
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
    const check = createCheckToken(
      { token: 'the right one', readToken: 'another' },
      { clock: { now: () => now }, log: silent },
    )
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

describe('a token to look with', () => {
  const READ = 'rb_read_token_that_is_long_enough'
  const looking = { authorization: `Bearer ${READ}` }
  const aReader = (parts: AppParts = {}) => anApp({ readToken: READ, ...parts })

  interface Operation {
    readonly method: string
    readonly path: string
    readonly security: readonly object[] | undefined
  }

  async function operations(): Promise<readonly Operation[]> {
    const { app } = aReader()
    const { paths } = (await (await app.request('/openapi.json')).json()) as {
      paths: Record<string, Record<string, Pick<Operation, 'security'>>>
    }
    return Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, { security }]) => ({ method: method.toUpperCase(), path, security })),
    )
  }

  test('opens what the document says it opens: every GET but the pulling, and nothing else', async () => {
    const { app } = aReader()
    const opened: string[] = []
    const refused: string[] = []
    for (const { method, path, security } of await operations()) {
      const response = await app.request(path, { method, headers: looking })
      const isDocumented = security === undefined ? false : security.length === 0 || 'readToken' in (security[1] ?? {})
      expect(response.status === 403, `${method} ${path}`).toBe(!isDocumented)
      if (response.status === 403) await problemOf(response, 403)
      ;(response.status === 403 ? refused : opened).push(`${method} ${path}`)
    }
    expect(opened.filter((operation) => !operation.startsWith('GET '))).toEqual([])
    expect(refused.filter((operation) => operation.startsWith('GET '))).toEqual(['GET /v1/events'])
    expect(opened).toContain('GET /v1/deliveries')
    expect(refused).toContain('POST /v1/tasks')
    expect((await app.request('/v1/events', { method: 'HEAD', headers: looking })).status).toBe(403)
  })

  test('changes nothing: nobody below the API is asked to', async () => {
    const changed: string[] = []
    const { registrar, calls } = aListeningRegistrar()
    const { app } = aReader({
      registrar,
      store: {
        async redeliver() {
          changed.push('redelivered')
          return { kind: 'not_found' }
        },
      },
      puller: { pull: async () => [], acknowledge: async () => void changed.push('acknowledged') },
    })
    const task = { method: 'POST', body: '{"taskId":"a","callbackUrl":"https://shop.example/"}' }
    await app.request('/v1/tasks', { ...task, headers: { ...looking, 'content-type': 'application/json' } })
    await app.request('/v1/deliveries/dlv_1/redeliver', { method: 'POST', headers: looking })
    await app.request('/v1/events?endpointId=ep_1&after=9', { headers: looking })
    expect([calls, changed]).toEqual([[], []])
  })

  test('shows nothing of what a receiver answered but its status; the other token shows all', async () => {
    const { app, get } = aReader({
      store: {
        getTask: async () => aTask(),
        getDelivery: async () => aDelivery(),
        listDeliveries: async () => ({ items: [aDelivery()], nextCursor: null }),
        listAttempts: async () => [anAttempt({ responseExcerpt: 'a page', responseHeaders: '{"server":"their own"}' })],
      },
    })
    for (const path of ['/v1/deliveries/dlv_1', '/v1/tasks/task_01', '/v1/tasks/task_01/timeline']) {
      const seen = await (await app.request(path, { headers: looking })).text()
      expect(seen).toContain('503')
      expect(seen).not.toMatch(/a page|their own/)
    }
    expect(await (await get('/v1/deliveries/dlv_1')).text()).toMatch(/a page.*their own/)
  })

  test('is none when none was set', async () => {
    const { app } = anApp()
    for (const token of ['null', '', 'undefined', READ]) {
      await problemOf(await app.request('/v1/tasks', { headers: { authorization: `Bearer ${token}` } }), 401)
    }
  })
})

test('a daemon without a token is refused, because it would let everybody in', () => {
  expect(() => anApp({ token: '' })).toThrow('an empty token')
})
