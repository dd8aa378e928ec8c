/** Health: alive while the loops tick, ready while a registration could be kept, and the reasons in words. */

import { expect, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import { HOUR, SECOND } from '../../src/core/time.ts'
import { createHealth } from '../../src/engine/health.ts'
import type { Log } from '../../src/ports.ts'
import type { Store } from '../../src/store/store.ts'
import { createVirtualClock } from '../support/virtual-clock.ts'

const SILENCE: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

function aHealth(probe: () => ReturnType<Store['probe']>, log: Log = SILENCE) {
  const clock = createVirtualClock()
  const probed: number[] = []
  const silent: string[] = []
  const impediments: string[] = []
  const store = {
    probe: () => {
      probed.push(clock.now())
      return probe()
    },
    impediments: () => impediments,
    listBudgets: async () => new Map(),
  }
  const options = { probeEveryMs: 5 * SECOND, storeSilentMsMax: 2 * SECOND }
  const health = createHealth({ store, clock, log, silentLoops: () => silent }, options)
  /** As its loop does: more often than it wants to look. */
  async function run(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      await health.probe()
      await clock.runFor(SECOND)
    }
  }
  return { health, clock, run, probed, silent, impediments }
}

const well = async () => {}
const locked = () => Promise.reject(new AppError('unavailable', 'Another program holds the database.'))
const full = () => Promise.reject(new AppError('disk_full', 'The disk of the database is full.'))

test('a store that commits is ready, and is made to commit no more often than it should', async () => {
  const { health, run, probed } = aHealth(well)
  await run(11)
  expect(health.isReady()).toEqual({ ok: true, reasons: [] })
  expect(health.isStoreHeld()).toBe(false)
  expect(probed).toHaveLength(3)
})

test('behind a foreign lock it is ready for a while, then not, and again when a commit succeeds', async () => {
  let probe: () => ReturnType<Store['probe']> = locked
  const { health, run } = aHealth(() => probe())
  await run(1)
  expect([health.isReady().ok, health.isStoreHeld()]).toEqual([true, true])
  await run(3)
  expect(health.isReady()).toEqual({ ok: false, reasons: ['the store has not committed for 4 s'] })
  probe = well
  await run(2)
  expect([health.isReady().ok, health.isStoreHeld()]).toEqual([true, false])
})

test('a probe that is never answered makes it not ready, without a second one behind it, and excuses nobody', async () => {
  const { health, run, probed } = aHealth(() => new Promise(() => {}))
  await run(20)
  expect(health.isReady().ok).toBe(false)
  expect(health.isStoreHeld()).toBe(false)
  expect(probed).toHaveLength(1)
})

test('a full disk, and one that is nearly full, are reasons at once, without waiting for a probe', async () => {
  const { health, run, impediments } = aHealth(full)
  await run(1)
  expect(health.isStoreHeld()).toBe(true)
  impediments.push('The disk of the database is full.')
  expect(health.isReady()).toEqual({ ok: false, reasons: ['The disk of the database is full.'] })
  impediments.length = 0
  expect(health.isReady().ok).toBe(true)
  const low = aHealth(well)
  low.impediments.push('The disk of the database has 3.0 MiB left.')
  await low.run(1)
  expect(low.health.isReady()).toEqual({ ok: false, reasons: ['The disk of the database has 3.0 MiB left.'] })
  expect(low.health.isStoreHeld(), 'what is under way can be recorded').toBe(false)
})

test.each([HOUR, -HOUR])(
  'a clock that is moved by %d ms makes it neither unready nor stops the probes',
  async (byMs) => {
    const { health, clock, run, probed } = aHealth(well)
    await run(6)
    clock.moveBy(byMs)
    health.clockMoved(byMs)
    expect(health.isReady()).toEqual({ ok: true, reasons: [] })
    await run(11)
    expect(probed).toHaveLength(4)
  },
)

test('a silent loop is a reason, and the daemon does not live', async () => {
  const { health, silent } = aHealth(well)
  expect(health.isLive()).toBe(true)
  silent.push('dispatcher')
  expect(health.isLive()).toBe(false)
  expect(health.isReady()).toEqual({ ok: false, reasons: ['the dispatcher does not tick'] })
})

test('a daemon that stops is not ready, and lives', () => {
  const { health } = aHealth(well)
  health.stopping()
  expect(health.isReady()).toEqual({ ok: false, reasons: ['stopping'] })
  expect(health.isLive()).toBe(true)
})

test('a fault of our own in the store is logged each time; what the store tells itself is not repeated', async () => {
  const events: string[] = []
  const log: Log = { ...SILENCE, error: ({ event }) => void events.push(event) }
  await aHealth(() => Promise.reject(new Error('a bug')), log).run(6)
  await aHealth(locked, log).run(6)
  expect(events).toEqual(['store.probe_failed', 'store.probe_failed'])
})
