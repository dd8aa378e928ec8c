/** The steps of the path in their loops: register wakes the scheduler, the scheduler wakes the dispatcher. */

import type { BudgetSettings } from '../core/budget.ts'
import type { CadenceSettings } from '../core/cadence.ts'
import { AppError, assert } from '../core/errors.ts'
import type { SigningKey } from '../core/signature.ts'
import { after, SECOND } from '../core/time.ts'
import type { Clock, GuardUrl, Log, NewId, Post, Random, Upstream } from '../ports.ts'
import type { Registered, Store } from '../store/store.ts'
import { createCadences } from './cadences.ts'
import { createClockWatch } from './clock-watch.ts'
import { createDispatcher } from './dispatcher.ts'
import { createHealth, type Health } from './health.ts'
import { createJanitor, type Janitor } from './janitor.ts'
import { createJobs, type Jobs } from './jobs.ts'
import { createLoop, type Loop, type Tick } from './loop.ts'
import { logTold } from './operator-log.ts'
import { createPuller, type Puller } from './pull.ts'
import { createRegistrar, type Registrar } from './register.ts'
import { createScheduler } from './scheduler.ts'
import { createTrials, type Trials } from './trial.ts'
import { createWatchdog, type WatchdogDeps, type WatchdogOptions } from './watchdog.ts'

export interface EngineDeps {
  readonly store: Store
  readonly upstream: Upstream
  readonly post: Post
  readonly guardUrl: GuardUrl
  readonly clock: Clock
  readonly newId: NewId
  readonly random: Random
  readonly log: Log
  readonly signingKeys: readonly SigningKey[]
  /** Without it nobody notices when a loop falls silent. */
  readonly watch?: Pick<WatchdogDeps, 'cpuMs' | 'onStalled'> & WatchdogOptions
}

export interface EngineOptions {
  readonly pollConcurrency: number
  readonly budget: BudgetSettings
  readonly cadence: CadenceSettings
  readonly taskDeadlineMs: number
  readonly pollLeaseMs: number
  readonly deliveryConcurrency: number
  readonly endpointConcurrency: number
  readonly deliveryDeadlineMs: number
  readonly deliveryLeaseMs: number
  readonly retryScheduleMs: readonly number[]
  readonly retentionMs: number
  /** How long a loop sleeps at most without being woken; due times are exact, this is the net below them. */
  readonly idleMs: number
  /** How often the store proves that it can commit. */
  readonly probeEveryMs: number
  /** For how long it may fail to, before the daemon is not ready. */
  readonly storeSilentMsMax?: number
}

export interface Engine {
  readonly registrar: Registrar
  readonly puller: Puller
  readonly trials: Trials
  readonly janitor: Janitor
  readonly health: Health
  readonly jobs: Jobs
  wakeScheduler(): void
  wakeDispatcher(): void
  start(): void
  /** No more claims; what is under way ends, or is given back after `graceMs`. */
  stop(graceMs: number): Promise<void>
}

/** After a tick that threw, or whose claim was refused. */
const FAILURE_MS = SECOND
/** Somebody's `sqlite3` shell may hold the store for a while. */
const STORE_SILENT_MS_MAX = 30 * SECOND

