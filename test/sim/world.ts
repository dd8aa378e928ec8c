/**
 * One world from one plan: the real engine, rules and SQLite store between a simulated upstream and simulated receivers,
 * in virtual time, on a disk that remembers what was synced, with a process that can die at any port call.
 *
 * A crash copies the database and its write-ahead log as they are at that instant, and everything in memory is gone: the
 * next life opens the copy. A power failure also takes what was not synced, and may leave half a commit at the end.
 */

import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { ENTROPY_BYTES, encodeId } from '../../src/core/ids.ts'
import { epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { createEngine, type Engine } from '../../src/engine/engine.ts'
import type { Log, NewId } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Store } from '../../src/store/store.ts'
import { ALLOW_NOTHING, createAddressGuard } from '../../src/webhook/address-guard.ts'
import { likeAThread } from '../support/like-a-thread.ts'
import { KEY, SECRET } from '../support/world.ts'
import { type Life, postDoor, type Surroundings, storeDoor, upstreamDoor } from './doors.ts'
import { CALM, type Chaos, type CommitError, type CrashPoint, type Plan } from './faults.ts'
import { createHistory, type History } from './history.ts'
import { L7_stopsInTime, ON_ROWS } from './invariants.ts'
import { createLedger, type Ledger, note, noteBlow, noteSeen, reopenQueued } from './ledger.ts'
import { createChance } from './random.ts'
import { createReceivers, type Receivers, URL_CANARY } from './receivers.ts'
import { type EndpointRow, openRowReader, type RowReader, type Rows } from './rows.ts'
import { diskError, watchCommits } from './sqlite-witness.ts'
import { createVirtualTime, type VirtualTime } from './time.ts'
import { createSimulatedUpstream, type SimulatedUpstream } from './upstream.ts'

export interface RunningDaemon extends Life {
  /** The engine's own way in. */
  readonly engine: Engine
  /** The store behind its door. */
  readonly store: Store
  /** Resolves when the process is gone, however it went. */
  readonly gone: Promise<void>
}

export interface World {
  readonly plan: Plan
  readonly time: VirtualTime
  readonly ledger: Ledger
  readonly history: History
  readonly upstream: SimulatedUpstream
  readonly receivers: Receivers
  /** Null while no process runs. */
  daemon(): RunningDaemon | null
  /** Stops gracefully and starts again after `downMs`; null does not start again. */
  stop(graceMs: number, downMs: number | null): Promise<void>
  start(): void
  /** From the next start on the loops sleep for long: days pass in which nothing is due. */
  rest(): void
  /** SIGSTOP until this true time. */
  freeze(until: number): void
  rows(): RowReader
  /** How many rows the daemon's writer has changed. */
  changeCount(): number
  /** Row invariants, now. */
  checkRows(): void
  check<V>(invariants: readonly ((view: V) => readonly string[])[], view: V): void
  /** No more faults, and nobody left in a bad state. */
  calm(): void
  dispose(): void
}

const SHM = '/dev/shm'
/** An fsync in memory costs nothing; what it means for a crash is modelled here. */
const ROOT = existsSync(SHM) ? SHM : tmpdir()
const CHECK_EVERY_COMMITS = 40
const DOWN_MS_MAX = 60 * SECOND
/** Where a checkpoint may have been part of the commit, the log is no longer the only place of its pages. */
const TEARABLE_WAL_BYTES_MAX = 900 * 4096
/** `pragma max_page_count`'s own largest value. */
const PAGES_MAX = 4_294_967_294

let template: string | null = null

/** An empty database with an id that is the same in every history; migrating one anew for each seed would cost most. */
function templateDatabase(): string {
  if (template !== null) return template
  const directory = mkdtempSync(join(ROOT, 'ringback-sim-template-'))
  const path = join(directory, 'ringback.db')
  const time = createVirtualTime()
  const clock = time.clockOf({ isDead: () => false, stoppedUntil: () => 0 })
  void openSqliteStore({ path, clock, newId: idsFrom(0), onDamaged: fail }).close()
  const db = new Database(path)
  db.prepare(`update _meta set value = '00000000-0000-4000-8000-000000000000' where key = 'database_id'`).run()
  db.pragma('wal_checkpoint(truncate)')
  db.close()
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  template = path
  return path
}

