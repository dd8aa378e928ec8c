/** The dispatcher's slots, over a scripted store and post: whatever fails, a slot comes back and nothing ends. */

import { expect, test } from 'vitest'
import type { EndpointId } from '../../src/core/ids.ts'
import { SECOND } from '../../src/core/time.ts'
import { createDispatcher, type DispatcherDeps } from '../../src/engine/dispatcher.ts'
import type { Exchange, Post } from '../../src/ports.ts'
import type { AttemptRecord } from '../../src/store/attempts.ts'
import { START, standingClock } from '../support/store.ts'
import { KEY } from '../support/world.ts'
import { aDueDelivery } from './due.ts'

type Line = Readonly<Record<string, unknown>> & { readonly event: string }

function exchanged(result: Exchange['result']): Exchange {
  const none = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null }
  return { result, durationMs: 1, ...none } as Exchange
}

const OK = exchanged({ kind: 'response', status: 204, retryAfter: null })

/** Every claim hands out at most two deliveries, and says when the next may be due. */
function aDispatcher(post: Post, { isRecording = true, applied = 1, recorded = Promise.resolve() } = {}) {
  const calls: string[] = []
  const claims: { limit: number; inFlight: ReadonlyMap<EndpointId, number> }[] = []
  const records: AttemptRecord[] = []
  const lines: Line[] = []
  let freeCount = 0
  const store: DispatcherDeps['store'] = {
    async claimDueDeliveries({ limit, inFlight }) {
      calls.push('claim')
      claims.push({ limit, inFlight })
      const deliveries = Array.from({ length: Math.min(limit, 2) }, () => aDueDelivery())
      return { deliveries, nextClaimAt: START }
    },
    async recordAttempts(params) {
      calls.push('record')
      if (!isRecording) throw new Error('the store is gone')
      records.push(...params.records)
      await recorded
      return { applied }
    },
  }
  const note = (line: Line) => void lines.push(line)
  const dispatcher = createDispatcher(
    {
      store,
      post,
      clock: standingClock,
      newId: (prefix: string) => `${prefix}_1`,
      random: () => 0.5,
      log: { debug: note, info: note, warn: note, error: note },
      signingKeys: [KEY],
      onFree: () => {
        freeCount += 1
        calls.push('free')
      },
    } as unknown as DispatcherDeps,
    { concurrency: 3, endpointConcurrency: 8, deadlineMs: 7 * SECOND, leaseMs: 60_000, scheduleMs: [0, 5 * SECOND] },
  )
  return { dispatcher, claims, records, calls, lines, freeCount: () => freeCount }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

test('no more is claimed than there are slots, with what each endpoint has under way, and nothing when none is free', async () => {
  const { dispatcher, claims } = aDispatcher(() => new Promise(() => {}))
  expect(await dispatcher.tick()).toBe(START)
  // A full page: whatever is left has to wait for a slot.
  expect(await dispatcher.tick()).toBeNull()
  expect(await dispatcher.tick()).toBeNull()
  expect(claims.map(({ limit, inFlight }) => [limit, [...inFlight]])).toEqual([
    [3, []],
    [1, [['ep_1', 2]]],
  ])
})

test.each<[string, Post, { isRecording?: boolean }]>([
  [
    'that throws',
    async () => {
      throw new Error('a bug in the adapter')
    },
    {},
  ],
  ['that cannot be recorded', async () => OK, { isRecording: false }],
])('an attempt %s frees its slots, is logged, and the next tick claims again', async (_what, post, options) => {
  const { dispatcher, claims, lines, freeCount } = aDispatcher(post, options)
  await dispatcher.tick()
  await turns()
  expect(lines.map(({ event }) => event)).toEqual(['attempt.failed', 'attempt.failed'])
  expect(freeCount()).toBe(2)
  await dispatcher.tick()
  expect(claims[1]).toEqual({ limit: 3, inFlight: new Map() })
  await dispatcher.drain(0)
})

test('a slot is free while its record is on the way, and what fills it is claimed after the record', async () => {
  const { dispatcher, claims, calls } = aDispatcher(async () => OK, { recorded: new Promise(() => {}) })
  await dispatcher.tick()
  await turns()
  expect(calls).toEqual(['claim', 'record', 'free', 'record', 'free'])
  await dispatcher.tick()
  expect(claims[1]).toEqual({ limit: 3, inFlight: new Map() })
})

test('what ends after a claim was called is still under way in it: its record comes later', async () => {
  const { dispatcher, claims } = aDispatcher(async () => OK)
  await dispatcher.tick()
  const claiming = dispatcher.tick()
  const inFlight = claims[1]?.inFlight
  await claiming
  await turns()
  expect([...(inFlight ?? [])]).toEqual([['ep_1', 2]])
})

test('an endpoint whose attempts have ended is not remembered', async () => {
  const { dispatcher, claims } = aDispatcher(async () => OK)
  await dispatcher.tick()
  await turns()
  await dispatcher.tick()
  expect(claims[1]?.inFlight).toEqual(new Map())
})

test('each attempt has its deadline, and what does not end within the grace is told to and given back', async () => {
  const deadlines: number[] = []
  const post: Post = ({ deadlineMs }, signal) => {
    deadlines.push(deadlineMs)
    const shutdown = exchanged({ kind: 'own_fault', reason: 'shutdown', detail: 'stopping' })
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve(shutdown)))
  }
  const { dispatcher, records } = aDispatcher(post)
  await dispatcher.tick()
  await dispatcher.drain(0)
  expect(deadlines).toEqual([7_000, 7_000])
  expect(records.map(({ verdict }) => verdict.kind)).toEqual(['give_back', 'give_back'])
})

test('the log names the host of a callback and nothing else of it, and says when nothing was recorded', async () => {
  const { dispatcher, lines } = aDispatcher(async () => OK, { applied: 0 })
  await dispatcher.tick()
  await turns()
  expect(lines[0]).toMatchObject({ host: 'receiver.example', isRecorded: false })
  expect(JSON.stringify(lines)).not.toMatch(/secret-path|token=1/)
})
