/** What every store promises of the operator: each transition makes one event, with a delivery to the operator's endpoint. */

import { describe, expect, test } from 'vitest'
import { judge } from '../../src/core/delivery.ts'
import type { LeaseToken } from '../../src/core/ids.ts'
import type { OperatorEvent } from '../../src/core/operator-event.ts'
import { DAY, type EpochMs, HOUR, after as later, MINUTE } from '../../src/core/time.ts'
import type { AttemptRecord } from '../../src/store/attempts.ts'
import type { Store } from '../../src/store/store.ts'
import { ANY_HOST, aRegistration, START } from '../support/store.ts'
import type { StoreHarness } from './steps.ts'

const OPERATOR = 'https://operator.example/alerts'

/** Registers a task, lets it finish and claims the deliveries that are due then. */
async function claimAt(store: Store, now: EpochMs, taskId: string | null) {
  const token: LeaseToken = `lse_${now}`
  const lease = { token, expiresAt: later(now, MINUTE) }
  if (taskId !== null) {
    await store.registerTasks({
      now,
      registrations: [aRegistration({ taskId, firstPollAt: now, deadlineAt: later(now, DAY) })],
    })
    const { tasks } = await store.claimDueTasks({ now, lease, credential: 'aidge', settings: { rate: 100 }, limit: 9 })
    const outcome = {
      status: 'succeeded',
      partial: false,
      images: [],
      error: null,
      response: null,
      responseTruncated: false,
    } as const
    const records = tasks.map((task) => ({
      task,
      leaseToken: token,
      poll: null,
      decision: { kind: 'settle', outcome } as const,
    }))
    await store.recordPolls({ now, records, effects: [] })
  }
  const slots = {
    limit: 100,
    endpointConcurrency: 8,
    recoveringMax: 100,
    unhurriedMax: 100,
    inFlight: new Map(),
    hosts: ANY_HOST,
  }
  const { deliveries, nextClaimAt } = await store.claimDueDeliveries({ now, lease, ...slots })
  return { deliveries, nextClaimAt, token }
}

type Claimed = Awaited<ReturnType<typeof claimAt>>

async function answer(store: Store, now: EpochMs, { deliveries, token }: Claimed, status: number): Promise<void> {
  const result = { kind: 'response', status, retryAfter: null } as const
  const timings = { dnsMs: null, connectMs: null, tlsMs: null, answerMs: null }
  const seen = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null, timings }
  const records = deliveries.map((delivery): AttemptRecord => {
    const judgement = judge({ delivery, result, now, scheduleMs: [0, HOUR], random: 0.5 })
    return {
      delivery,
      leaseToken: token,
      startedAt: now,
      exchange: { result, durationMs: 1, ...seen },
      ...judgement,
      random: 0.5,
    }
  })
  await store.recordAttempts({ now, records })
}

/** Four tasks over five days, each of which fails. */
async function failForDays(store: Store): Promise<EpochMs> {
  let now = START
  for (const [index, day] of [0, 1, 2, 6].entries()) {
    now = later(START, day * DAY)
    await answer(store, now, await claimAt(store, now, `t${index}`), 500)
  }
  return now
}

function listen(store: Store): OperatorEvent[] {
  const told: OperatorEvent[] = []
  store.onTold((events) => told.push(...events))
  return told
}

const typesOf = (told: readonly OperatorEvent[]) => told.map(({ fact }) => fact.type)

