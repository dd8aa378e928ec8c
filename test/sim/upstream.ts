/** The upstream of a history: tasks with fates of their own, and the weather in which they are asked about. */

import { classify, type UpstreamAnswer } from '../../src/core/observation.ts'
import type { DueTask } from '../../src/core/task.ts'
import { SECOND } from '../../src/core/time.ts'
import type { Upstream } from '../../src/ports.ts'
import { answered } from '../support/world.ts'
import type { Plan, Weather } from './faults.ts'
import { type Chance, createChance } from './random.ts'

/** What becomes of a task, decided before anybody asks. */
export interface TaskFate {
  readonly end: 'finished' | 'partial' | 'failed' | 'rejected' | 'suspected' | 'never'
  /** From the start of the history. */
  readonly endsAt: number
  /** While it runs the upstream sometimes answers with a code that looks like a failure, and takes it back. */
  readonly hiccups: boolean
}

export interface SimulatedUpstream {
  fateOf(kind: string, taskId: string): TaskFate
  weatherAt(at: number): Weather | null
  /** What it says about a task, and after how long; null: not within the deadline of any query. */
  answer(task: DueTask, at: number): { readonly said: UpstreamAnswer; readonly latencyMs: number }
  /** From now on it answers well, and all that can finish finishes. */
  calm(): void
}

/** Two kinds paid for by one credential, one by another, which takes several ids in one query. */
const KINDS: Readonly<Record<string, { readonly credential: string; readonly idsPerQuery: number }>> = {
  'virtual-model-generation': { credential: 'aidge', idsPerQuery: 1 },
  'virtual-tryon': { credential: 'aidge', idsPerQuery: 1 },
  'image-translation': { credential: 'second', idsPerQuery: 4 },
}

export const KIND_NAMES = Object.keys(KINDS)
/** Credentials that pay for more than one kind. */
export const SEVERAL_KINDS: ReadonlySet<string> = new Set(['aidge'])
export const QUERY_DEADLINE_MS = 30 * SECOND

export const catalogue: Pick<Upstream, 'kinds' | 'credentialOf' | 'idsPerQuery'> = {
  kinds: () => KIND_NAMES,
  credentialOf: (kind) => KINDS[kind]!.credential,
  idsPerQuery: (kind) => KINDS[kind]?.idsPerQuery ?? null,
}

/** Codes that are believed after three answers alike, so a task has two at most: what came between may be lost. */
const HICCUP_CODES = ['801', '1002']
const HICCUPS_MAX = 2

export function createSimulatedUpstream(plan: Plan): SimulatedUpstream {
  const chance = createChance(plan.seed).fork('upstream')
  const fates = new Map<string, TaskFate>()
  const hiccupCounts = new Map<string, number>()
  let isCalm = false

  function fateOf(kind: string, taskId: string): TaskFate {
    const key = `${kind}/${taskId}`
    const fate = fates.get(key) ?? drawFate(chance.fork(key), plan)
    fates.set(key, fate)
    return fate
  }

  function weatherAt(at: number): Weather | null {
    if (isCalm) return null
    return plan.weather.find(({ from, until }) => at >= from && at < until)?.kind ?? null
  }

  function answer(task: DueTask, at: number) {
    const latencyMs = isCalm || chance.happens(0.9) ? chance.integer(2, 200) : chance.spread(200, QUERY_DEADLINE_MS)
    const weather = weatherAt(at)
    if (weather !== null && (weather === 'outage' || chance.happens(0.9)))
      return { said: badAnswer(weather, chance), latencyMs }
    if (!isCalm && chance.happens(plan.queryNoise)) {
      const kind = chance.pick(['outage', 'garbage', 'throttled', 'foreign'] as const)
      return { said: kind === 'foreign' ? foreignAnswer(task) : badAnswer(kind, chance), latencyMs }
    }
    return { said: honestAnswer(task, at), latencyMs }
  }

  function honestAnswer(task: DueTask, at: number): UpstreamAnswer {
    const fate = fateOf(task.kind, task.taskId)
    if (fate.end !== 'never' && at >= fate.endsAt) return finalAnswer(fate, task)
    const key = `${task.kind}/${task.taskId}`
    const count = hiccupCounts.get(key) ?? 0
    if (fate.hiccups && !isCalm && count < HICCUPS_MAX && chance.happens(0.4)) {
      hiccupCounts.set(key, count + 1)
      return answered({ success: false, resCode: HICCUP_CODES[task.taskId.length % 2]!, taskStatus: null })
    }
    return answered({ taskStatus: chance.pick(['running', 'queued', 'submitted', 'thinking']) })
  }

  return {
    fateOf,
    weatherAt,
    answer,
    calm() {
      isCalm = true
    },
  }
}

