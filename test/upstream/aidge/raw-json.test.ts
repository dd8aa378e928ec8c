/** Members of a JSON text, exactly as they were written. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sliceMember } from '../../../src/upstream/aidge/raw-json.ts'

describe('a member of a JSON text', () => {
  test.each([
    ['{"data":{"id":9007199254740993}}', '{"id":9007199254740993}'],
    ['{ "a" : "}{]\\"" , "data" : [ 1 , { "b":"]" } ] , "c":1}', '[ 1 , { "b":"]" } ]'],
    ['{"data":1.50e+2}', '1.50e+2'],
    ['\n{\t"data"\r:\n-0 }', '-0'],
    ['{"data":"\\\\"}', '"\\\\"'],
    ['{"data":"\\\\\\"","x":"data"}', '"\\\\\\""'],
    ['{"x":{"data":1},"data":2}', '2'],
    ['{"data":1,"data":2}', '2'],
    ['{"d\\u0061ta":true}', 'true'],
    ['{"":0,"data":""}', '""'],
    ['{"x":"\\"data\\":1","data":null}', 'null'],
  ])('of %s is %s', (json, text) => {
    expect(JSON.parse(json)).toBeDefined()
    expect(sliceMember(json, 'data')?.text).toBe(text)
  })

  test.each(['{}', '[]', '[{"data":1}]', '"data"', '{"x":{"data":1}}', 'null', ' { } ', '{"x":"data"}'])(
    'is absent from %s',
    (json) => {
      expect(sliceMember(json, 'data')).toBeNull()
    },
  )

  test.each([
    ['1', 0],
    ['"[[["', 0],
    ['[]', 1],
    ['{"a":[1,{"b":"[[["}],"c":[]}', 3],
  ])('%s is nested %i deep', (text, depth) => {
    expect(sliceMember(`{"data":${text}}`, 'data')).toEqual({ text, depth })
  })

  test('may be nested a hundred thousand levels deep', () => {
    const text = '['.repeat(100_000) + ']'.repeat(100_000)
    expect(sliceMember(`{"data":${text},"x":1}`, 'data')).toEqual({ text, depth: 100_000 })
  })

  test('parses to what was written, whatever stands around it and however it is spaced', () => {
    const anyObject = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue())
    const anyIndent = fc.constantFrom('', ' ', '\t', '\n')
    fc.assert(
      fc.property(anyObject, fc.jsonValue(), anyObject, anyIndent, (before, value, behind, indent) => {
        const { data: _before, ...first } = before
        const { data: _behind, ...last } = behind
        const json = JSON.stringify({ ...first, data: value, ...last }, null, indent)
        const raw = sliceMember(json, 'data')
        expect(JSON.parse(raw?.text ?? 'undefined')).toEqual(JSON.parse(JSON.stringify(value)))
        expect(json).toContain(raw?.text)
      }),
      { numRuns: 500 },
    )
  })

  test('is found under any name', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.jsonValue(), (name, value) => {
        const json = `{"x":[],${JSON.stringify(name)}:${JSON.stringify(value)}}`
        expect(JSON.parse(sliceMember(json, name)?.text ?? '')).toEqual(JSON.parse(JSON.stringify(value)))
      }),
    )
  })
})
