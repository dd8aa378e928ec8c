/**
 * The shadow price of a query: how much more than by the settings a query is worth while a credential's rate limit binds.
 *
 * With more tasks than the rate allows asks for, tasks are asked about late, and which of them is chance. Then each query
 * has to be worth more waiting, until as many are planned as can be made. The sign that the limit binds is lateness: how
 * long after its due instant a task is asked about, compared with the wait that was planned for it. In the dense limit a
 * wait grows with the root of the price (plan.ts), so a round of asks that took wait + late instead of wait wants a price
 * that is ((wait + late) / wait)² as high. Each answer moves the price by a part of that, in proportion to the time that it
 * stands for: a round lasts wait + late, so a move takes some rounds, and answers to plans of the old price do not swing it.
 *
 * It settles where asks are late by a tenth of their wait: without any queue nobody would know that there is no room left.
 * With no queue it comes back to 1, faster than it rises. Lateness has other causes, a pause or a daemon that was off, but
 * those last for no more than one ask of each task and hardly move it. Kept in memory only: a restart finds it again.
 */

import type { EpochMs } from './time.ts'

export interface Price {
  /** ln of the factor, at least 0. */
  readonly log: number
  readonly movedAt: EpochMs
}

export interface Lateness {
  readonly now: EpochMs
  /** From the last sign of it to the instant at which it was due. */
  readonly waitMs: number
  /** From then to when it was asked about. */
  readonly lateMs: number
}

/** What a claim, a tick and a commit take at times: no queue. */
const PROMPT_MS = 250
const GAIN = 0.5
/** Where late is a tenth of the wait: 2 · ln 1.1. */
const SET_POINT = 0.19
const RISE_MAX = 1
const FALL = 0.6
/** A thousandfold: a wait of a second has become half a minute. */
const LOG_MAX = Math.log(1000)
const WAIT_MIN_MS = 100

export function newPrice(now: EpochMs): Price {
  return { log: 0, movedAt: now }
}

export function priceAfter(price: Price, { now, waitMs, lateMs }: Lateness, intervalMaxMs: number): Price {
  const wait = Math.max(waitMs, WAIT_MIN_MS)
  const late = Math.max(0, lateMs - PROMPT_MS)
  const elapsed = Math.min(Math.max(0, now - price.movedAt), wait + late)
  const wanted = late === 0 ? -FALL : Math.min(2 * Math.log1p(late / wait) - SET_POINT, RISE_MAX)
  // At its longest a wait grows no more, whatever the price.
  const move = wanted > 0 && wait >= intervalMaxMs ? 0 : (GAIN * wanted * elapsed) / (wait + late)
  return { log: Math.min(Math.max(0, price.log + move), LOG_MAX), movedAt: now }
}

/** How many times the poll cost a query is worth; null: nothing is known yet. */
export function priceFactor(price: Price | null): number {
  return price === null ? 1 : Math.exp(price.log)
}
