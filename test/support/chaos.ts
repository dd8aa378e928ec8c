/** What can be done to a daemon from outside: load, death at a random instant, a full disk, a held lock; and a look at what it leaves. */

import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { onTestFinished } from 'vitest'
import { startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { type Receiver, type ReceiverOptions, startReceiver } from '../../src/sandbox/receiver.ts'
import type { DaemonProcess } from './daemon-process.ts'
import { aDirectory } from './store.ts'

export const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='

export interface Stage {
  readonly sandbox: Awaited<ReturnType<typeof startAidgeSandbox>>
  readonly receiver: Receiver
  /** The database file. */
  readonly path: string
  readonly env: Readonly<Record<string, string>>
}

/** A fake Aidge and a receiver, and the settings of a daemon between them. */
export async function aStage(
  options: { life?: string; receiving?: ReceiverOptions; directory?: string } = {},
): Promise<Stage> {
  const sandbox = await startAidgeSandbox({ life: options.life ?? 'ok-100ms' })
  const receiver = await startReceiver({ ...options.receiving, secrets: [SECRET] })
  onTestFinished(async () => {
    await sandbox.close()
    await receiver.close()
  })
  const path = join(options.directory ?? aDirectory(), 'ringback.db')
  const env = {
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: '0',
    RINGBACK_SIGNING_SECRET: SECRET,
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_POLL_RATE: '2000',
    RINGBACK_POLL_CONCURRENCY: '32',
    RINGBACK_POLL_INTERVAL_MIN: '100ms',
    RINGBACK_POLL_INTERVAL_MAX: '1s',
    RINGBACK_RETRY_SCHEDULE: '0s,100ms,500ms,1s,2s,2s',
    AIDGE_BASE_URL: sandbox.url,
    AIDGE_ACCESS_KEY_NAME: sandbox.credentials.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: sandbox.credentials.accessKeySecret,
  }
  return { sandbox, receiver, path, env }
}

/** In [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A random instant is the point of the exercise: there is no event to wait for. */
export async function untilRandomInstant(random: () => number, msMax: number): Promise<void> {
  await sleep(random() * msMax)
}

/** Looks again and again; for what shows only by asking. Throws after `timeoutMs`. */
export async function eventually<T>(look: () => T | null | Promise<T | null>, timeoutMs = 60_000): Promise<T> {
  const endAt = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (Date.now() > endAt) throw new Error(`nothing came of it within ${timeoutMs} ms`)
    await sleep(20)
  }
}

/** Programs that register tasks without end, and come back with what they got no answer for. */
export interface Clients {
  /** Ids (ours) of what was answered with 2xx: the daemon's promise. */
  readonly acknowledged: ReadonlySet<string>
  /** Every status that was answered, and how often. */
  readonly statuses: ReadonlyMap<number, number>
  /** Until the daemon refuses or dies, or until told to stop. */
  load(daemon: Pick<DaemonProcess, 'request'>, stop?: AbortSignal): Promise<void>
  /** What was sent and never answered, once more. */
  repeatUnanswered(daemon: Pick<DaemonProcess, 'request'>): Promise<void>
}

interface BulkAnswer {
  readonly results: readonly { readonly status: number; readonly task?: { readonly id: string } }[]
}

export interface ClientsOptions {
  readonly count: number
  readonly nextTask: (index: number) => { readonly taskId: string; readonly callbackUrl: string }
  /** What a client does between two calls; nothing when not given. */
  readonly pause?: () => Promise<void>
}

const BULK_COUNT = 5

