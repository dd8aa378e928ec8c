/**
 * Group commit: the steps that are waiting at one moment share one transaction, and so one fsync.
 *
 * A step runs only when its group does. Its promise resolves after the commit: who has an answer has it on disk, in the
 * file that people will find there. With `synchronous = FULL` a commit costs a flush of the disk (0.3 ms on an SSD, 5 ms
 * on a slow disk); while one group commits the next gathers, so the cost of a flush is shared by more steps the slower
 * the disk is.
 *
 * A step that throws is undone alone; the others of its group go on. That costs only a group that has one (decision 0010):
 * it is undone as a whole and run again with a savepoint around each step. When the commit itself fails, nothing of the
 * group is on disk.
 *
 * Claims go first: what they hand out can be on its way while the group behind them is written (decision 0011). Not past a
 * record that leaves less to claim, nor past one that has waited for so long that its lease may have ended, and not twice
 * in a row, so that no group waits for them for ever.
 *
 * Two things can keep all steps from being written for a while, and neither is an error: another program holds the lock,
 * or the disk is full. What a step does then is its patience.
 */

import Database from 'better-sqlite3'
import { AppError, DamagedError } from '../../core/errors.ts'
import { after, type EpochMs, SECOND } from '../../core/time.ts'
import type { Clock, Log } from '../../ports.ts'
import type { Disk } from './disk.ts'
import { isBusy } from './lock.ts'
import type { WriteAheadLog } from './write-ahead-log.ts'

export interface GroupCommit {
  /** `itemCount`: how many tasks, polls, attempts it is about. */
  write<T>(step: () => T, patience?: Patience, itemCount?: number): Promise<T>
  /** Nothing is written any more, and the process has to end. */
  fail(error: unknown): void
  /** Runs what is waiting and refuses what comes later. */
  close(): void
}

export interface GroupCommitDeps {
  readonly db: Database.Database
  readonly clock: Pick<Clock, 'now' | 'soon' | 'wakeAt'>
  readonly disk: Pick<Disk, 'state' | 'refusal' | 'filled' | 'displaced'>
  readonly wal: Pick<WriteAheadLog, 'empty'>
  /** Called whenever rows may not be as somebody remembers them: before each transaction, and when a step was undone. */
  readonly forgetRows?: () => void
  /** Called once, with the error after which nothing is written any more. */
  readonly onDamaged: (error: DamagedError) => void
  readonly log?: Pick<Log, 'info' | 'warn'> | undefined
}

interface Manners {
  /** How long it may have waited when its turn comes. */
  readonly waitMsMax: number
  readonly whenFull: 'wait' | 'refuse' | 'try'
  /** Whether it runs before what came earlier, or keeps those that would from running before it. */
  readonly turn?: 'first' | 'before_claims'
}

const PATIENCE = {
  /** Has happened in the world already: unwritten, it would happen again. */
  record: { waitMsMax: Number.POSITIVE_INFINITY, whenFull: 'wait', turn: 'before_claims' },
  /** A record after which nothing less may be claimed than before it. */
  good_record: { waitMsMax: Number.POSITIVE_INFINITY, whenFull: 'wait' },
  /** A claim that is not to go before anything, or a piece of work that comes again when it is refused. */
  piece: { waitMsMax: 2 * SECOND, whenFull: 'refuse' },
  /** Begins something whose end has to be written. Its lease began when it was asked for, so it must not grow old. */
  claim: { waitMsMax: 2 * SECOND, whenFull: 'refuse', turn: 'first' },
  /** Somebody waits for the answer, and can ask again. */
  request: { waitMsMax: 5 * SECOND, whenFull: 'refuse' },
  /** Makes room. */
  chore: { waitMsMax: 15 * SECOND, whenFull: 'try' },
  /** Finds out. */
  probe: { waitMsMax: 2 * SECOND, whenFull: 'try' },
} as const satisfies Record<string, Manners>

export type Patience = keyof typeof PATIENCE

