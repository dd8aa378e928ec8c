/**
 * The disk under the database: how much room is left, a ballast for when there is none, and whether the files are still
 * those that were opened.
 *
 * ```
 * roomy ◄──► low ──┐
 *   │              ├─ a write finds no room ─► full ─ room for the ballast again ─► roomy
 *   └──────────────┘
 * ```
 * A full disk is a state and not an end, because a restart would not help. With the write-ahead log filling the disk
 * neither a small update nor a checkpoint works any more (tried on a tmpfs of 2 MiB); so a file of 8 MiB lies beside the
 * database from the start and is deleted at that moment. Its room is for the records of what is under way, for deletes
 * and for checkpoints: nothing new is taken or claimed until the ballast could be made again.
 */

import { randomFillSync } from 'node:crypto'
import { closeSync, existsSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { AppError } from '../../core/errors.ts'
import { MINUTE } from '../../core/time.ts'
import type { Log } from '../../ports.ts'

const MIB = 1024 * 1024

export interface DiskSettings {
  readonly ballastBytesMax: number
  /** With less room than this nothing new is registered. */
  readonly lowBytesMax: number
}

export const DISK_SETTINGS: DiskSettings = { ballastBytesMax: 8 * MIB, lowBytesMax: 64 * MIB }

/** On a small disk both are a share of it. */
const BALLAST_SHARE = 0.1
const LOW_SHARE = 0.05

export type DiskState = 'roomy' | 'low' | 'full'

export interface DiskRoom {
  readonly state: DiskState
  readonly freeBytes: number
}

export interface Disk {
  state(): DiskState
  room(): DiskRoom
  /** Why nothing new can be taken; null while there is room. */
  refusal(): AppError | null
  /** A write found no room. Whether some was made, by giving up the ballast. */
  filled(): boolean
  /** One look at the room; to be called when a commit has just succeeded, every few seconds. */
  look(): void
  /** What has become of the files, in words; null while they are in their place. */
  displaced(): string | null
}

export interface DiskOptions {
  /** Its `-wal` and `.lock` are watched too: without them it is as good as gone. */
  readonly file: string
  /** Without them nothing is kept in reserve, and only a write that fails tells that the disk is full. */
  readonly settings?: DiskSettings | undefined
  readonly log?: Pick<Log, 'info' | 'warn' | 'error'> | undefined
}

const RETRY_AFTER_MS = MINUTE

export function createDisk({ file, settings, log }: DiskOptions): Disk {
  const limits = limitsOf(file, settings)
  const ballast = createBallast(file, limits.ballastBytes)
  const displaced = watchPlaces([file, `${file}-wal`, `${file}.lock`])
  let state: DiskState = 'roomy'
  let freeBytes = freeBytesOf(file)

  function become(next: DiskState): void {
    if (next === state) return
    state = next
    const fields = { freeBytes, hasBallast: ballast.exists() }
    if (next === 'roomy') log?.info({ event: 'disk.roomy', ...fields }, 'the disk has room again')
    if (next === 'low')
      log?.warn({ event: 'disk.low', mark: 'disk_low', ...fields }, `${words()}: nothing new is taken`)
    if (next === 'full') {
      const message = `${words()}: nothing is asked or sent until there is room`
      log?.error({ event: 'disk.full', mark: 'disk_full_degraded', ...fields }, message)
    }
  }

  function words(): string {
    return state === 'full'
      ? 'the disk of the database is full'
      : `the disk of the database has ${inMib(freeBytes)} left`
  }

  function look(): void {
    freeBytes = freeBytesOf(file)
    const hasRoomForBallast = freeBytes - limits.ballastBytes >= limits.lowBytes
    if (hasRoomForBallast) ballast.make()
    const isRoomy = hasRoomForBallast || (ballast.exists() && freeBytes >= limits.lowBytes)
    // A disk that was full stays so until the ballast fits again: the next claims would fill it anew.
    if (state !== 'full') become(isRoomy ? 'roomy' : 'low')
    else if (hasRoomForBallast) become('roomy')
  }

  if (settings !== undefined) look()

  return {
    state: () => state,
    room: () => ({ state, freeBytes }),
    refusal() {
      if (state === 'roomy') return null
      const detail = `${words()[0]?.toUpperCase()}${words().slice(1)}: nothing of this was kept. Free some space and send it again.`
      return new AppError('disk_full', detail, { retryAfterMs: RETRY_AFTER_MS })
    },
    filled() {
      freeBytes = freeBytesOf(file)
      become('full')
      if (!ballast.release()) return false
      log?.warn(
        { event: 'disk.ballast_released', mark: 'ballast_released' },
        'the ballast is released: some room again',
      )
      return true
    },
    look,
    displaced,
  }
}

/** How large the ballast is where this database lies. */
export function ballastBytesOf(file: string, settings: DiskSettings): number {
  return limitsOf(file, settings).ballastBytes
}

interface Limits {
  readonly ballastBytes: number
  readonly lowBytes: number
}

function limitsOf(file: string, settings: DiskSettings | undefined): Limits {
  if (settings === undefined) return { ballastBytes: 0, lowBytes: 0 }
  const { blocks, bsize } = statfsSync(dirname(file))
  const totalBytes = blocks * bsize
  return {
    ballastBytes: Math.min(settings.ballastBytesMax, Math.floor(totalBytes * BALLAST_SHARE)),
    lowBytes: Math.min(settings.lowBytesMax, Math.floor(totalBytes * LOW_SHARE)),
  }
}

/** What is left for programs that are not root's. */
function freeBytesOf(file: string): number {
  const { bavail, bsize } = statfsSync(dirname(file))
  return bavail * bsize
}

function inMib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}