export function describeOperator(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: telling the operator`, () => {
    test('a failing endpoint is disabled, told of once, and a delivery of it goes to the operator', async () => {
      const { store } = await open()
      const told = listen(store)
      const operator = await store.keepOperatorEndpoint({ now: START, url: OPERATOR })
      await failForDays(store)
      expect(typesOf(told).filter((type) => type === 'endpoint.disabled')).toHaveLength(1)
      const event = await store.getEvent(told.find(({ fact }) => fact.type === 'endpoint.disabled')!.id)
      expect(event).toMatchObject({ taskId: null, type: 'endpoint.disabled' })
      const { items } = await store.listDeliveries({ endpointId: operator!.id, limit: 100 })
      // Of its own deliveries that failed it is not told.
      const others = told.filter(({ fact }) => !('endpointId' in fact) || fact.endpointId !== operator!.id)
      expect(items.map(({ eventId }) => eventId).sort()).toEqual(others.map(({ id }) => id).sort())
    })

    test('what is told under a lost lease is not told', async () => {
      const { store } = await open()
      const told = listen(store)
      const claimed = await claimAt(store, START, 'a')
      await answer(store, START, { ...claimed, token: 'lse_other' }, 410)
      expect(told).toEqual([])
    })

    test('a probe is one delivery at its time, leaves it as it was when it fails, and enables when it succeeds', async () => {
      const harness = await open()
      const now = await failForDays(harness.store)
      const { store } = await harness.reopen()
      const told = listen(store)
      expect((await claimAt(store, later(now, 5 * MINUTE - 1), 'waiting')).deliveries).toEqual([])
      const due = later(now, 5 * MINUTE)
      const first = await claimAt(store, due, null)
      expect(first.deliveries).toMatchObject([{ isProbe: true }])
      // While it is under way there is no other.
      expect((await claimAt(store, later(due, 1), null)).deliveries).toEqual([])
      const before = await store.getDelivery(first.deliveries[0]!.id)
      await answer(store, due, first, 503)
      const [probed] = [await store.getDelivery(first.deliveries[0]!.id)]
      expect(probed).toMatchObject({ status: 'pending', nextAttemptAt: before!.nextAttemptAt })
      expect(await store.listAttempts([probed!.id])).toContainEqual(
        expect.objectContaining({ isProbe: true, verdict: 'unchanged' }),
      )
      const second = await claimAt(store, later(due, 15 * MINUTE), null)
      await answer(store, later(due, 15 * MINUTE), second, 200)
      expect(typesOf(told)).toEqual(['endpoint.enabled'])
      const { endpointId } = first.deliveries[0]!
      expect(await store.getEndpoint({ now, id: endpointId })).toMatchObject({
        status: 'enabled',
        health: { failingSince: null },
      })
    })

    test('another operator takes over, nobody is one when none is wanted, and it is the same after a restart', async () => {
      const harness = await open()
      const first = await harness.store.keepOperatorEndpoint({ now: START, url: OPERATOR })
      const { store } = await harness.reopen()
      const isOperator = async () => (await store.getEndpoint({ now: START, id: first!.id }))?.isOperator
      expect(await isOperator()).toBe(true)
      expect((await store.keepOperatorEndpoint({ now: START, url: OPERATOR }))?.id).toBe(first!.id)
      const second = await store.keepOperatorEndpoint({ now: START, url: 'https://other.example/' })
      expect([await isOperator(), second?.isOperator]).toEqual([false, true])
      expect(await store.keepOperatorEndpoint({ now: START, url: null })).toBeNull()
      await answer(store, START, await claimAt(store, START, 'a'), 410)
      expect((await store.listDeliveries({ endpointId: second!.id, limit: 9 })).items).toEqual([])
    })

    test('what was told is forgotten by its age, with its deliveries, and nothing else is', async () => {
      const { store } = await open()
      const told = listen(store)
      await store.keepOperatorEndpoint({ now: START, url: OPERATOR })
      await answer(store, START, await claimAt(store, START, 'a'), 410)
      expect(typesOf(told)).toEqual(['endpoint.disabled'])
      expect(await store.deleteOperatorEvents({ toldBefore: START, limit: 10 })).toBe(0)
      expect(await store.deleteOperatorEvents({ toldBefore: later(START, 1), limit: 10 })).toBe(1)
      expect(await store.getEvent(told[0]!.id)).toBeNull()
      expect((await store.listDeliveries({ limit: 9 })).items).toHaveLength(1)
    })
  })
}