function drawFate(chance: Chance, plan: Plan): TaskFate {
  return {
    end: chance.weighted({ finished: 70, partial: 4, failed: 8, rejected: 5, suspected: 8, never: 5 }),
    endsAt: Math.round(plan.safetyMs * chance.next() * (plan.isLong ? 0.05 : chance.next())),
    hiccups: chance.happens(0.35),
  }
}

/** The picture's URL names the task: a result that reached another task's subscriber would show. */
export function pictureUrl(kind: string, taskId: string): string {
  return `http://pictures.example/${kind}/${taskId}.png?Expires=1&Signature=a%2Fb%3D`
}

function finalAnswer({ end }: TaskFate, { kind, taskId }: DueTask): UpstreamAnswer {
  // Written as no program of ours would write it, and with a number that reading it would round.
  const response = `{ "taskStatus":"finished",  "n": 9007199254740993, "id": "${taskId}" }`
  const image = { url: pictureUrl(kind, taskId), width: 768, height: 768, expiresAt: null }
  switch (end) {
    case 'finished':
      return answered({ images: [image], echoedTaskId: taskId, response })
    case 'partial':
      return answered({ images: [image], failedItemCount: 1 })
    case 'rejected':
      return answered({ success: false, resCode: '1000', resMessage: 'sensitive', taskStatus: null })
    case 'suspected':
      return answered({ success: false, resCode: '700', resMessage: 'bad parameter', taskStatus: null })
    default:
      return answered({ taskStatus: 'failed', taskMessage: 'no face' })
  }
}

function foreignAnswer(task: DueTask): UpstreamAnswer {
  const images = [{ url: pictureUrl(task.kind, 'somebody-else'), width: 1, height: 1, expiresAt: null }]
  return answered({ echoedTaskId: `${task.taskId}-not`, images })
}

function badAnswer(weather: Weather, chance: Chance): UpstreamAnswer {
  switch (weather) {
    case 'outage':
      return chance.pick<UpstreamAnswer>([
        { kind: 'answer', httpStatus: 503, retryAfterMs: null, body: null },
        { kind: 'no_answer', reason: 'timeout', detail: 'silent' },
        { kind: 'no_answer', reason: 'reset', detail: 'reset' },
        answered({ success: false, resCode: '900', taskStatus: null }),
      ])
    case 'garbage':
      return chance.pick<UpstreamAnswer>([
        { kind: 'answer', httpStatus: 200, retryAfterMs: null, body: null },
        answered({ success: false, resCode: '4711', taskStatus: null }),
        answered({ success: false, resCode: null, taskStatus: null }),
        { kind: 'no_answer', reason: 'too_large', detail: '200 MB' },
      ])
    case 'throttled':
      return chance.pick<UpstreamAnswer>([
        { kind: 'answer', httpStatus: 429, retryAfterMs: chance.pick([null, 7 * SECOND]), body: null },
        answered({ gatewayCode: 'ApiCallLimit', gatewayMessage: 'this ban will last 3 more seconds', success: null }),
      ])
    case 'refused':
      return answered({ gatewayCode: 'NoResource', gatewayMessage: 'resources have been exhausted', success: null })
  }
}

/** What the adapter would make of it. */
export const meaningOf = classify
