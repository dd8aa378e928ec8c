/** The receivers of a history: each with a character, and healthy in the end. */

import type { AttemptResult, NoResponseReason, OwnFault } from '../../src/core/delivery.ts'
import { MINUTE, SECOND } from '../../src/core/time.ts'
import type { Character, Plan } from './faults.ts'
import { type Chance, createChance } from './random.ts'

/** What happens to one POST. `reaches`: the receiver has seen it, whatever we hear of it. */
export interface Reception {
  readonly result: AttemptResult
  readonly latencyMs: number
  readonly reaches: boolean
}

export interface Receivers {
  /** Where shops want to be called back. */
  readonly urls: readonly string[]
  /** Where the daemon tells of itself; null: nowhere. */
  readonly operatorUrl: string | null
  /** The event types that the receiver chooses when it chooses. */
  choiceOf(url: string): readonly string[]
  characterOf(url: string): Character
  receive(url: string, at: number, deadlineMs: number): Reception
  calm(): void
}

const CHOICES: readonly (readonly string[])[] = [
  ['task.succeeded'],
  ['task.failed', 'task.expired'],
  ['task.succeeded', 'task.failed', 'endpoint.disabled'],
]

/** The query of a callback URL is its owner's secret: it must never show in a log line. */
export const URL_CANARY = 'canary-in-a-query'

export function createReceivers(plan: Plan): Receivers {
  const chance = createChance(plan.seed).fork('receivers')
  const urls = plan.receivers.map((character, index) => `https://${character}-${index}.example/hooks?key=${URL_CANARY}`)
  const { operator } = plan
  const operatorUrl = operator === null ? null : `https://operator-${operator}.example/alerts?key=${URL_CANARY}`
  const characters = new Map(urls.map((url, index) => [url, plan.receivers[index]!]))
  if (operatorUrl !== null && operator !== null) characters.set(operatorUrl, operator)
  const phases = new Map([...characters.keys()].map((url) => [url, chance.next()]))
  const choices = new Map(urls.map((url) => [url, chance.pick(CHOICES)]))
  let isCalm = false

  function receive(url: string, at: number, deadlineMs: number): Reception {
    const latencyMs = chance.integer(2, 150)
    const good: Reception = { result: answer(chance.pick([200, 202, 204])), latencyMs, reaches: true }
    if (isCalm) return good
    const noise = chance.happens(plan.postNoise) ? drawNoise(chance, latencyMs) : null
    return noise ?? behave(url, at, deadlineMs, latencyMs, good)
  }

  function behave(url: string, at: number, deadlineMs: number, latencyMs: number, good: Reception): Reception {
    const said = (result: AttemptResult): Reception => ({ result, latencyMs, reaches: true })
    const unheard = (reason: NoResponseReason, reaches: boolean): Reception => ({
      result: { kind: 'no_response', reason, detail: reason },
      latencyMs: reason === 'timeout' ? deadlineMs : latencyMs,
      reaches,
    })
    switch (characters.get(url)!) {
      case 'healthy':
        return good
      case 'flapping':
        return Math.floor((at + phases.get(url)! * MINUTE) / (2 * MINUTE)) % 2 === 0 ? good : said(answer(503))
      case 'silent':
        return unheard('timeout', true)
      case 'slow': {
        const slowMs = chance.spread(SECOND, 2 * deadlineMs)
        return slowMs < deadlineMs ? { ...good, latencyMs: slowMs } : unheard('timeout', true)
      }
      case 'failing':
        return said(answer(chance.pick([500, 404, 401])))
      case 'throttling':
        return chance.happens(0.3) ? good : said(answer(chance.pick([429, 503]), drawRetryAfter(chance)))
      case 'gone':
        return chance.happens(0.2) ? said(answer(410)) : good
      case 'redirecting':
        return said(answer(307))
      case 'unreachable':
        return unheard(chance.pick(['connect', 'reset', 'dns', 'tls', 'protocol']), false)
      case 'rebinding':
        return chance.happens(0.5) ? unheard('blocked_address', false) : good
      case 'reviving':
        return at < plan.safetyMs * (0.6 + phases.get(url)! * 0.3) ? unheard('connect', false) : good
    }
  }

  return {
    urls,
    operatorUrl,
    choiceOf: (url) => choices.get(url)!,
    characterOf: (url) => characters.get(url)!,
    receive,
    calm() {
      isCalm = true
    },
  }
}

function answer(status: number, retryAfter: string | null = null): AttemptResult {
  return { kind: 'response', status, retryAfter }
}

function drawRetryAfter(chance: Chance): string {
  return chance.pick(['5', '60', '0', '-1', '99999999999', 'soon', 'Fri, 31 Dec 1999 23:59:59 GMT', '1e9', ''])
}

function drawNoise(chance: Chance, latencyMs: number): Reception {
  if (chance.happens(0.4)) {
    const reason: OwnFault = chance.pick(['no_file_handles', 'our_dns', 'network_down', 'internal'])
    return { result: { kind: 'own_fault', reason, detail: reason }, latencyMs: 1, reaches: false }
  }
  // The receiver took it in; the answer was lost on the way.
  if (chance.happens(0.3)) {
    return { result: { kind: 'no_response', reason: 'reset', detail: 'lost answer' }, latencyMs, reaches: true }
  }
  return { result: answer(chance.pick([500, 502, 504])), latencyMs, reaches: true }
}
