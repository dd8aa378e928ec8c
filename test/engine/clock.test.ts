/**
 * The machine's clock is set while the daemon runs, while it is off, and while it sleeps: no burst, no stall, nothing
 * expires before its time, and what is signed shows the clock on the wall.
 */

import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import { DAY, epochMs, HOUR, MINUTE, SECOND, toIso, toUnixSeconds } from '../../src/core/time.ts'
import { createClockWatch } from '../../src/engine/clock-watch.ts'
import type { Log } from '../../src/ports.ts'
import { START } from '../support/store.ts'
import { createVirtualClock } from '../support/virtual-clock.ts'
import { createWorld, FINISHED, NO_CONTENT, OPTIONS, RUNNING, type World, type WorldScript } from '../support/world.ts'

const DOWN: AttemptResult = { kind: 'response', status: 503, retryAfter: null }

/** The loops look at the clock whenever they tick, as those of a real daemon do. */
const AWAKE = { ...OPTIONS, idleMs: 2 * SECOND, probeEveryMs: 5 * SECOND }

const JUMPS: readonly (readonly [how: string, byMs: number])[] = [
  ['an hour forward', HOUR],
  ['an hour back', -HOUR],
  ['to 1970', -START + 5 * MINUTE],
  ['to 2040', Date.parse('2040-02-29T12:00:00Z') - START],
]

/** A world that notes the true times at which it is asked and posted. */
function aWatchedWorld(script: WorldScript = {}) {
  const asks: number[] = []
  const posts: number[] = []
  const world: World = createWorld({
    ...script,
    options: { ...AWAKE, ...script.options },
    answer(...asked) {
      asks.push(world.clock.elapsedMs())
      return script.answer?.(...asked) ?? FINISHED
    },
    receive(...received) {
      posts.push(world.clock.elapsedMs())
      return script.receive?.(...received) ?? NO_CONTENT
    },
  })
  const marks = () => world.logged.flatMap(({ mark }) => (mark === undefined ? [] : [mark]))
  return { world, asks, posts, marks }
}

const gaps = (times: readonly number[]) => times.slice(1).map((time, index) => time - times[index]!)

