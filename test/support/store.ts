/** A real store in a directory of its own, with a clock that stands still until it is told. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { ENTROPY_BYTES, encodeId } from '../../src/core/ids.ts'
import { type EpochMs, epochMs } from '../../src/core/time.ts'
import type { Clock, NewId } from '../../src/ports.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { HostRoom, Registration, Store } from '../../src/store/store.ts'

/** 2026-01-01T00:00:00Z */
export const START: EpochMs = epochMs(1_767_225_600_000)

/** No host holds anybody back. */
export const ANY_HOST: HostRoom = { max: Number.POSITIVE_INFINITY, left: new Map(), slow: new Set() }

export function countingIds(): NewId {
  let count = 0
  return (prefix) => {
    count += 1
    const entropy = Buffer.alloc(ENTROPY_BYTES)
    entropy.writeUInt32BE(count, ENTROPY_BYTES - 4)
    return encodeId(prefix, START, entropy)
  }
}

/** Time stands still; what is due "soon" runs soon. */
export const standingClock: Clock = {
  now: () => START,
  wall: () => START,
  countSleep: () => 0,
  moveBy() {
    throw new Error('this clock stands still')
  },
  wakeAt: (_at, wake) => {
    const timer = setTimeout(wake, 1)
    return () => clearTimeout(timer)
  },
  soon: (run) => void setImmediate(run),
}

export function aDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'ringback-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function openAt(path: string, newId: NewId = countingIds()): Store {
  const store = openSqliteStore({
    path,
    clock: standingClock,
    newId,
    onDamaged: (error) => {
      throw error
    },
  })
  onTestFinished(() => store.close().catch(() => {}))
  return store
}

export function aRegistration(overrides: Partial<Registration> = {}): Registration {
  return {
    taskId: 'aidge-1',
    kind: 'virtual-model-generation',
    credential: 'aidge',
    callback: { kind: 'url', url: 'https://shop.example/hooks' },
    metadata: '{}',
    submittedAt: null,
    deadlineAt: epochMs(START + 86_400_000),
    firstPollAt: START,
    ...overrides,
  }
}