interface Waiting {
  readonly step: () => unknown
  readonly manners: Manners
  readonly itemCount: number
  readonly since: EpochMs
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/**
 * More in one group would make the others wait for longer than a request should: each takes some 30 µs. A step that is
 * larger by itself has a group of its own.
 */
const GROUP_ITEMS_MAX = 500
/** A foreign writer (somebody's `sqlite3` shell) has the lock: try again soon, without blocking anything. */
const BUSY_RETRY_MS_MIN = 20
const BUSY_RETRY_MS_MAX = 160
/** A lock that is held for longer is worth a line in the log. */
const BUSY_TOLD_AFTER_MS = 2 * SECOND
/** Far shorter than any lease: what waits for longer waits for a lock or a disk, and for nobody knows how long. */
const OVERTAKEN_MS_MAX = 2 * SECOND
const RETRY_AFTER_BUSY_MS = 5 * SECOND

/** After these the file or the disk cannot be trusted: writing on would make it worse, retrying an fsync would lie. */
const DAMAGE_CODES = /^SQLITE_(IOERR|CORRUPT|NOTADB)/
/** The last is how a full disk shows when the index of the log has to grow. */
const FULL_CODES = ['SQLITE_FULL', 'SQLITE_IOERR_SHMSIZE']

export function createGroupCommit({ db, clock, disk, wal, forgetRows, onDamaged, log }: GroupCommitDeps): GroupCommit {
  const begin = db.prepare('begin immediate')
  const commit = db.prepare('commit')
  const rollback = db.prepare('rollback')
  const savepoint = db.prepare('savepoint step')
  const release = db.prepare('release step')
  const undo = db.prepare('rollback to step')
  const lock = createLockWait(clock, log)
  const queue: Waiting[] = []
  let isScheduled = false
  /** The disk is full, and what waits has been tried in vain: the next chore or probe tries again. */
  let isStuck = false
  let isClosed = false
  let haveClaimsJustRun = false

  function write<T>(step: () => T, patience: Patience = 'request', itemCount = 1): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (isClosed) return reject(new Error('the store is closed'))
      const manners: Manners = PATIENCE[patience]
      if (manners.whenFull === 'refuse' && disk.state() === 'full') return reject(disk.refusal())
      const told = { resolve: resolve as (value: unknown) => void, reject }
      queue.push({ step, manners, itemCount, since: clock.now(), ...told })
      if (manners.whenFull === 'try') isStuck = false
      schedule()
    })
  }

  function schedule(): void {
    if (isScheduled || isStuck) return
    isScheduled = true
    clock.soon(flush)
  }

  function flush(): void {
    isScheduled = false
    refuseOld()
    if (queue.length === 0) return
    try {
      begin.run()
    } catch (error) {
      if (isBusy(error)) return retryLater()
      return failGroup(queue.splice(0), error)
    }
    lock.taken()
    const group = nextGroup()
    if (queue.length > 0) schedule()
    runGroup(group, runBare)
  }

  /** On a full disk what makes room goes first, and alone: the others might not fit, and would undo it. */
  function nextGroup(): readonly Waiting[] {
    const choreIndex = disk.state() === 'full' ? queue.findIndex(({ manners }) => manners.whenFull === 'try') : -1
    if (choreIndex !== -1) return queue.splice(choreIndex, 1)
    haveClaimsJustRun = !haveClaimsJustRun && mayClaimsGoFirst()
    return haveClaimsJustRun ? takeAll(isClaim) : queue.splice(0, stepCountOfNext())
  }

  function mayClaimsGoFirst(): boolean {
    const oldestSince = clock.now() - OVERTAKEN_MS_MAX
    const holdsClaims = ({ manners, since }: Waiting) =>
      manners.turn === 'before_claims' || (manners.whenFull === 'wait' && since < oldestSince)
    return queue.some(isClaim) && !queue.some(holdsClaims)
  }

  function stepCountOfNext(): number {
    let itemCount = 0
    const tooMany = queue.findIndex((waiting) => {
      itemCount += waiting.itemCount
      return itemCount > GROUP_ITEMS_MAX
    })
    return tooMany === -1 ? queue.length : Math.max(1, tooMany)
  }

  function runGroup(group: readonly Waiting[], runStep: (waiting: Waiting) => () => void): void {
    const settle: (() => void)[] = []
    forgetRows?.()
    try {
      for (const waiting of group) settle.push(runStep(waiting))
      commit.run()
    } catch (error) {
      const isOfOneStep = runStep === runBare && settle.length < group.length && !isOfGroup(error)
      if (db.inTransaction) rollback.run()
      return isOfOneStep ? runAgainApart(group) : failGroup(group, error)
    }
    const displaced = disk.displaced()
    if (displaced !== null) return failGroup(group, new DamagedError(displaced))
    for (const run of settle) run()
  }

  function runAgainApart(group: readonly Waiting[]): void {
    try {
      begin.run()
    } catch (error) {
      if (!isBusy(error)) return failGroup(group, error)
      queue.unshift(...group)
      return retryLater()
    }
    runGroup(group, runApart)
  }

  /** Returns how to tell the step's owner, once the commit has succeeded. */
  function runBare({ step, resolve }: Waiting): () => void {
    const value = step()
    return () => resolve(value)
  }

  /** As `runBare`, for a step that may throw: it is undone, and the group goes on. */
  function runApart({ step, resolve, reject }: Waiting): () => void {
    savepoint.run()
    try {
      const value = step()
      release.run()
      return () => resolve(value)
    } catch (error) {
      if (isOfGroup(error)) throw error
      undo.run()
      release.run()
      forgetRows?.()
      return () => reject(error)
    }
  }

  /** A disk that fails, or has no room, ends the whole transaction: then the group has failed, not the step. */
  function isOfGroup(error: unknown): boolean {
    return !db.inTransaction || isDamage(error) || isFull(error)
  }

  function retryLater(): void {
    if (isScheduled) return
    isScheduled = true
    clock.wakeAt(lock.nextTryAt(), flush)
  }

  /** Records are never among them: whoever forgets one does something in the world twice. */
  function refuseOld(): void {
    const now = clock.now()
    // Either way: a clock that was set back must not make anybody wait until it is where it was.
    const isOld = ({ manners, since }: Waiting) => Math.abs(now - since) > manners.waitMsMax
    for (const { reject } of takeAll(isOld)) reject(busyError())
  }

  function takeAll(isWanted: (waiting: Waiting) => boolean): readonly Waiting[] {
    if (!queue.some(isWanted)) return []
    const all = queue.splice(0)
    queue.push(...all.filter((waiting) => !isWanted(waiting)))
    return all.filter(isWanted)
  }

  function failGroup(group: readonly Waiting[], error: unknown): void {
    if (isFull(error)) return holdRecords(group)
    if (isDamage(error)) fail(error)
    for (const { reject } of group) reject(error)
  }

  function holdRecords(group: readonly Waiting[]): void {
    queue.unshift(...group)
    isStuck = true
    if (disk.filled()) {
      wal.empty()
      isStuck = false
      schedule()
    }
    const isHeld = ({ manners }: Waiting) => manners.whenFull === 'wait'
    const isNew = (waiting: Waiting) => !group.includes(waiting) && waiting.manners.whenFull === 'try'
    for (const { reject } of takeAll((waiting) => !isHeld(waiting) && !isNew(waiting))) reject(disk.refusal())
  }

  function fail(error: unknown): void {
    if (isClosed) return
    isClosed = true
    const what = error instanceof Database.SqliteError ? error.code : String(error)
    const remedy = 'check the disk, then restore a backup'
    onDamaged(
      error instanceof DamagedError
        ? error
        : new DamagedError(`the database cannot be used any more (${what}): ${remedy}`),
    )
    for (const { reject } of queue.splice(0)) reject(error)
  }

  function close(): void {
    while (queue.length > 0) {
      const waitingCount = queue.length
      flush()
      // A foreign lock or a full disk at the very end: those who wait hear that nothing was kept.
      if (queue.length < waitingCount) continue
      for (const { reject } of queue.splice(0)) reject(disk.refusal() ?? busyError())
    }
    isClosed = true
  }

  return { write, fail, close }
}

