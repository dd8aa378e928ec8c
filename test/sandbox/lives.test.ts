/** The grammar in which a task id tells what will become of the task. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { finishingAfter, LIFE_GRAMMAR, type Life, lifeOf, parseLife, replyOf } from '../../src/sandbox/lives.ts'

const FALLBACK = finishingAfter(3000)

function hears(life: Life | null, answerNumber: number, ageMs = 0) {
  return life === null ? null : replyOf(life, { answerNumber, ageMs })
}

describe('every row of the grammar', () => {
  test.each(Object.entries(LIFE_GRAMMAR))('%s can be read from its example', (word, row) => {
    expect(row.example.startsWith(word)).toBe(true)
    expect(row.form.startsWith(word)).toBe(true)
    expect(parseLife(`${row.example}-abc`, FALLBACK)).not.toBeNull()
  })
})

test('a task is submitted, then running, then finished when its time has come', () => {
  const life = parseLife('ok-400ms-abc')
  expect(hears(life, 1, 99)).toEqual({ kind: 'status', word: 'submitted' })
  expect(hears(life, 2, 100)).toEqual({ kind: 'status', word: 'running' })
  expect(hears(life, 3, 399)).toEqual({ kind: 'status', word: 'running' })
  expect(hears(life, 4, 400)).toEqual({ kind: 'finished', yields: { kind: 'all' }, afterMs: 400 })
})

test('a task that is ok without a time is finished at once', () => {
  expect(hears(parseLife('ok-abc'), 1)).toMatchObject({ kind: 'finished', afterMs: 0 })
})

test('a failing task fails when its time has come', () => {
  const life = parseLife('fail-2s-abc')
  expect(hears(life, 1, 1999)).toEqual({ kind: 'status', word: 'running' })
  expect(hears(life, 2, 2000)).toEqual({ kind: 'failed' })
})

test('a trouble with a number takes so many answers, and one without a number takes all', () => {
  const some = parseLife('code-801x2-ok-abc')
  expect(hears(some, 1)).toEqual({ kind: 'code', code: 801 })
  expect(hears(some, 2)).toEqual({ kind: 'code', code: 801 })
  expect(hears(some, 3)).toMatchObject({ kind: 'finished' })
  const all = parseLife('code-1000-ok-abc')
  expect(hears(all, 999, 99_999_999)).toEqual({ kind: 'code', code: 1000 })
})

test('troubles follow one another in the order of the id', () => {
  const life = parseLife('hangx1-http-503x1-gateway-ApiCallLimitx1-7s-truncatedx1-never-abc')
  expect([1, 2, 3, 4, 5].map((answerNumber) => hears(life, answerNumber))).toEqual([
    { kind: 'hang' },
    { kind: 'http', status: 503, retryAfterSeconds: 1 },
    { kind: 'gateway', code: 'ApiCallLimit', banSeconds: 7 },
    { kind: 'truncated' },
    { kind: 'status', word: 'running' },
  ])
})

test('where an id stops telling, the default life goes on', () => {
  const life = parseLife('http-429x1-5s-4dcfa662', FALLBACK)
  expect(hears(life, 1)).toEqual({ kind: 'http', status: 429, retryAfterSeconds: 5 })
  expect(hears(life, 2, 0)).toEqual({ kind: 'status', word: 'submitted' })
  expect(hears(life, 3, 3000)).toMatchObject({ kind: 'finished', afterMs: 3000 })
})

test('a slow task holds back every answer, and its other words count', () => {
  expect(parseLife('slow-2s-ok-1s-abc')).toMatchObject({
    answerDelayMs: 2000,
    ending: { kind: 'finishes', afterMs: 1000 },
  })
})

test('a size can be given to a huge answer', () => {
  expect(parseLife('huge-abc')?.ending).toMatchObject({ yields: { kind: 'huge', bytes: 96 * 1024 } })
  expect(parseLife('huge-2mib-abc')?.ending).toMatchObject({ yields: { kind: 'huge', bytes: 2 * 1024 * 1024 } })
})

test('no UUID is mistaken for a script, alone or behind one', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      expect(parseLife(uuid)).toBeNull()
      expect(parseLife(`ok-${uuid}`)).toEqual(finishingAfter(0))
      expect(parseLife(`code-500x1-${uuid}`, FALLBACK)?.ending).toEqual(FALLBACK.ending)
    }),
    { examples: [['1234567d-1234-4123-8123-123456789012']] },
  )
})

test.each(['', 'task', 'constructor', 'code', 'code-x', 'http-999', 'slow', 'slow-abc', 'gateway-1', 'OK'])(
  '%j tells no life',
  (text) => {
    expect(parseLife(text)).toBeNull()
  },
)

test('a person who gives a life that is none is shown the forms', () => {
  expect(() => lifeOf('quick')).toThrow(/ok\[-TIME\].*got "quick"/)
})
