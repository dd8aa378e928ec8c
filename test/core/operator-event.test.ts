/** What the operator is told: its form, its ids, to whom it is not sent, and when the upstream is news. */

import { describe, expect, test } from 'vitest'
import { applyEffect, type Budget, type BudgetEffect, newBudget } from '../../src/core/budget.ts'
import {
  inWords,
  type OperatorFact,
  operatorEvent,
  troubledEndpoint,
  upstreamFact,
} from '../../src/core/operator-event.ts'
import { MINUTE } from '../../src/core/time.ts'
import { at, NOW } from './builders.ts'

const endpoint = { endpointId: 'ep_1', name: 'shop', host: 'shop.example' } as const
const FACTS: readonly OperatorFact[] = [
  { type: 'endpoint.disabled', ...endpoint, reason: 'failing', failingSince: NOW },
  { type: 'endpoint.enabled', ...endpoint, reason: 'failing', by: 'itself' },
  {
    type: 'delivery.exhausted',
    ...endpoint,
    deliveryId: 'dlv_1',
    eventId: 'evt_1',
    eventType: 'task.succeeded',
    taskId: 'task_1',
    attemptCount: 10,
    statusCode: 500,
    failure: null,
  },
  { type: 'upstream.refused', credential: 'aidge', kind: null, code: 'NoResource', detail: 'NoResource: -' },
  { type: 'upstream.recovered', credential: 'aidge', kind: 'virtual-tryon' },
  { type: 'disk.low', freeBytes: 1_000, isFull: false },
]

describe('an operator event', () => {
  test.each(FACTS)('$type has the body of every event', (fact) => {
    const { body } = operatorEvent('db', fact, NOW)
    const { type, timestamp, data } = JSON.parse(body) as Record<string, unknown>
    expect([type, timestamp]).toEqual([fact.type, '2026-01-15T12:00:00.000Z'])
    expect(data).not.toHaveProperty('type')
    expect(inWords(fact)).not.toMatch(/undefined|\[object/)
  })

  test('writes instants as text', () => {
    expect(JSON.parse(operatorEvent('db', FACTS[0]!, at(1)).body).data).toEqual({
      ...endpoint,
      reason: 'failing',
      failingSince: '2026-01-15T12:00:00.000Z',
    })
  })

  test('has an id of what it tells, of whom, and when', () => {
    const idOf = (fact: OperatorFact, now = NOW, database = 'db') => operatorEvent(database, fact, now).id
    expect(idOf(FACTS[0]!)).toBe(idOf(FACTS[0]!))
    const others = [...FACTS.map((fact) => idOf(fact)), idOf(FACTS[0]!, at(1)), idOf(FACTS[0]!, NOW, 'other')]
    expect(new Set(others).size).toBe(others.length)
  })

  test('knows whose trouble it is', () => {
    expect(FACTS.map(troubledEndpoint)).toEqual(['ep_1', 'ep_1', 'ep_1', null, null, null])
  })
})

describe('the upstream', () => {
  /** What was told, in order. */
  function told(
    ...steps: readonly (readonly [minute: number, 'refused' | 'accepted', kind: string])[]
  ): readonly string[] {
    let budget: Budget = newBudget(NOW)
    return steps.flatMap(([minute, what, taskKind]) => {
      const now = at(minute * MINUTE)
      const effect: BudgetEffect =
        what === 'refused'
          ? { kind: what, code: 'NoResource', detail: '-', taskKind }
          : { kind: what, askedAt: now, taskKind }
      const next = applyEffect(budget, { rate: 10 }, now, effect)
      const fact = upstreamFact('aidge', budget, next, effect)
      budget = next
      if (fact?.type !== 'upstream.refused' && fact?.type !== 'upstream.recovered') return []
      return [`${fact.type.slice(9)} ${fact.kind ?? 'all'}`]
    })
  }

  test('that refuses is told once for a pause, however many probes it refuses', () => {
    expect(told([0, 'refused', 'a'], [1, 'refused', 'a'], [2, 'refused', 'b'], [3, 'accepted', 'a'])).toEqual([
      'refused all',
      'recovered all',
    ])
  })

  test('that refuses one product among others is told of that product, once', () => {
    const steps = [
      [0, 'accepted', 'a'],
      [1, 'refused', 'b'],
      [2, 'refused', 'b'],
      [3, 'accepted', 'a'],
      [4, 'accepted', 'b'],
    ] as const
    expect(told(...steps)).toEqual(['refused b', 'recovered b'])
  })

  test('that goes on refusing one product after the pause is told of it anew', () => {
    const steps = [
      [0, 'refused', 'b'],
      [1, 'accepted', 'a'],
      [2, 'refused', 'b'],
      [3, 'refused', 'b'],
    ] as const
    expect(told(...steps)).toEqual(['refused all', 'recovered all', 'refused b'])
  })
})
