/**
 * What this process knows of how long tasks take and of what a query is worth, between what is recorded of it.
 *
 * It is in memory, because each answer adds to it, and recorded with the polls of the moment every few seconds: a crash
 * costs what was learned since. What was recorded and cannot be read is learned again; nothing waits for it.
 */

import {
  type CadenceInput,
  type CadencePlan,
  type CadenceRecord,
  type CadenceSettings,
  createCadence,
} from '../core/cadence.ts'
import { sightingOf } from '../core/decision.ts'
import { newPrice, type Price, priceAfter, priceFactor } from '../core/price.ts'
import type { DueTask } from '../core/task.ts'
import { type EpochMs, SECOND } from '../core/time.ts'
import type { Answered, Log } from '../ports.ts'
import type { Store } from '../store/store.ts'

export interface Cadences {
  /** Takes up what was recorded, once. */
  restore(): Promise<void>
  plan(input: CadenceInput): CadencePlan
  /** How many times its cost a query of this credential is worth now. */
  priceFactorOf(credential: string): number
  hear(credential: string, answer: Answered, isSettled: boolean): void
  /** What is to be recorded now: something every few seconds, and mostly nothing. */
  takeDue(now: EpochMs): readonly CadenceRecord[]
  takeAll(): readonly CadenceRecord[]
}

export interface CadencesDeps {
  readonly store: Pick<Store, 'listCadences'>
  readonly log: Log
}

const RECORDED_EVERY_MS = 5 * SECOND

export function createCadences({ store, log }: CadencesDeps, settings: CadenceSettings): Cadences {
  const cadence = createCadence(settings)
  const prices = new Map<string, Price>()
  let isRestored = false
  let recordedAt: EpochMs | null = null

  function movePrice(credential: string, { task, askedAt }: Answered): void {
    const lateness = { now: askedAt, waitMs: task.dueAt - waitedSince(task), lateMs: askedAt - task.dueAt }
    const price = prices.get(credential) ?? newPrice(askedAt)
    prices.set(credential, priceAfter(price, lateness, settings.intervalMaxMs))
  }

  return {
    async restore() {
      if (isRestored) return
      const saved = await store.listCadences()
      isRestored = true
      for (const kind of cadence.restore(saved)) {
        const event = 'cadence.unreadable'
        log.warn({ event, kind }, `what was known of how long ${kind} takes cannot be read: it is learned again`)
      }
    },

    plan: cadence.plan,
    priceFactorOf: (credential) => priceFactor(prices.get(credential) ?? null),

    hear(credential, answer, isSettled) {
      const { task, observation } = answer
      const sighting = sightingOf(task, observation, isSettled, answer)
      if (sighting !== null) cadence.learn(task.kind, sighting)
      movePrice(credential, answer)
    },

    takeDue(now) {
      // A clock that was set back must not end the recording.
      if (recordedAt !== null && Math.abs(now - recordedAt) < RECORDED_EVERY_MS) return []
      recordedAt = now
      return cadence.takeChanged()
    },
    takeAll: cadence.takeChanged,
  }
}

function waitedSince({ runningAt, submittedAt, registeredAt }: DueTask): EpochMs {
  return runningAt ?? submittedAt ?? registeredAt
}
