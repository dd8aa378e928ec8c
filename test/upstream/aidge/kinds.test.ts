/** The table of kinds, and kinds from the configuration. */

import { describe, expect, test } from 'vitest'
import { DEFAULT_KIND } from '../../../src/core/task.ts'
import { AIDGE_KINDS, parseKinds } from '../../../src/upstream/aidge/kinds.ts'

function problemsOf(value: unknown): readonly string[] {
  const parsed = parseKinds(typeof value === 'string' ? value : JSON.stringify(value))
  return 'problems' in parsed ? parsed.problems : []
}

describe('the nine kinds', () => {
  test('have unique names and one id per query, and the default is among them', () => {
    expect(new Set(AIDGE_KINDS.map(({ name }) => name)).size).toBe(9)
    expect(AIDGE_KINDS.every(({ idsPerQuery }) => idsPerQuery === 1)).toBe(true)
    expect(AIDGE_KINDS[0]?.name).toBe(DEFAULT_KIND)
  })

  test('differ from POST and taskId only where the vendor says so', () => {
    const odd = AIDGE_KINDS.filter(({ method, idParameter }) => method !== 'POST' || idParameter !== 'taskId')
    expect(odd.map(({ name, method, idParameter }) => [name, method, idParameter])).toEqual([
      ['virtual-tryon', 'POST', 'task_id'],
      ['virtual-tryon-pro', 'POST', 'task_id'],
      ['image-translation-pro', 'GET', 'taskId'],
    ])
  })

  test('would all be accepted from a configuration', () => {
    const given = AIDGE_KINDS.map(({ idsPerQuery, ...rest }) => rest)
    expect(parseKinds(JSON.stringify(given))).toEqual({ kinds: AIDGE_KINDS })
  })
})

describe('kinds from the configuration', () => {
  test('are asked by POST with taskId unless they say otherwise', () => {
    expect(parseKinds('[{"name":"shared","queryPath":"/ai/task/queryTaskResult"}]')).toEqual({
      kinds: [
        {
          name: 'shared',
          queryPath: '/ai/task/queryTaskResult',
          method: 'POST',
          idParameter: 'taskId',
          idsPerQuery: 1,
        },
      ],
    })
    expect(parseKinds('[{"name":"b","queryPath":"/b","method":"GET","idParameter":"TaskId"}]')).toMatchObject({
      kinds: [{ method: 'GET', idParameter: 'TaskId' }],
    })
    expect(parseKinds('[]')).toEqual({ kinds: [] })
  })

  test.each([
    ['{not json', /not JSON/],
    ['{}', /as a whole: expected a JSON array.*got \{\}/],
    [[1], /\[0\]: expected an object.*got 1/],
    [[{ queryPath: '/a' }], /\[0\]\.name: expected.*got nothing/],
    [[{ name: 'Has Space', queryPath: '/a' }], /\[0\]\.name: .*got "Has Space"/],
    [[{ name: 'a', queryPath: 'ai/x' }], /\[0\]\.queryPath: .*got "ai\/x"/],
    [[{ name: 'a', queryPath: '/rest/ai/x' }], /\[0\]\.queryPath: .*without \/rest/],
    [[{ name: 'a', queryPath: '/x?sign=1' }], /\[0\]\.queryPath/],
    [[{ name: 'a', queryPath: '/x', method: 'PUT' }], /\[0\]\.method: expected POST or GET; got "PUT"/],
    [[{ name: 'a', queryPath: '/x', idParameter: 'task id' }], /\[0\]\.idParameter/],
    [[{ name: 'a', queryPath: '/x', idParam: 'task_id' }], /\[0\]: unknown member "idParam"/],
    [
      [
        { name: 'a', queryPath: '/x' },
        { name: 'a', queryPath: '/y' },
      ],
      /"a" is given twice/,
    ],
  ])('%j is refused with a reason', (value, reason) => {
    const problems = problemsOf(value)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(reason)
  })

  test('tell of all their problems at once', () => {
    expect(
      problemsOf([
        { name: '', queryPath: '' },
        { name: 'ok', queryPath: '/ok', method: 'put' },
      ]),
    ).toHaveLength(3)
  })
})