interface Ballast {
  exists(): boolean
  /** Unless it is there. Where that fails (a quota, a limit on file sizes), the daemon works without it. */
  make(): void
  /** Whether there was one. */
  release(): boolean
}

const PIECE_BYTES = 64 * 1024

function createBallast(databaseFile: string, bytes: number): Ballast {
  const path = ballastPathOf(databaseFile)
  let isThere = existsSync(path)
  return {
    exists: () => isThere,
    make() {
      isThere ||= bytes === 0 || writeBallast(path, bytes)
    },
    release() {
      rmSync(path, { force: true })
      const wasThere = isThere && bytes > 0
      isThere = false
      return wasThere
    },
  }
}

/** What a daemon left behind in an earlier life, too. */
export function releaseBallast(databaseFile: string): boolean {
  const path = ballastPathOf(databaseFile)
  if (!existsSync(path)) return false
  rmSync(path)
  return true
}

function ballastPathOf(databaseFile: string): string {
  return `${databaseFile}.ballast`
}

/** Random, because a file system that compresses would keep nothing free for zeros. */
function writeBallast(path: string, bytes: number): boolean {
  const piece = randomFillSync(Buffer.alloc(PIECE_BYTES))
  try {
    const fd = openSync(path, 'wx', 0o600)
    try {
      for (let rest = bytes; rest > 0; ) rest -= writeSync(fd, piece, 0, Math.min(rest, PIECE_BYTES))
    } finally {
      closeSync(fd)
    }
    return true
  } catch {
    // Half a ballast is none.
    rmSync(path, { force: true })
    return false
  }
}

/**
 * A file that was moved or deleted goes on being written by whoever has it open, and everything acknowledged since is
 * gone with the process. A look at all three costs 5 µs, so each commit can afford it.
 */
function watchPlaces(paths: readonly string[]): () => string | null {
  const places = paths.flatMap((path) => {
    const found = statSync(path, { throwIfNoEntry: false })
    return found === undefined ? [] : [{ path, dev: found.dev, ino: found.ino }]
  })
  return () => {
    for (const { path, dev, ino } of places) {
      const found = statSync(path, { throwIfNoEntry: false })
      if (found?.ino === ino && found.dev === dev) continue
      const what = found === undefined ? 'deleted or moved away' : 'replaced by another file'
      return `${path} was ${what} while it was in use: put it back or restore a backup, then start again`
    }
    return null
  }
}