export function createClients({ count, nextTask, pause }: ClientsOptions): Clients {
  const acknowledged = new Set<string>()
  const statuses = new Map<number, number>()
  let unanswered: readonly object[][] = []
  let sentCount = 0

  async function send(daemon: Pick<DaemonProcess, 'request'>, tasks: object[]): Promise<boolean> {
    try {
      const single = tasks.length === 1
      const path = single ? '/v1/tasks' : '/v1/tasks/bulk'
      const { status, body } = await daemon.request(path, { method: 'POST', body: single ? tasks[0] : { tasks } })
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (status >= 300) {
        // Refused is not kept: it may come again as if it had never been sent.
        unanswered = [...unanswered, tasks]
        return false
      }
      if (single) acknowledged.add((body as { id: string }).id)
      else for (const { task } of (body as BulkAnswer).results) if (task !== undefined) acknowledged.add(task.id)
      return true
    } catch (error) {
      if (error instanceof DOMException && error.name === 'TimeoutError') throw error
      unanswered = [...unanswered, tasks]
      return false
    }
  }

  async function client(daemon: Pick<DaemonProcess, 'request'>, number: number, stop?: AbortSignal): Promise<void> {
    for (let isAlive = true; isAlive && stop?.aborted !== true; ) {
      await pause?.()
      // One client sends in bulk, the others one by one.
      const tasks = Array.from({ length: number === 0 ? BULK_COUNT : 1 }, () => nextTask(sentCount++))
      isAlive = await send(daemon, tasks)
    }
  }

  return {
    acknowledged,
    statuses,
    async load(daemon, stop) {
      await Promise.all(Array.from({ length: count }, (_, number) => client(daemon, number, stop)))
    },
    async repeatUnanswered(daemon) {
      const again = unanswered
      unanswered = []
      for (const tasks of again) await send(daemon, tasks)
    },
  }
}

/** What a dead daemon left, read without healing it: the next daemon has to recover the log by itself. */
export interface Remains {
  readonly integrity: string
  readonly taskIds: ReadonlySet<string>
  readonly deliveredEventIds: ReadonlySet<string>
  /** Those whose attempts may have been under way. */
  readonly pendingEventIds: ReadonlySet<string>
}

export function remainsAt(path: string): Remains {
  const db = new Database(path, { readonly: true })
  try {
    const column = (query: string) => new Set(db.prepare<[], string>(query).pluck().all())
    return {
      integrity: String(db.pragma('integrity_check', { simple: true })),
      taskIds: column('select id from _tasks'),
      deliveredEventIds: column(`select event_id from _deliveries where status = 'delivered'`),
      pendingEventIds: column(`select event_id from _deliveries where status = 'pending'`),
    }
  } finally {
    db.close()
  }
}

/** A folder on a disk of its own of that size; null, said loudly, where this user may not mount one. */
export function aSmallDisk(sizeMib: number): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'ringback-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m,mode=700`, 'ringback-test', folder], {
      stdio: 'pipe',
    })
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    console.warn(`\n!!! NOT TESTED: a full disk. A tmpfs cannot be mounted here: ${String(error).split('\n')[0]}\n`)
    return null
  }
  onTestFinished(() => {
    execFileSync('umount', ['-l', folder])
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

/** Takes what is left of the disk but for `spareBytes`. Returns how to give it back. */
export function fillDisk(folder: string, spareBytes = 0): () => void {
  const path = join(folder, 'somebody-elses-file')
  const fd = openSync(path, 'w')
  const piece = Buffer.alloc(64 * 1024, 1)
  const free = () => Number(execFileSync('df', ['-B1', '--output=avail', folder], { encoding: 'utf8' }).split('\n')[1])
  try {
    for (let rest = free() - spareBytes; rest > 0; ) rest -= writeSync(fd, piece, 0, Math.min(rest, piece.length))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    closeSync(fd)
  }
  return () => rmSync(path)
}

/** What a process holds of the memory, or held at most, in MiB; null where the system does not tell. */
export function memoryOf({ child }: Pick<DaemonProcess, 'child'>, what: 'VmRSS' | 'VmHWM'): number | null {
  const status = `/proc/${child.pid}/status`
  if (!existsSync(status)) return null
  return Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(status, 'utf8'))?.[1]) / 1024
}

/** Somebody's `sqlite3` shell in the middle of an update. Returns how to commit it. */
export function holdWriteLock(path: string): () => void {
  const shell = new Database(path)
  onTestFinished(() => void shell.close())
  shell.exec('begin immediate')
  return () => {
    shell.exec('commit')
    shell.close()
  }
}
