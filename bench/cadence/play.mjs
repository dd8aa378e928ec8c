/**
 * Plays a strategy against tasks that take as long as they were drawn to: event by event, with the upstream's answer time,
 * through one credential whose rate may bind. What a strategy learns is what a poller sees and nothing else.
 */

import { createCadence } from '../../dist/core/cadence.js'
import { newPrice, priceAfter, priceFactor } from '../../dist/core/price.js'

const KIND = 'measured'
/** Wide enough that neither bound helps or hinders anybody. */
export const LIMITS = { intervalMinMs: 50, intervalMaxMs: 600_000 }
/** From the query's leaving to its answer, half of it each way. */
const ANSWER_MS = { min: 60, spread: 120 }

/** Ages known beforehand; after the last the wait of the last step goes on. */
export function fixedPlan(ages) {
  const step = ages.at(-1) - (ages.at(-2) ?? 0)
  return {
    next(task) {
      task.step = (task.step ?? -1) + 1
      return ages[task.step] ?? ages.at(-1) + (task.step - ages.length + 1) * step
    },
    hear() {},
  }
}

export function backOff(firstMs, factor, mostMs) {
  return {
    next(task, age) {
      task.waitMs = Math.min(mostMs, task.waitMs === undefined ? firstMs : task.waitMs * factor)
      return age + task.waitMs
    },
    hear() {},
  }
}

export function ringback(costMs, chance) {
  const cadence = createCadence({ ...LIMITS, pollCostMs: costMs })
  let price = null
  return {
    next(task, age, now) {
      const ages = { runningAgeMs: task.runningAge ?? 0, ageMs: age }
      const plan = cadence.plan({ kind: KIND, ...ages, now, priceFactor: priceFactor(price), random: chance() })
      return age + plan.delayMs
    },
    hear(task, { askedAge, answeredAge, hasEnded, now, dueAge }) {
      const from = task.runningAge ?? 0
      cadence.learn(KIND, { fromMs: from, toMs: hasEnded ? answeredAge : askedAge, hasEnded })
      price = priceAfter(
        price ?? newPrice(now),
        { now, waitMs: dueAge - from, lateMs: askedAge - dueAge },
        LIMITS.intervalMaxMs,
      )
    },
    /** The ages at which a new task would be asked about now. */
    ages: (untilMs, now) => agesOf(cadence, untilMs, now),
    factor: () => priceFactor(price),
  }
}

function agesOf(cadence, untilMs, now) {
  const ages = []
  for (let age = 0; age < untilMs; ages.push(age)) {
    age += cadence.plan({ kind: KIND, runningAgeMs: age, ageMs: age, now, priceFactor: 1, random: 0.5 }).delayMs
  }
  return ages
}

/**
 * @param durationsMs one task each, begun at `everyMs` apart
 * @param rate queries a second, or null for as many as are wanted
 * @param onCompletion told of the number of tasks that were found ended, and the instant
 */
export function play({ strategy, durationsMs, everyMs, rate, chance, onCompletion = () => {} }) {
  const queue = createQueue()
  const played = durationsMs.map((durationMs, index) => ({ index, durationMs, startAt: index * everyMs, queries: 0 }))
  let freeAt = 0
  let begun = 0
  let ended = 0
  const plan = (task, now) => {
    task.dueAt = task.startAt + strategy.next(task, now - task.startAt, now)
    queue.push(task.dueAt, { task, isAnswer: false })
  }
  while (ended < played.length) {
    const nextStart = begun < played.length ? played[begun].startAt : Number.POSITIVE_INFINITY
    if (nextStart <= queue.firstAt()) {
      plan(played[begun], nextStart)
      begun += 1
      continue
    }
    const { at, item } = queue.take()
    const { task } = item
    if (!item.isAnswer) {
      const askedAt = rate === null ? at : Math.max(at, freeAt)
      if (askedAt > at) {
        // Its turn comes in the order of the due instants, as it was.
        queue.push(askedAt, item)
        continue
      }
      freeAt = askedAt + (rate === null ? 0 : 1_000 / rate)
      task.queries += 1
      const answerMs = ANSWER_MS.min + ANSWER_MS.spread * chance()
      queue.push(askedAt + answerMs, { task, isAnswer: true, askedAt, lookedAt: askedAt + answerMs / 2 })
      continue
    }
    const hasEnded = item.lookedAt >= task.startAt + task.durationMs
    strategy.hear(task, {
      askedAge: item.askedAt - task.startAt,
      answeredAge: at - task.startAt,
      dueAge: task.dueAt - task.startAt,
      hasEnded,
      now: at,
    })
    if (!hasEnded) {
      task.runningAge = item.askedAt - task.startAt
      plan(task, at)
      continue
    }
    task.lagMs = Math.max(0, item.askedAt - task.startAt - task.durationMs)
    ended += 1
    onCompletion(ended, at)
  }
  return played
}

/** A binary heap; what was pushed first comes first among equals. */
function createQueue() {
  const heap = []
  let count = 0
  const isBefore = (a, b) => a.at < b.at || (a.at === b.at && a.number < b.number)
  const swap = (a, b) => {
    ;[heap[a], heap[b]] = [heap[b], heap[a]]
  }
  return {
    firstAt: () => heap[0]?.at ?? Number.POSITIVE_INFINITY,
    push(at, item) {
      let index = heap.push({ at, item, number: count++ }) - 1
      for (let up = (index - 1) >> 1; index > 0 && isBefore(heap[index], heap[up]); index = up, up = (index - 1) >> 1)
        swap(index, up)
    },
    take() {
      const first = heap[0]
      const last = heap.pop()
      if (heap.length === 0) return first
      heap[0] = last
      for (let index = 0; ; ) {
        const [left, right] = [2 * index + 1, 2 * index + 2]
        let least = index
        if (left < heap.length && isBefore(heap[left], heap[least])) least = left
        if (right < heap.length && isBefore(heap[right], heap[least])) least = right
        if (least === index) return first
        swap(index, least)
        index = least
      }
    },
  }
}
