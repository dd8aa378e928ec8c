/** Whether the daemon lives (its loops tick) and is ready (a registration could be kept on disk now). */

import { AppError } from '../core/errors.ts'
import { after, type EpochMs, SECOND } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'
import type { Store } from '../store/store.ts'

export interface Health {
  isLive(): boolean
  isReady(): { readonly ok: boolean; readonly reasons: readonly string[] }
  /** The store cannot commit for a reason that may pass: a foreign lock, a full disk. */
  isStoreHeld(): boolean
  /** One look at the store; says when to look again. */
  probe(): Promise<EpochMs>
  /** The clock is another one: what it showed before is not compared with what it shows now. */
  clockMoved(byMs: number): void
  /** From now on the daemon takes nothing new. */
  stopping(): void
}

export interface HealthDeps {
  readonly store: Pick<Store, 'probe' | 'impediments' | 'listBudgets'>
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  readonly silentLoops: () => readonly string[]
}

export interface HealthOptions {
  readonly probeEveryMs: number
  /** The store may be busy for a while with somebody's `sqlite3` shell; longer than this is a reason. */
  readonly storeSilentMsMax: number
}

export function createHealth({ store, clock, log, silentLoops }: HealthDeps, options: HealthOptions): Health {
  let lastCommitAt = clock.now()
  let probeAt = clock.now()
  let isProbing = false
  let isStoreHeld = false
  let pauses: readonly string[] = []
  let isStopping = false

  async function commitProbe(): Promise<void> {
    // A second probe would only queue behind the first.
    if (isProbing) return
    isProbing = true
    try {
      await store.probe({ now: clock.now() })
      lastCommitAt = clock.now()
      isStoreHeld = false
    } catch (error) {
      const mayPass = error instanceof AppError
      // What holds the store is told by the store when it begins.
      if (!mayPass) log.error({ event: 'store.probe_failed', error }, 'the store cannot commit')
      isStoreHeld = mayPass
    } finally {
      isProbing = false
    }
  }

  return {
    isLive: () => silentLoops().length === 0,
    isReady() {
      const reasons = isStopping ? ['stopping'] : []
      const silentMs = clock.now() - lastCommitAt
      if (silentMs > options.storeSilentMsMax)
        reasons.push(`the store has not committed for ${Math.round(silentMs / SECOND)} s`)
      for (const loop of silentLoops()) reasons.push(`the ${loop} does not tick`)
      // Told by the store itself and not by the last probe: a disk that has just filled up is told at once.
      reasons.push(...store.impediments())
      return { ok: reasons.length === 0, reasons: [...reasons, ...pauses] }
    },
    isStoreHeld: () => isStoreHeld,
    async probe() {
      // The loop ticks more often than that; each probe is a commit.
      if (clock.now() < probeAt) return probeAt
      probeAt = after(clock.now(), options.probeEveryMs)
      void commitProbe()
      const budgets = await store.listBudgets()
      pauses = [...budgets].flatMap(([name, { pause }]) =>
        pause === null ? [] : [`the upstream refuses the credential ${name} (${pause.code}); asked once a minute`],
      )
      return probeAt
    },
    clockMoved(byMs) {
      lastCommitAt = after(lastCommitAt, byMs)
      probeAt = after(probeAt, byMs)
    },
    stopping() {
      isStopping = true
    },
  }
}