function fail(error: Error): never {
  throw error
}

function idsFrom(seed: number): NewId {
  const chance = createChance(seed).fork('ids')
  let at = 0
  return (prefix) => {
    at += 1
    return encodeId(prefix, at as never, chance.bytes(ENTROPY_BYTES))
  }
}

interface MutableDaemon extends RunningDaemon {
  readonly path: string
  readonly inner: Store
  readonly writer: Database.Database
  readonly reader: RowReader
  /** Each commit is flushed to the disk. */
  readonly isSynced: boolean
  /** What of the write-ahead log a power failure leaves. */
  syncedBytes: number
  end(): void
}

export function createWorld(plan: Plan, chaosOf: Chaos): World {
  const directory = mkdtempSync(join(ROOT, 'ringback-sim-'))
  const time = createVirtualTime()
  const chance = createChance(plan.seed).fork('world')
  const upstream = createSimulatedUpstream(plan)
  const receivers = createReceivers(plan)
  const ledger = createLedger(plan, upstream)
  const history = createHistory(time.now)
  const newId = idsFrom(plan.seed)
  const random = createChance(plan.seed).fork('engine').next
  const guard = createAddressGuard({ allow: ALLOW_NOTHING, ownOrigins: () => [] })
  let chaos = chaosOf
  let daemon: MutableDaemon | null = null
  let nextPath = pathOf(1)
  let lives = 0
  let stoppedUntil = 0
  let commits = 0
  let isResting = false
  let foreignWriter: Database.Database | null = null
  let schema: string | null = null
  copyFileSync(templateDatabase(), nextPath)

  const world: Surroundings = {
    time,
    ledger,
    history,
    upstream,
    receivers,
    chaos: () => chaos,
    die: crash,
    refused: () => daemon?.reader.refused() ?? [],
    deliveryRows: () => daemon?.reader.read().deliveries ?? [],
    standingOf: (endpointId) => daemon?.reader.standingOf(endpointId),
    isDiskFull: () => isIn('full'),
    hasLeft,
    check,
  }

  function pathOf(life: number): string {
    const folder = join(directory, String(life))
    mkdirSync(folder, { recursive: true })
    return join(folder, 'ringback.db')
  }

  function isIn(kind: 'full' | 'really_full' | 'busy'): boolean {
    return plan.storeTroubles.some(
      (one) => one.kind === kind && time.now() >= one.from && time.now() < one.until && chaos !== CALM,
    )
  }

  function check<V>(invariants: readonly ((view: V) => readonly string[])[], view: V): void {
    for (const invariant of invariants) {
      for (const problem of invariant(view)) violate(`${invariant.name}: ${problem}`)
    }
  }

  function violate(line: string): void {
    ledger.violations.push(line)
    history.note(`VIOLATED ${line}`)
  }

  function checkRows(): void {
    if (daemon === null) return
    ledger.wallMax = Math.max(ledger.wallMax, time.wall())
    const rows = daemon.reader.read()
    check(ON_ROWS, { ledger, rows, wall: time.wall() })
    noteSeen(ledger, rows)
  }

  function changeCount(): number {
    return Number(daemon?.writer.prepare('select total_changes()').pluck().get() ?? 0)
  }

  function logOf(life: Life): Log {
    const write: Log['info'] = (fields, message) => (life.isDead() ? undefined : noteLog(fields, message))
    return { debug: write, info: write, warn: write, error: write }
  }

  function noteLog(fields: Readonly<Record<string, unknown>>, message: string): void {
    const text = `${message} ${JSON.stringify(fields)}`
    if (text.includes(URL_CANARY) || text.includes(SECRET)) violate(`S14: a log line tells a secret: ${text}`)
    const { event, error } = fields
    // Folders have names that nobody draws from the seed.
    const reason = (error instanceof Error ? error.message : String(error)).replaceAll(directory, '')
    if (error !== undefined) history.note(`log ${String(event)}: ${reason}`)
  }

  function start(): void {
    lives += 1
    const number = lives
    const path = nextPath
    let isDead = false
    let resolveGone = () => {}
    const gone = new Promise<void>((resolve) => {
      resolveGone = resolve
    })
    const life: Life = { number, isDead: () => isDead, stoppedUntil: () => stoppedUntil }
    const clock = time.clockOf(life, plan.isLong || isResting ? HOUR : MINUTE)
    const watch = { before: () => beforeCommit(life), after: () => afterCommit(life) }
    const onDamaged = () => {
      note(ledger, 'damaged_exit')
      crash('store.commit.after', 'die')
    }
    const { opened: inner, writer } = watchCommits(() => openSqliteStore({ path, clock, newId, onDamaged }), watch)
    // A lock that is waited for in real time would stop virtual time.
    writer.pragma('busy_timeout = 0')
    const reader = openRowReader(path)
    const store = storeDoor(plan.isBehindThread ? likeAThread(inner, clock) : inner, life, world)
    const engine = createEngine(
      {
        store,
        upstream: upstreamDoor(life, world),
        post: postDoor(life, world),
        guardUrl: guard.judgeUrl,
        clock,
        newId,
        random,
        log: logOf(life),
        signingKeys: [KEY],
      },
      isResting ? { ...plan.options, idleMs: HOUR, probeEveryMs: HOUR } : plan.options,
    )
    const end = () => {
      isDead = true
      resolveGone()
    }
    const isSynced = writer.pragma('synchronous', { simple: true }) === 2
    daemon = { ...life, engine, store, gone, path, inner, writer, reader, isSynced, syncedBytes: walBytes(path), end }
    history.note(`daemon ${number} starts`)
    checkFile(reader)
    ledger.tokens.clear()
    takeUpFrom(reader.read())
    checkRows()
    squeeze()
    const url = receivers.operatorUrl
    store.keepOperatorEndpoint({ now: clock.now(), url }).then(noteOperator, (error: unknown) => {
      if (!life.isDead()) history.note(`the operator is not kept: ${String(error)}`)
    })
    engine.start()
  }

  function noteOperator(): void {
    const events = daemon?.reader.read().events ?? []
    ledger.toldBefore ??= new Set(events.flatMap(({ id, task_id }) => (task_id === null ? [id] : [])))
  }

  /** What the life before did and nobody lived to tell. */
  function takeUpFrom(rows: Rows): void {
    // A clock that was set back while nobody ran, or before a crash, has moved what stands on disk.
    for (const { id, next_poll_at } of rows.tasks)
      if (next_poll_at !== null && ledger.nextPollAt.has(id)) ledger.nextPollAt.set(id, epochMs(next_poll_at))
    // One that was set forward meanwhile looks like a long time off: then what waited is due.
    if (plan.clockJumps.length > 0) {
      ledger.retryAt.clear()
      for (const probing of ledger.probing.values()) probing.dueAt = 0
    }
    reopenQueued(ledger, rows.deliveries)
    const refused = rows.paused.map(({ name }) => name)
    for (const name of [...ledger.refusedSince.keys()]) if (!refused.includes(name)) ledger.refusedSince.delete(name)
    for (const endpoint of rows.endpoints) takeUpEndpoint(endpoint)
    if (rows.jobs.some(({ status }) => status === 'running')) note(ledger, 'job_resumed')
  }

  function takeUpEndpoint({ id, url, status, disabled_reason }: EndpointRow): void {
    const isProbed = status === 'disabled' && disabled_reason === 'failing'
    const isKnown = ledger.probing.has(id)
    if (isProbed && !isKnown) ledger.probing.set(id, { failedCount: 0, dueAt: 0 })
    if (isProbed || !isKnown) return
    ledger.probing.delete(id)
    if (status === 'enabled') ledger.closedUrls.delete(url)
  }

  /** S20: the file is whole, and the schema is the one that is wanted. */
  function checkFile(reader: RowReader): void {
    for (const fault of reader.faults()) violate(`S20: ${fault}`)
    schema ??= reader.schema()
    if (schema !== reader.schema()) violate('S20: the schema has changed')
  }

  function beforeCommit(life: Life): void {
    if (life.isDead() || daemon === null) return
    const fate = chaos.fateAt('store.commit.before')
    if (fate === 'die') return crash('store.commit.before', 'die')
    if (fate === 'power_loss') {
      tearing = { life, bytes: walBytes(daemon.path) }
      return
    }
    commitError = chaos.commitError()
    if (commitError === 'broken') throw diskError('SQLITE_IOERR_WRITE', 'disk I/O error')
    if (commitError !== 'full') return
    note(ledger, 'commit_without_room')
    throw diskError('SQLITE_FULL', 'database or disk is full')
  }
  /** Of the commit that is being made. */
  let commitError: CommitError | null = null
  /** The power fails while this commit is being written: how long the log was before it. */
  let tearing: { readonly life: Life; readonly bytes: number } | null = null

  function afterCommit(life: Life): void {
    if (life.isDead() || daemon === null) return
    if (tearing !== null) {
      const { bytes } = tearing
      tearing = null
      return crash('store.commit.before', 'power_loss', bytes)
    }
    if (daemon.isSynced) daemon.syncedBytes = walBytes(daemon.path)
    const fate = chaos.fateAt('store.commit.after')
    if (fate !== 'live') {
      note(ledger, 'crash_between_commit_and_answer')
      return crash('store.commit.after', fate)
    }
    if (commitError === 'broken_late') throw diskError('SQLITE_IOERR_FSYNC', 'disk I/O error')
    commits += 1
    if (commits % CHECK_EVERY_COMMITS === 0) checkRows()
  }

  /** `tornAt`: the length of the log before the commit that was cut off. */
  function crash(point: CrashPoint, fate: 'die' | 'power_loss', tornAt?: number): void {
    if (daemon === null || daemon.isDead()) return
    const old = daemon
    nextPath = pathOf(lives + 1)
    copyFileSync(old.path, nextPath)
    if (walBytes(old.path) > 0) copyFileSync(`${old.path}-wal`, `${nextPath}-wal`)
    if (fate === 'power_loss') losePower(old, tornAt)
    history.note(`daemon ${old.number} ${fate === 'die' ? 'dies' : 'loses power'} at ${point}`)
    noteBlow(ledger, fate === 'die' ? 'crash' : 'power_loss', time.now())
    old.end()
    endDown(old, chance.integer(0, DOWN_MS_MAX), true)
  }

  function losePower(old: MutableDaemon, tornAt: number | undefined): void {
    const wal = `${nextPath}-wal`
    const bytes = walBytes(nextPath)
    if (tornAt !== undefined && bytes > tornAt && bytes < TEARABLE_WAL_BYTES_MAX) {
      note(ledger, 'crash_during_commit')
      return truncateSync(wal, chance.integer(tornAt, bytes - 1))
    }
    if (bytes > old.syncedBytes && bytes < TEARABLE_WAL_BYTES_MAX)
      return truncateSync(wal, chance.integer(old.syncedBytes, bytes - 1))
    // What the disk was about to write when the power went.
    if (bytes > 0 && chance.happens(0.5)) appendFileSync(wal, chance.bytes(chance.integer(1, 5000)))
  }

  function endDown(old: MutableDaemon, downMs: number | null, isCrash: boolean): void {
    for (const query of ledger.queries) if (query.life === old.number) query.endedAt ??= time.now()
    for (const post of ledger.posts) if (post.life === old.number) post.endedAt ??= time.now()
    stoppedUntil = 0
    daemon = null
    time.at(time.now(), () => {
      foreignWriter?.close()
      foreignWriter = null
      old.reader.close()
      // The old file is nobody's any more: whatever closing it writes is not seen again.
      if (isCrash) void old.inner.close().catch(() => {})
      if (isCrash) rmSync(dirname(old.path), { recursive: true, force: true })
    })
    if (downMs !== null) time.at(time.now() + Math.max(1, downMs), () => (daemon === null ? start() : undefined))
  }

  async function stop(graceMs: number, downMs: number | null): Promise<void> {
    const old = daemon
    if (old === null || old.isDead()) return
    history.note(`daemon ${old.number} is told to stop within ${graceMs} ms`)
    const startedAt = Math.max(time.now(), stoppedUntil)
    const mayWait = plan.storeTroubles.length > 0 || plan.commitErrors.perCommit > 0
    // What waits for room or for a lock by then is refused when the store closes; all else ends within the grace.
    const patience = mayWait ? [new Promise<void>((resolve) => void time.reach(old, graceMs + SECOND, resolve))] : []
    await Promise.race([old.engine.stop(graceMs), old.gone, ...patience])
    if (old.isDead()) return
    await old.inner.close()
    // What waited is written while it closes, and it may die of that.
    if (old.isDead()) return
    const isTroubled = mayWait || ledger.blows.some(({ kind }) => kind === 'stopped')
    if (!isTroubled) check([L7_stopsInTime], { tookMs: time.now() - startedAt, graceMs })
    noteBlow(ledger, 'restart', time.now())
    history.note(`daemon ${old.number} has stopped`)
    nextPath = old.path
    old.end()
    endDown(old, downMs, false)
  }

  /** Something of the process is out in the world; where it comes back to may be stopped by then. */
  function hasLeft(life: Life, latencyMs: number): void {
    const stopped = chaos.stopUnderWay(latencyMs)
    if (stopped === null) return
    time.at(time.now() + stopped.afterMs, () => {
      if (!life.isDead()) freeze(time.now() + stopped.forMs)
    })
  }

  function freeze(until: number): void {
    // What is stopped at the end of the faults goes on then.
    const endsAt = Math.min(until, plan.safetyMs)
    if (daemon === null || endsAt <= Math.max(time.now(), stoppedUntil)) return
    history.note(`the process is stopped for ${endsAt - time.now()} ms`)
    stoppedUntil = endsAt
    noteBlow(ledger, 'stopped', time.now())
    time.at(endsAt, () => noteBlow(ledger, 'stopped', time.now()))
    const isUnderWay = [...ledger.posts, ...ledger.queries].some(({ endedAt }) => endedAt === null)
    if (isUnderWay) note(ledger, 'sleep_resume')
  }

  /** Puts the disk and the lock into the state that the plan wants now. */
  function squeeze(): void {
    if (daemon === null || daemon.isDead()) return
    const { writer, path } = daemon
    const pages = isIn('really_full') ? Number(writer.pragma('page_count', { simple: true })) : PAGES_MAX
    writer.pragma(`max_page_count = ${pages}`)
    if (isIn('full') || isIn('really_full')) note(ledger, 'disk_full_degraded')
    if (!isIn('busy')) {
      foreignWriter?.close()
      foreignWriter = null
    } else if (foreignWriter === null) {
      foreignWriter = new Database(path, { timeout: 0 })
      foreignWriter.exec('begin immediate')
      note(ledger, 'busy_retry')
    }
  }

  for (const { from, until, kind } of plan.storeTroubles) {
    const turn = () => {
      if (chaos === CALM) return
      if (kind === 'busy') noteBlow(ledger, 'busy', time.now())
      history.note(`the store is ${kind} from ${from} to ${until}`)
      squeeze()
    }
    time.at(from, turn)
    time.at(until, turn)
  }

  function walBytes(path: string): number {
    return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  }

  return {
    plan,
    time,
    ledger,
    history,
    upstream,
    receivers,
    daemon: () => (daemon?.isDead() === false ? daemon : null),
    stop,
    start,
    rest() {
      isResting = true
    },
    freeze,
    rows: () => daemon!.reader,
    changeCount,
    checkRows,
    check,
    calm() {
      chaos = CALM
      stoppedUntil = 0
      upstream.calm()
      receivers.calm()
      squeeze()
    },
    dispose() {
      const old = daemon
      old?.end()
      foreignWriter?.close()
      old?.reader.close()
      void old?.inner.close().catch(() => {})
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
