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

const FAILED = exchanged({ kind: 'response', status: 500, retryAfter: null })

/** Every claim hands out at most two deliveries, and says when the next may be due. */
function aDispatcher(
  post: Post,
  {
    isRecording = true,
    applied = 1,
    recorded = Promise.resolve(),
    isMoreDue = true,
    answered = Promise.resolve(),
    isProbe = false,
    isClaiming = true,
  } = {},
) {
  const calls: string[] = []
  const claims: { limit: number; inFlight: ReadonlyMap<EndpointId, number>; isBehindRecords: boolean | undefined }[] =
    []
  const records: AttemptRecord[] = []
  const lines: Line[] = []
  const store: DispatcherDeps['store'] = {
    async claimDueDeliveries({ limit, inFlight, isBehindRecords }) {
      calls.push('claim')
      claims.push({ limit, inFlight, isBehindRecords })
      if (claims.length > 1) await answered
      if (!isClaiming) throw new Error('another program holds the database')
      const deliveries = Array.from({ length: Math.min(limit, 2) }, () => ({ ...aDueDelivery(), isProbe }))
      return { deliveries, nextClaimAt: START, isMoreDue }
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
      wake: () => void calls.push('wake'),
    } as unknown as DispatcherDeps,
    { concurrency: 3, endpointConcurrency: 8, deadlineMs: 7 * SECOND, leaseMs: 60_000, scheduleMs: [0, 5 * SECOND] },
  )
  return { dispatcher, claims, records, calls, lines, wakeCount: () => calls.filter((call) => call === 'wake').length }
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
  const { dispatcher, claims, lines, wakeCount } = aDispatcher(post, options)
  await dispatcher.tick()
  await turns()
  expect(lines.map(({ event }) => event)).toEqual(['attempt.failed', 'attempt.failed'])
  expect(wakeCount()).toBe(2)
  await dispatcher.tick()
  expect(claims[1]).toMatchObject({ limit: 3, inFlight: new Map() })
  await dispatcher.drain(0)
})

test('a slot is free while its record is on the way, and what fills it is claimed after the record', async () => {
  const { dispatcher, claims, calls } = aDispatcher(async () => OK, { recorded: new Promise(() => {}) })
  await dispatcher.tick()
  await turns()
  expect(calls).toEqual(['claim', 'record', 'wake', 'record', 'wake'])
  await dispatcher.tick()
  expect(claims[1]).toMatchObject({ limit: 3, inFlight: new Map() })
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

test.each<[string, Exchange, Parameters<typeof aDispatcher>[1], number]>([
  ['left nothing behind', OK, { isMoreDue: false }, 0],
  ['left something behind', OK, { isMoreDue: true }, 2],
  ['left nothing, but the attempt failed and is due again', FAILED, { isMoreDue: false }, 2],
  ['left nothing, but the endpoint was tried and works again', OK, { isMoreDue: false, isProbe: true }, 2],
])('a slot that frees is worth another claim when the last one %s', async (_what, exchange, options, wakeCount) => {
  const { dispatcher, calls, wakeCount: count } = aDispatcher(async () => exchange, options)
  await dispatcher.tick()
  await turns()
  expect(count()).toBe(wakeCount)
  // It must see what the record changes.
  if (wakeCount > 0) expect(calls.indexOf('wake')).toBeGreaterThan(calls.indexOf('record'))
})

test('a claim that took all there was, with just as many slots, says when there will be more', async () => {
  const { dispatcher } = aDispatcher(() => new Promise(() => {}), { isMoreDue: false })
  await dispatcher.tick()
  // The third of three slots.
  expect(await dispatcher.tick()).toBe(START)
})

test('a slot that frees while a claim is under way is worth another: that one did not count it', async () => {
  const answered = new Promise<void>(() => {})
  const end = new Map<number, () => void>()
  const post: Post = () => new Promise((resolve) => end.set(end.size, () => resolve(OK)))
  const { dispatcher, wakeCount } = aDispatcher(post, { isMoreDue: false, answered })
  await dispatcher.tick()
  void dispatcher.tick()
  end.get(0)?.()
  await turns()
  expect(wakeCount()).toBe(1)
})

test('what is being recorded is claimed right behind it, but when it is on disk while half of the slots are busy', async () => {
  const { dispatcher, claims, calls } = aDispatcher(() => new Promise(() => {}), { isMoreDue: false })
  let keep = () => {}
  const recording = new Promise<void>((resolve) => {
    keep = resolve
  })
  dispatcher.noteSettling(recording)
  expect(calls).toEqual(['wake'])
  await dispatcher.tick()
  expect(claims[0]?.isBehindRecords).toBe(true)

  dispatcher.noteSettling(recording)
  dispatcher.noteSettling(Promise.reject(new Error('the disk failed')))
  await turns()
  expect(calls).toEqual(['wake', 'claim'])
  keep()
  await turns()
  expect(calls).toEqual(['wake', 'claim', 'wake'])
  await dispatcher.tick()
  expect(claims[1]?.isBehindRecords).toBe(false)
})

test('a claim that is refused while the record it comes behind waits is worth another when that is written', async () => {
  const { dispatcher, calls } = aDispatcher(async () => OK, { isClaiming: false })
  let keep = () => {}
  dispatcher.noteSettling(
    new Promise<void>((resolve) => {
      keep = resolve
    }),
  )
  await expect(dispatcher.tick()).rejects.toThrow('another program')
  await turns()
  expect(calls).toEqual(['wake', 'claim'])
  keep()
  await turns()
  expect(calls).toEqual(['wake', 'claim', 'wake'])
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
