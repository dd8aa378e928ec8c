/**
 * One seed is one history, in three phases: safety (everything may go wrong), liveness (nothing goes wrong any more, and
 * all that was begun must end), and the end (stop, open again, look at the file).
 */

import { DAY, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createClient } from './client.ts'
import { type Chaos, createChaos, drawPlan, type Plan } from './faults.ts'
import { AT_THE_END, L6_nothingStarves } from './invariants.ts'
import { type Ledger, noteBlow } from './ledger.ts'
import type { Mark } from './marks.ts'
import type { Rows } from './rows.ts'
import { createWorld, type RunningDaemon, type World } from './world.ts'

export interface Report {
  readonly seed: number
  /** `invariant: what is wrong`; empty when the history is as it must be. */
  readonly violations: readonly string[]
  readonly marks: ReadonlyMap<Mark, number>
  readonly history: string
  readonly ledger: Ledger
  readonly stats: {
    readonly lives: number
    readonly queries: number
    readonly posts: number
    readonly virtualMs: number
  }
}

const CHECK_EVERY_MS = 30 * SECOND
const STEPS_MAX = 3_000
/** The longest wait of a schedule, and a clock that was set back by two days. */
const WAIT_MS_MAX = 4 * DAY

export function simulate(seed: number): Promise<Report> {
  const plan = drawPlan(seed)
  return simulatePlan(plan, createChaos(plan))
}

export async function simulatePlan(plan: Plan, chaos: Chaos): Promise<Report> {
  const world = createWorld(plan, chaos)
  try {
    await live(world)
  } catch (error) {
    world.ledger.violations.push(`thrown: ${error instanceof Error ? error.stack : String(error)}`)
  } finally {
    world.dispose()
  }
  const { ledger, history, time } = world
  const lives =
    1 + ledger.blows.filter(({ kind }) => kind === 'crash' || kind === 'power_loss' || kind === 'restart').length
  return {
    seed: plan.seed,
    violations: ledger.violations,
    marks: ledger.marks,
    history: history.text(),
    ledger,
    stats: { lives, queries: ledger.queries.length, posts: ledger.posts.length, virtualMs: time.now() },
  }
}

async function live(world: World): Promise<void> {
  const { plan, time, ledger, history } = world
  const isBroken = () => ledger.violations.length > 0
  const client = createClient(world)
  layOutBlows(world)
  world.start()
  client.start()
  await time.run(plan.safetyMs, isBroken)
  if (isBroken()) return

  history.note('— nothing goes wrong any more —')
  world.calm()
  await time.run(time.now() + 2 * MINUTE, () => isBroken() || world.daemon() !== null)
  client.calm()
  await time.run(time.now() + 5 * MINUTE, isBroken)
  await untilAllHasEnded(world, () => client.isSatisfied())
  if (isBroken()) return

  await restart(world)
  const before = { queries: ledger.queries.length, posts: ledger.posts.length }
  await time.run(time.now() + MINUTE, isBroken)
  world.checkRows()
  if (world.daemon() === null) ledger.violations.push('L7_stopsInTime: the daemon did not come back')
  if (ledger.queries.length > before.queries) ledger.violations.push('S8_asksOnlyWhatIsDue: asked when all had ended')
  if (ledger.posts.length > before.posts)
    ledger.violations.push('S6_noResendAfterCommittedSuccess: sent when all had ended')
}

async function restart(world: World): Promise<void> {
  const stopped = world.stop(25 * SECOND, 1)
  await world.time.run(world.time.now() + MINUTE, () => world.ledger.violations.length > 0)
  if (world.ledger.violations.length === 0) await stopped
}

function layOutBlows(world: World): void {
  const { plan, time, ledger, history } = world
  for (const { at, byMs } of plan.clockJumps) {
    time.at(at, () => {
      history.note(`the clock is set by ${byMs} ms`)
      time.setWall(byMs)
      ledger.wallMax = Math.max(ledger.wallMax, time.machine())
      noteBlow(ledger, byMs < 0 ? 'clock_back' : 'clock_forward', time.now(), byMs)
    })
  }
  for (const { from, until } of plan.stops) time.at(from, () => world.freeze(until))
  layOutChores(world)
  for (const { at, graceMs } of plan.restarts) time.at(at, () => void world.stop(graceMs, SECOND))
}