function isClaim({ manners }: Waiting): boolean {
  return manners.turn === 'first'
}

/** The time for which another program holds the lock. */
function createLockWait(clock: Pick<Clock, 'now'>, log: GroupCommitDeps['log']) {
  let since: EpochMs | null = null
  let delayMs = BUSY_RETRY_MS_MIN
  let isTold = false
  return {
    nextTryAt(): EpochMs {
      const now = clock.now()
      since ??= now
      if (!isTold && now - since > BUSY_TOLD_AFTER_MS) {
        isTold = true
        log?.warn(
          { event: 'store.locked', mark: 'busy_retry' },
          'another program holds the database: writes wait for it',
        )
      }
      const at = after(now, delayMs)
      delayMs = Math.min(delayMs * 2, BUSY_RETRY_MS_MAX)
      return at
    },
    taken(): void {
      if (since === null) return
      const waitedMs = clock.now() - since
      if (isTold) log?.info({ event: 'store.unlocked', waitedMs }, 'the database can be written again')
      since = null
      delayMs = BUSY_RETRY_MS_MIN
      isTold = false
    },
  }
}

function busyError(): AppError {
  const detail = 'Another program holds the database: nothing of this was kept. Send it again in a moment.'
  return new AppError('unavailable', detail, { retryAfterMs: RETRY_AFTER_BUSY_MS })
}

function isFull(error: unknown): boolean {
  return error instanceof Database.SqliteError && FULL_CODES.includes(error.code)
}

/** Whether the file or the disk cannot be trusted any more. */
export function isDamage(error: unknown): boolean {
  if (error instanceof DamagedError) return true
  return error instanceof Database.SqliteError && DAMAGE_CODES.test(error.code) && !isFull(error)
}
