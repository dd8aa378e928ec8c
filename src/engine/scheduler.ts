/**
 * The scheduler: claim due → ask the upstream → decide in core → record in one step.
 *
 * It keeps `concurrency` slots busy as long as the budget of a credential grants queries: a slot that frees lets the next
 * due task start, nothing waits for the slowest of a round. It holds no task in memory but those it is asking about.
 *
 * What a crash costs, at each point:
 * - after the claim, before the query: the budget has been spent, the task is claimable again at the next start;
 * - after the query, before the record: the task is asked again; asking changes nothing upstream;
 * - after the record: nothing, it is on disk.
 */

import { packQueries } from '../core/batch.ts'
import { type BudgetEffect, type BudgetSettings, budgetEffectOf } from '../core/budget.ts'
import type { CadenceRecord, CadenceSettings } from '../core/cadence.ts'
import { decide } from '../core/decision.ts'
import type { LeaseToken } from '../core/ids.ts'
import { describe } from '../core/observation.ts'
import type { DueTask } from '../core/task.ts'
import { after, type EpochMs, earlierOf } from '../core/time.ts'
import type { Answered, Clock, Log, NewId, Random, Upstream } from '../ports.ts'
import type { PollRecord, Store } from '../store/store.ts'
import type { Cadences } from './cadences.ts'
import { createInFlight } from './in-flight.ts'

export interface SchedulerDeps {
  readonly store: Pick<Store, 'claimDueTasks' | 'recordPolls'>
  readonly upstream: Upstream
  readonly clock: Clock
  readonly newId: NewId
  readonly random: Random
  readonly log: Log
  readonly cadences: Cadences
  /** The next tick is worth it at `at`: something may be claimed then. */
  readonly wakeBy: (at: EpochMs) => void
  /** At least one task settles with this record, which the store has just been handed: there is something to deliver. */
  readonly onSettling: (recording: Promise<unknown>) => void
}

export interface SchedulerOptions {
  readonly concurrency: number
  readonly budget: BudgetSettings
  readonly cadence: CadenceSettings
  /** Longer than the longest query, or two daemons would ask about one task at once. */
  readonly leaseMs: number
}

export interface Scheduler {
  tick(): Promise<EpochMs | null>
  /** What is being asked about has instants of another clock: its answers are not judged, and it is asked about again. */
  clockMoved(): void
  /** Ends what is under way; what does not end within `graceMs` is given back. */
  drain(graceMs: number): Promise<void>
}