export function createEngine(deps: EngineDeps, options: EngineOptions): Engine {
  const { store, upstream, post, guardUrl, clock, log } = deps
  assert(options.deliveryLeaseMs > options.deliveryDeadlineMs, 'a lease outlives the longest attempt')
  const wakeScheduler = () => schedulerLoop.wake()
  const wakeDispatcher = () => dispatcherLoop.wake()

  const cadences = createCadences({ store, log }, options.cadence)
  const scheduler = createScheduler(
    {
      ...deps,
      upstream,
      cadences,
      wakeBy: (at) => schedulerLoop.wakeBy(at),
      onSettling: (recording) => dispatcher.noteSettling(recording),
    },
    {
      concurrency: options.pollConcurrency,
      budget: options.budget,
      cadence: options.cadence,
      leaseMs: options.pollLeaseMs,
    },
  )
  const dispatcher = createDispatcher(
    { ...deps, post, wake: wakeDispatcher },
    {
      concurrency: options.deliveryConcurrency,
      endpointConcurrency: options.endpointConcurrency,
      deadlineMs: options.deliveryDeadlineMs,
      leaseMs: options.deliveryLeaseMs,
      scheduleMs: options.retryScheduleMs,
    },
  )
  const trials = createTrials(deps, { deadlineMs: options.deliveryDeadlineMs })
  const janitor = createJanitor(
    { ...deps, onSettled: wakeDispatcher },
    { retentionMs: options.retentionMs, leaseMs: options.pollLeaseMs },
  )
  const jobs = createJobs({ store, clock, log, wake: () => jobsLoop.wake(), onQueued: wakeDispatcher })
  const registrar = createRegistrar(
    { store, upstream, guardUrl, clock, cadences, onRegistered },
    { taskDeadlineMs: options.taskDeadlineMs },
  )
  const watchdog =
    deps.watch && createWatchdog({ clock, log, ...deps.watch, isExcused: () => health.isStoreHeld() }, deps.watch)
  const health: Health = createHealth(
    { store, clock, log, silentLoops: () => watchdog?.silentLoops() ?? [] },
    { probeEveryMs: options.probeEveryMs, storeSilentMsMax: options.storeSilentMsMax ?? STORE_SILENT_MS_MAX },
  )
  const clockWatch = createClockWatch({ clock, store, log, onMoved })

  function onMoved(byMs: number): void {
    scheduler.clockMoved()
    health.clockMoved(byMs)
    watchdog?.clockMoved(byMs)
    for (const loop of loops) loop.wake()
  }

  function onRegistered(registered: readonly Registered[]): void {
    const tasks = registered.flatMap((one) => (one.kind === 'registered' ? [one.task] : []))
    if (tasks.some((task) => task.status === 'pending')) wakeScheduler()
    if (tasks.some((task) => task.eventId !== null)) wakeDispatcher()
  }

  /**
   * A store that cannot record refuses the claims too: nothing is asked or sent whose answer could not be kept. It says
   * itself why; the loop only comes again.
   */
  const unlessRefused =
    (tick: Tick): Tick =>
    async () => {
      try {
        return await tick()
      } catch (error) {
        if (error instanceof AppError) return after(clock.now(), FAILURE_MS)
        throw error
      }
    }
  const byTheClock =
    (tick: Tick): Tick =>
    () => {
      clockWatch.look()
      return tick()
    }
  const pace = { clock, log, idleMs: options.idleMs, failureMs: FAILURE_MS, beatAt: clock.now() }
  const loopOf = (name: string, tick: Tick) => {
    const onTick = watchdog?.watch(name) ?? (() => {})
    return createLoop(name, byTheClock(unlessRefused(tick)), { ...pace, onTick })
  }
  const schedulerLoop = loopOf('scheduler', scheduler.tick)
  const dispatcherLoop = loopOf('dispatcher', dispatcher.tick)
  const jobsLoop = loopOf('jobs', jobs.tick)
  const loops: readonly Loop[] = [
    schedulerLoop,
    dispatcherLoop,
    jobsLoop,
    loopOf('expiry', janitor.expireOverdue),
    loopOf('health', health.probe),
  ]
  // After the loops: what opening the store found to tell is handed over at once, and wakes one of them.
  store.onTold((told) => {
    for (const event of told) logTold(log, event)
    wakeDispatcher()
  })

  return {
    registrar,
    puller: createPuller(deps),
    trials,
    janitor,
    health,
    jobs,
    wakeScheduler,
    wakeDispatcher,
    start() {
      for (const loop of loops) loop.start()
      watchdog?.start()
    },
    async stop(graceMs) {
      watchdog?.stop()
      await Promise.all(loops.map((loop) => loop.stop()))
      await Promise.all([scheduler.drain(graceMs), dispatcher.drain(graceMs), trials.drain(graceMs)])
    },
  }
}