describe.each(JUMPS)('a clock that is set %s', (_how, byMs) => {
  const mark = byMs < 0 ? 'clock_jump_back' : 'clock_jump_forward'

  test('changes nothing about how often tasks are asked about, and expires none', async () => {
    const cadence = { intervalMinMs: SECOND, intervalMaxMs: 10 * SECOND, pollCostMs: SECOND / 2 }
    const { world, asks, marks } = aWatchedWorld({ answer: () => RUNNING, options: { cadence } })
    const task = await world.register({ taskId: 'a', deadline: toIso(epochMs(START + 40 * MINUTE)) })
    await world.clock.runFor(15 * MINUTE)
    const askedBefore = asks.length
    world.clock.setWall(byMs)
    await world.clock.runFor(15 * MINUTE)
    expect((await world.store().getTask(task.id))?.status).toBe('pending')
    // A quarter of an hour old at the jump, with the longest wait between two questions since long before.
    expect(Math.max(...gaps(asks.slice(askedBefore - 1)))).toBeLessThanOrEqual(13 * SECOND)
    expect(Math.min(...gaps(asks.slice(askedBefore - 1)))).toBeGreaterThanOrEqual(9 * SECOND)
    expect(marks()).toEqual([mark])
    // Its deadline is where it was: forty minutes after the registration.
    await world.clock.runFor(9 * MINUTE)
    expect((await world.store().getTask(task.id))?.status).toBe('pending')
    await world.clock.runFor(2 * MINUTE)
    expect((await world.store().getTask(task.id))?.status).toBe('expired')
  })

  test('neither brings a retry forward nor puts it off', async () => {
    const { world, posts } = aWatchedWorld({ receive: (_request, nth) => (nth <= 2 ? DOWN : NO_CONTENT) })
    await world.register({ taskId: 'a' })
    await world.clock.runFor(MINUTE)
    expect(posts).toHaveLength(2)
    world.clock.setWall(byMs)
    await world.clock.runFor(10 * MINUTE)
    // 0s, 5s, 5m: the middle of the jitter.
    expect(gaps(posts).map((ms) => Math.round(ms / SECOND))).toEqual([5, 300])
  })

  test('is what the next webhook is stamped with', async () => {
    const { world } = aWatchedWorld()
    await world.register({ taskId: 'a' })
    await world.clock.runFor(MINUTE)
    world.clock.setWall(byMs)
    await world.clock.runFor(2 * SECOND)
    const wall = world.clock.wall()
    await world.register({ taskId: 'b' })
    await world.clock.runFor(10 * SECOND)
    const stamp = Number(world.posted[1]?.headers['webhook-timestamp'])
    expect(stamp - toUnixSeconds(wall)).toBeGreaterThanOrEqual(0)
    expect(stamp - toUnixSeconds(wall)).toBeLessThanOrEqual(10)
  })

  test('while an answer is on its way only has the question asked again', async () => {
    const { world, asks } = aWatchedWorld({ answerMs: 20 * SECOND })
    const task = await world.register({ taskId: 'a', deadline: toIso(epochMs(START + HOUR)) })
    await world.clock.runFor(10 * SECOND)
    world.clock.setWall(byMs)
    await world.clock.runFor(MINUTE)
    expect((await world.store().getTask(task.id))?.status).toBe('succeeded')
    expect([asks.length, world.peak.perTask, world.posted.length]).toEqual([2, 1, 1])
  })

  test('while a receiver is answering has nothing sent twice', async () => {
    const { world, posts } = aWatchedWorld({ receiveMs: 15 * SECOND })
    await world.register({ taskId: 'a' })
    await world.clock.runFor(10 * SECOND)
    world.clock.setWall(byMs)
    await world.clock.runFor(5 * MINUTE)
    expect(posts).toHaveLength(1)
    expect((await world.store().listDeliveries({ limit: 1 })).items[0]?.status).toBe('delivered')
  })

  test('leaves the daemon ready, and its probes going', async () => {
    const { world } = aWatchedWorld()
    await world.clock.runFor(MINUTE)
    world.clock.setWall(byMs)
    for (let second = 0; second < 60; second += 1) {
      await world.clock.runFor(SECOND)
      expect(world.engine().health.isReady()).toEqual({ ok: true, reasons: [] })
    }
    const db = new Database(world.path, { readonly: true })
    const probedAt = Number(db.prepare(`select value from _meta where key = 'probed_at'`).pluck().get())
    db.close()
    expect(Math.abs(world.clock.now() - probedAt)).toBeLessThanOrEqual(AWAKE.probeEveryMs + AWAKE.idleMs)
  })

  test('forgets nothing before its time', async () => {
    const { world } = aWatchedWorld()
    const task = await world.register({ taskId: 'a' })
    await world.clock.runFor(MINUTE)
    world.clock.setWall(byMs)
    await world.clock.runFor(MINUTE)
    const forget = async () => {
      const forgetting = world.engine().janitor.forgetOld(new AbortController().signal)
      await world.clock.settle()
      await forgetting
      return (await world.store().getTask(task.id)) === null
    }
    expect(await forget()).toBe(false)
    world.clock.setWall(-byMs)
    await world.clock.runFor(MINUTE)
    expect(await forget()).toBe(false)
  })
})

test('a clock that was set back while the daemon was off holds nothing up', async () => {
  const { world, posts, asks } = aWatchedWorld({
    answer: (task) => (task.taskId === 'a' ? FINISHED : RUNNING),
    receive: (_request, nth) => (nth === 1 ? DOWN : NO_CONTENT),
  })
  await world.register({ taskId: 'a' })
  await world.register({ taskId: 'b' })
  await world.clock.runFor(8 * SECOND)
  expect(posts).toHaveLength(2)
  const askedBefore = asks.length
  world.clock.setWall(-3 * HOUR)
  await world.crash()
  await world.clock.runFor(10 * SECOND)
  expect(asks.length).toBeGreaterThan(askedBefore)
})

test('a retry that waits when the daemon dies is made in time, wherever the clock was set back to', async () => {
  const { world, posts } = aWatchedWorld({ receive: (_request, nth) => (nth <= 2 ? DOWN : NO_CONTENT) })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(MINUTE)
  world.clock.setWall(-DAY)
  await world.crash()
  await world.clock.runFor(5 * MINUTE)
  expect(posts).toHaveLength(3)
  // At most the seconds since the last probe are lost.
  expect(gaps(posts)[1]).toBeLessThanOrEqual(300 * SECOND + 7 * SECOND)
})