/** What the daemon's calendar does beside its loops. */
function layOutChores({ time, daemon, plan }: World): void {
  const never = new AbortController().signal
  const isTroubled = plan.storeTroubles.length > 0 || plan.commitErrors.perCommit > 0
  const every = (ms: number, run: (daemon: RunningDaemon) => Promise<void>) => {
    const again = () => {
      const running = daemon()
      // What a full disk refuses is logged by the daemon's calendar, and tried again the next time.
      if (running !== null) time.reach(running, 0, () => void run(running).catch(() => {}))
      time.at(time.now() + ms, again)
    }
    time.at(ms, again)
  }
  const oftenMs = isTroubled ? MINUTE : 20 * MINUTE
  every(plan.isLong ? 6 * HOUR : oftenMs, ({ engine }) => engine.janitor.checkpoint())
  every(plan.isLong ? 6 * HOUR : HOUR, ({ engine }) => engine.janitor.forgetOld(never))
}

/** What every item may wait for beyond its own instant: bans, pauses, leases, confirmations, the queue before it. */
function slackMs({ options, taskCount }: Plan): number {
  const queueMs = (taskCount * 20 * SECOND) / options.budget.rate
  const leaseMs = options.pollLeaseMs + options.deliveryLeaseMs + options.idleMs
  return 12 * MINUTE + 4 * options.cadence.intervalMaxMs + queueMs + leaseMs
}

async function untilAllHasEnded(world: World, isSatisfied: () => boolean): Promise<void> {
  const { plan, time, ledger } = world
  let isResting = false
  for (let step = 0; step < STEPS_MAX && ledger.violations.length === 0; step += 1) {
    const rows = world.rows().read()
    world.checkRows()
    const waiting = pendingOf(rows)
    if (waiting.length === 0 && isSatisfied()) break
    const overdue = waiting.filter(({ at }) => at + slackMs(plan) < time.wall()).map(({ row }) => row)
    world.check([L6_nothingStarves], { overdue })
    const nextAt = Math.min(...waiting.map(({ at }) => at))
    // Only when this process has done all that was due: another start would mend one that is stuck.
    if (!isResting && nextAt > time.wall() + 2 * MINUTE && isSatisfied()) {
      isResting = true
      world.rest()
      await restart(world)
    }
    const isSane = nextAt < time.wall() + WAIT_MS_MAX || waiting.length === 0
    if (!isSane) ledger.violations.push(`L6_nothingStarves: nothing is due for ${nextAt - time.wall()} ms`)
    const waitMs = Number.isFinite(nextAt) ? Math.max(0, nextAt - time.wall()) : 0
    await time.run(time.now() + waitMs + CHECK_EVERY_MS, () => ledger.violations.length > 0)
  }
  if (ledger.violations.length > 0) return
  if (!isSatisfied()) ledger.violations.push('S3_acknowledgedIsKept: a client asks and asks and gets no answer')
  world.check(AT_THE_END, { ledger, rows: world.rows().read(), wall: epochMs(time.wall() + HOUR) })
}

type Row = Rows['tasks'][number] | Rows['deliveries'][number]

function pendingOf(rows: Rows): readonly { readonly row: Row; readonly at: number }[] {
  const tasks = rows.tasks.filter(({ status }) => status === 'pending')
  const deliveries = rows.deliveries.filter(({ status }) => status === 'pending')
  // What waits for a disabled endpoint waits for its probe.
  const probeAts = new Map(rows.endpoints.map(({ id, probe_at }) => [id as string, probe_at]))
  return [
    ...tasks.map((row) => ({ row, at: Math.min(row.next_poll_at ?? 0, row.deadline_at) })),
    ...deliveries.map((row) => ({ row, at: Math.max(row.next_attempt_at ?? 0, probeAts.get(row.endpoint_id) ?? 0) })),
  ]
}

export function seedText(seed: number): string {
  return `0x${(seed >>> 0).toString(16).padStart(8, '0')}`
}