export function createScheduler(deps: SchedulerDeps, options: SchedulerOptions): Scheduler {
  const { store, upstream, clock, newId, random, log, cadences } = deps
  const inFlight = createInFlight(clock)
  let busySlots = 0
  let clockMoves = 0
  /** The last claims may have left something behind for want of a slot, or have no answer yet: one that frees is worth another. */
  let isShortOfSlots = true
  /** The same for want of budget: an answer that was accepted may end a pause. */
  const shortOfBudget = new Set<string>()

  async function tick(): Promise<EpochMs | null> {
    await cadences.restore()
    isShortOfSlots = true
    const claims: Claimed[] = []
    for (const credential of credentialsOf(upstream)) claims.push(await claim(credential))
    isShortOfSlots = claims.some((one) => one.isShortOfSlots)
    return claims.reduce<EpochMs | null>((first, { nextClaimAt: at }) => earlierOf(first, at), null)
  }

  /** Fills the free slots; says when the credential may be worth asking again. */
  async function claim(credential: string): Promise<Claimed> {
    const limit = options.concurrency - busySlots
    if (limit <= 0) return { nextClaimAt: null, isShortOfSlots: true }
    const now = clock.now()
    const era = clockMoves
    const lease = { token: newId('lse'), expiresAt: after(now, options.leaseMs) }
    // Until it is known: what is accepted meanwhile is not seen by this claim.
    shortOfBudget.add(credential)
    const claimed = await store.claimDueTasks({ now, lease, credential, settings: options.budget, limit })
    const queries = packQueries(claimed.tasks, (kind) => upstream.idsPerQuery(kind) ?? 1)
    for (const tasks of queries) {
      busySlots += 1
      inFlight.track((signal) => ask({ tasks, credential, token: lease.token, era, signal }))
    }
    const isFull = claimed.tasks.length === limit
    if (isFull || !claimed.isMoreDue) shortOfBudget.delete(credential)
    return { nextClaimAt: claimed.nextClaimAt, isShortOfSlots: isFull && claimed.isMoreDue }
  }

  async function ask({ tasks, credential, token, era, signal }: Query): Promise<void> {
    try {
      const { answers, queryCount } = await upstream.query(tasks, signal).finally(freeSlot)
      // A deadline that was claimed before the clock was set forward would seem to have passed.
      const heard = era === clockMoves ? { answers, queryCount } : { answers: [], queryCount }
      await record(tasks, heard, credential, token)
    } catch (error) {
      log.error(
        { event: 'query.failed', taskIds: tasks.map((task) => task.id), error },
        'a query could not be recorded; its tasks are asked about again when their lease ends',
      )
    }
  }

  function freeSlot(): void {
    busySlots -= 1
    if (isShortOfSlots) deps.wakeBy(clock.now())
  }

  async function record(
    tasks: readonly DueTask[],
    { answers, queryCount }: Heard,
    credential: string,
    token: LeaseToken,
  ): Promise<void> {
    const now = clock.now()
    const records = tasks.map((task) => toRecord(task, answers, credential, token, now))
    for (const answer of answers) cadences.hear(credential, answer, isSettledBy(answer, records))
    const learnt = answers.map(({ task, observation, askedAt }) => budgetEffectOf(observation, task.kind, askedAt))
    // One was paid for with the claim.
    const spent: BudgetEffect | null = queryCount > 1 ? { kind: 'spent', queryCount: queryCount - 1 } : null
    const effects = [...learnt, spent].flatMap((effect) =>
      effect === null ? [] : [{ credential, effect, settings: options.budget }],
    )
    const recording = store.recordPolls({ now, records, effects, cadences: cadences.takeDue(now) })
    if (records.some(({ decision }) => decision.kind === 'settle')) deps.onSettling(recording)
    await recording
    for (const answer of answers) logAnswer(answer, records)
    for (const { decision } of records) {
      if (decision.kind === 'poll_again') deps.wakeBy(decision.nextPollAt)
      if (decision.kind === 'give_back') deps.wakeBy(clock.now())
    }
    const isAnyAccepted = effects.some(({ effect }) => effect.kind === 'accepted')
    if (isAnyAccepted && shortOfBudget.has(credential)) deps.wakeBy(clock.now())
  }

  /** What is forgotten is learned again: it must not keep a daemon from stopping as it should. */
  async function recordLearned(learned: readonly CadenceRecord[]): Promise<void> {
    if (learned.length === 0) return
    try {
      await store.recordPolls({ now: clock.now(), records: [], effects: [], cadences: learned })
    } catch (error) {
      log.warn(
        { event: 'cadence.unrecorded', error },
        'what was learned last of how long tasks take could not be recorded',
      )
    }
  }

  function toRecord(
    task: DueTask,
    answers: readonly Answered[],
    credential: string,
    leaseToken: LeaseToken,
    now: EpochMs,
  ): PollRecord {
    const answer = answers.find((candidate) => candidate.task.id === task.id)
    // Nothing was heard because we stopped asking: the task has its turn again.
    if (answer === undefined) return { task, leaseToken, poll: null, decision: { kind: 'give_back' } }
    const { observation, askedAt, answeredAt, httpStatus, requestId } = answer
    return {
      task,
      leaseToken,
      poll: {
        askedAt,
        durationMs: answeredAt - askedAt,
        observation: observation.kind,
        detail: describe(observation),
        httpStatus,
        requestId,
      },
      decision: decide({
        task,
        observation,
        askedAt,
        now,
        settings: options.cadence,
        cadence: cadences,
        priceFactor: cadences.priceFactorOf(credential),
        random: random(),
      }),
    }
  }

  function logAnswer(
    { task, observation, askedAt, answeredAt, httpStatus }: Answered,
    records: readonly PollRecord[],
  ): void {
    const decision = records.find((record) => record.task.id === task.id)?.decision
    if (decision === undefined || decision.kind === 'give_back') return
    const fields = {
      taskId: task.taskId,
      kind: task.kind,
      id: task.id,
      pollNumber: task.pollCount + 1,
      observation: describe(observation),
      httpStatus,
      durationMs: answeredAt - askedAt,
    }
    if (decision.kind === 'settle') {
      const status = decision.outcome.status
      return log.info({ event: 'task.settled', ...fields, status }, `task ${task.taskId} ${status}`)
    }
    const line = { event: 'query.answered', ...fields, nextPollAt: decision.nextPollAt, reason: decision.reason }
    if (observation.kind === 'refused') {
      return log.error({ ...line, event: 'query.refused' }, `the upstream refuses to answer: ${observation.detail}`)
    }
    if (observation.kind === 'throttled') return log.warn({ ...line, event: 'upstream.throttled' }, observation.detail)
    if (observation.kind === 'running' && !observation.isKnownWord) {
      return log.warn(line, `unknown task status "${observation.status}": taken for running`)
    }
    log.debug(line, describe(observation))
  }

  return {
    tick,
    clockMoved() {
      clockMoves += 1
    },
    async drain(graceMs) {
      await inFlight.drain(graceMs)
      await recordLearned(cadences.takeAll())
    },
  }
}

function isSettledBy({ task }: Answered, records: readonly PollRecord[]): boolean {
  return records.some((record) => record.task.id === task.id && record.decision.kind === 'settle')
}

interface Claimed {
  readonly nextClaimAt: EpochMs | null
  readonly isShortOfSlots: boolean
}

type Heard = Awaited<ReturnType<Upstream['query']>>

interface Query {
  readonly tasks: readonly DueTask[]
  readonly credential: string
  readonly token: LeaseToken
  /** How often the clock had been moved when the tasks were claimed. */
  readonly era: number
  readonly signal: AbortSignal
}

function credentialsOf(upstream: Upstream): ReadonlySet<string> {
  return new Set(upstream.kinds().map((kind) => upstream.credentialOf(kind)))
}