test('a step of the clock that is as small as a correction moves nothing, and is in the next signature all the same', async () => {
  const { world, marks } = aWatchedWorld()
  for (const byMs of [4 * SECOND, -6 * SECOND]) {
    world.clock.setWall(byMs)
    const stamp = toUnixSeconds(world.clock.wall())
    await world.register({ taskId: `a${byMs}` })
    await world.clock.runFor(2 * SECOND)
    const { headers, at } = world.posted.at(-1)!
    expect(Number(headers['webhook-timestamp'])).toBeGreaterThanOrEqual(stamp)
    expect(Number(headers['webhook-timestamp']) - toUnixSeconds(at)).toBe(
      world.clock.wall() > world.clock.now() ? 4 : -2,
    )
    await world.clock.runFor(MINUTE)
  }
  expect(marks()).toEqual([])
})

test('time for which the machine slept has passed: what fell due meanwhile is made up for at once', async () => {
  const { world, posts, marks } = aWatchedWorld({
    answer: (task) => (task.taskId === 'a' ? FINISHED : RUNNING),
    receive: (_request, nth) => (nth <= 2 ? DOWN : NO_CONTENT),
  })
  await world.register({ taskId: 'a' })
  const never = await world.register({ taskId: 'never', deadline: toIso(epochMs(START + HOUR)) })
  await world.clock.runFor(MINUTE)
  expect(posts).toHaveLength(2)
  world.clock.sleep(2 * HOUR)
  await world.clock.runFor(3 * SECOND)
  // The retry and, as its deadline has passed, the end of the other task.
  expect(posts).toHaveLength(4)
  expect((await world.store().getTask(never.id))?.status).toBe('expired')
  expect(marks()).toEqual(['sleep_resume'])
})

test('sleep and a clock that was set are told apart when both happen', async () => {
  const { world, marks } = aWatchedWorld({ answer: () => RUNNING })
  const task = await world.register({ taskId: 'a', deadline: toIso(epochMs(START + 3 * HOUR)) })
  await world.clock.runFor(MINUTE)
  world.clock.sleep(2 * HOUR)
  world.clock.setWall(DAY)
  await world.clock.runFor(10 * MINUTE)
  expect((await world.store().getTask(task.id))?.status).toBe('pending')
  expect(marks()).toEqual(['sleep_resume', 'clock_jump_forward'])
  await world.clock.runFor(50 * MINUTE)
  expect((await world.store().getTask(task.id))?.status).toBe('expired')
})

test('a clock that is set back, and at once set again, is followed both times', () => {
  const clock = createVirtualClock()
  const nobody = () => {}
  const log: Log = { debug: nobody, info: nobody, warn: nobody, error: nobody }
  const watch = createClockWatch({ clock, store: { moveInstants: async () => {} }, log, onMoved: nobody })
  for (const byMs of [-HOUR, -MINUTE, 2 * HOUR]) {
    clock.setWall(byMs)
    watch.look()
    expect(clock.now()).toBe(clock.wall())
  }
})

test('a move that the store could not make is undone, and tried again after a second and not at once', async () => {
  const clock = createVirtualClock()
  const events: string[] = []
  const at = ({ event }: { event: string }) => void events.push(event)
  const log: Log = { debug: at, info: at, warn: at, error: at }
  const moved: number[] = []
  const made: number[] = []
  const store = {
    async moveInstants({ byMs }: { byMs: number }) {
      made.push(byMs)
      if (made.length === 1) throw new Error('a bug')
    },
  }
  const watch = createClockWatch({ clock, store, log, onMoved: (byMs) => void moved.push(byMs) })
  clock.setWall(HOUR)
  watch.look()
  await clock.settle()
  expect(clock.now()).toBe(START)
  watch.look()
  await clock.settle()
  // Whoever looks because it was woken by the undoing would otherwise look for ever.
  expect([clock.now(), made]).toEqual([START, [HOUR]])
  await clock.runFor(SECOND)
  watch.look()
  await clock.settle()
  watch.look()
  expect([clock.now(), moved, made]).toEqual([START + SECOND + HOUR, [HOUR, -HOUR, HOUR], [HOUR, HOUR]])
  expect(events).toEqual(['clock.jumped', 'clock.move_failed', 'clock.jumped'])
})
