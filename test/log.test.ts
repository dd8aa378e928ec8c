/** The log: what a line holds, and what must never be in one. */

import { existsSync, openSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { createLog } from '../src/log.ts'
import type { Log } from '../src/ports.ts'

type Level = Parameters<typeof createLog>[0]['level']

function logInto(level: Level = 'info'): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = []
  const log = createLog({ level, destination: { write: (line) => lines.push(line) } })
  return { log, lines }
}

function written(fields: Record<string, unknown>, message = 'said', level: Level = 'info'): Record<string, unknown> {
  const { log, lines } = logInto(level)
  log.info({ event: 'test', ...fields }, message)
  return JSON.parse(lines[0] ?? '{}')
}

describe('a line', () => {
  test('is one JSON object with level, ISO time, event, fields and message, and nothing else', () => {
    const { time, ...rest } = written({ deliveryId: 'dlv_1', durationMs: 12, nothing: null, isManual: false })
    expect(rest).toEqual({
      level: 'info',
      event: 'test',
      deliveryId: 'dlv_1',
      durationMs: 12,
      nothing: null,
      isManual: false,
      msg: 'said',
    })
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test('stays one line whatever is in it', () => {
    const { log, lines } = logInto()
    log.warn({ event: 'test', detail: 'a\nb\u001b[31mc' }, 'x\ny')
    expect(lines).toHaveLength(1)
    expect(lines[0]?.trimEnd()).not.toContain('\n')
    expect(lines[0]).not.toContain('\u001b')
  })

  test.each<[Level, readonly string[]]>([
    ['debug', ['debug', 'info', 'warn', 'error']],
    ['info', ['info', 'warn', 'error']],
    ['warn', ['warn', 'error']],
    ['error', ['error']],
    ['silent', []],
  ])('is written at level %s for %j', (level, expected) => {
    const { log, lines } = logInto(level)
    for (const severity of ['debug', 'info', 'warn', 'error'] as const) log[severity]({ event: 'test' }, 'said')
    expect(lines.map((line) => JSON.parse(line).level)).toEqual(expected)
  })

  test('tells of an error in one line, with the stack only where bugs are looked for', () => {
    const error = Object.assign(new Error('no route', { cause: new TypeError('deep') }), { code: 'ENETUNREACH' })
    expect(written({ error })['error']).toEqual({
      type: 'Error',
      message: 'no route',
      code: 'ENETUNREACH',
      cause: { type: 'TypeError', message: 'deep' },
    })
    expect(written({ error }, 'said', 'debug')['error']).toMatchObject({
      stack: expect.stringContaining('log.test.ts'),
    })
  })

  test('survives what JSON cannot say', () => {
    const circle: Record<string, unknown> = { big: 2n ** 70n, bytes: new Uint8Array(5), at: new Date(0) }
    circle['self'] = circle
    expect(written({ circle })['circle']).toMatchObject({
      big: '1180591620717411303424',
      bytes: '[5 bytes]',
      at: '1970-01-01T00:00:00.000Z',
    })
  })
})

describe('the net', () => {
  const PLANTED = 'Planted0123456789abcdefPlanted'

  test.each([
    ['a secret', { signingSecret: PLANTED }],
    ['a token', { apiToken: PLANTED }],
    ['a header, at any depth', { request: { headers: { Authorization: PLANTED } } }],
    ['a cookie in a list', { requests: [{ 'set-cookie': PLANTED }] }],
    ['an upstream signature', { query: { sign: PLANTED, app_key: PLANTED } }],
    ['a structure under such a name', { secret: { current: PLANTED } }],
    ['a signing secret in a text', { detail: `key whsec_${PLANTED}== is wrong` }],
    ['a bearer token in a text', { detail: `sent "Authorization: Bearer ${PLANTED}"` }],
    ['a signature in a URL', { detail: `GET https://h/rest/q?app_key=${PLANTED}&timestamp=1&sign=${PLANTED}` }],
    ['a password in a URL', { detail: `https://user:${PLANTED}@h/path` }],
    ['the query of a URL object', { url: new URL(`https://h/p?x=${PLANTED}`) }],
    ['an error message', { error: new Error(`refused: ?sign=${PLANTED}`) }],
    ['the cause of an error', { error: new Error('x', { cause: new Error(`Bearer ${PLANTED}`) }) }],
  ])('catches %s', (_, fields) => {
    for (const level of ['info', 'debug'] as const) {
      expect(JSON.stringify(written(fields, 'said', level))).not.toContain(PLANTED)
    }
  })

  test('catches slips in the message too', () => {
    expect(JSON.stringify(written({}, `with whsec_${PLANTED}`))).not.toContain(PLANTED)
  })

  test.each(['debug', 'info', 'warn', 'error'] as const)('catches them in a message of level %s', (level) => {
    const { log, lines } = logInto('debug')
    log[level]({ event: 'test' }, `with whsec_${PLANTED}`)
    expect(lines).toEqual([expect.stringContaining('[redacted]')])
    expect(lines[0]).not.toContain(PLANTED)
  })

  test('of something that never ends a few levels are written', () => {
    const bottomless: Record<string, unknown> = {}
    bottomless['self'] = bottomless
    expect(JSON.stringify(written({ bottomless }))).toContain('[too deep]')
  })

  test('lets through what only speaks of secrets', () => {
    const fields = { hasToken: true, tokenCount: 3, apiToken: 'unset', signingSecret: 'set', signedAt: 1, design: 'x' }
    expect(written(fields)).toMatchObject(fields)
  })

  test('keeps what stands around a secret readable', () => {
    expect(written({ detail: 'GET https://h/q?timestamp=1&sign=AB12&x=2 failed' })['detail']).toBe(
      'GET https://h/q?timestamp=1&sign=[redacted]&x=2 failed',
    )
  })
})

test.skipIf(!existsSync('/dev/full'))('a full disk behind the log loses lines, and ends nothing', async () => {
  const fd = openSync('/dev/full', 'w')
  const errors: unknown[] = []
  const note = (error: unknown) => void errors.push(error)
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException').on('uncaughtException', note)
  try {
    createLog({ level: 'info', destination: { fd } }).info({ event: 'test' }, 'said')
    // Each is a round trip through the pool that writes the line too.
    for (let trip = 0; trip < 50; trip += 1) await stat('/')
  } finally {
    process.off('uncaughtException', note)
    for (const listener of others) process.on('uncaughtException', listener)
  }
  expect(errors).toEqual([])
})
