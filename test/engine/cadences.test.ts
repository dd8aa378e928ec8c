/** What is learned of how long tasks take, through the whole daemon: used, told, recorded, and there after a restart. */

import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { MINUTE, SECOND, toIso } from '../../src/core/time.ts'
import { createWorld, FINISHED, RUNNING, type World, type WorldScript } from '../support/world.ts'

/** Each takes about as long as the others. */
function aWorldOf(takesMs: number, options: WorldScript['options'] = {}): World {
  const spreadMs = (taskId: string) => ((Number(taskId.slice(1)) * 137) % 2_000) - 1_000
  return createWorld({
    answer: (task, at) => (at - task.registeredAt >= takesMs + spreadMs(task.taskId) ? FINISHED : RUNNING),
    options: { ...options },
  })
}

/** One after the other; returns how many queries each took. */
async function registerMany(world: World, count: number, { from = 0, everyMs = 2 * SECOND } = {}): Promise<number[]> {
  for (let index = from; index < from + count; index += 1) {
    await world.register({ taskId: `t${index}`, submittedAt: world.clock.now() })
    await world.clock.runFor(everyMs)
  }
  await world.clock.runFor(2 * MINUTE)
  const counts = new Map<string, number>()
  for (const { taskId } of world.asked) counts.set(taskId, (counts.get(taskId) ?? 0) + 1)
  return Array.from({ length: count }, (_, index) => counts.get(`t${from + index}`) ?? 0)
}

const mean = (sample: readonly number[]) => sample.reduce((sum, value) => sum + value, 0) / sample.length

function cadenceRows(world: World): readonly Record<string, unknown>[] {
  const db = new Database(world.path, { readonly: true })
  const rows = db.prepare('select * from cadence').all() as Record<string, unknown>[]
  db.close()
  return rows
}

test('the more tasks have ended, the fewer queries one takes; what is known can be looked at, also after a crash', async () => {
  const world = aWorldOf(20 * SECOND)
  const first = await registerMany(world, 10)
  const later = await registerMany(world, 40, { from: 10 })
  expect(mean(later.slice(-20))).toBeLessThan(0.7 * mean(first))
  expect(cadenceRows(world)).toEqual([
    expect.objectContaining({
      kind: 'virtual-model-generation',
      poll_cost_ms: 500,
      unfinished_share: expect.any(Number),
    }),
  ])
  await world.crash()
  const afterwards = await registerMany(world, 10, { from: 50 })
  expect(mean(afterwards)).toBeLessThan(0.7 * mean(first))
  await world.stop()
  const [row] = cadenceRows(world)
  expect(row).toMatchObject({ completion_count: 60 })
  expect(row!['median_ms']).toBeGreaterThan(18_000)
  expect(row!['median_ms']).toBeLessThan(22_000)
})

test('each poll tells in the timeline why the next one is when it is', async () => {
  const world = aWorldOf(20 * SECOND)
  const { id } = await world.register({ taskId: 't0', submittedAt: toIso(world.clock.now()) })
  await world.clock.runFor(MINUTE)
  const polls = await world.store().listPolls({ taskId: id, limit: 100 })
  const reasons = polls.flatMap(({ reason }) => (reason === null ? [] : [reason]))
  expect(reasons.length).toBeGreaterThan(0)
  for (const reason of reasons) expect(reason).toMatch(/^age \d+\.\d s, \d+ % likely done by then, /)
})

test('what was recorded and cannot be read is learned again, and said so', async () => {
  const world = aWorldOf(5 * SECOND)
  await registerMany(world, 5)
  await world.stop()
  const db = new Database(world.path)
  db.prepare(`update _cadence set state = '{"format":99}'`).run()
  db.close()
  await world.crash()
  const counts = await registerMany(world, 5, { from: 5 })
  expect(Math.min(...counts)).toBeGreaterThan(0)
  expect(world.logged.filter(({ event }) => event === 'cadence.unreadable')).toMatchObject([
    { level: 'warn', kind: 'virtual-model-generation' },
  ])
  expect(await world.store().listCadences()).toMatchObject([{ state: expect.stringContaining('"format":1,') }])
})

test('while the rate limit binds a query is worth more waiting, and less again when there is room', async () => {
  const world = aWorldOf(20 * SECOND, { budget: { rate: 1 } })
  // A task every two seconds, at one query a second: two queries each, where five and more were wanted.
  for (let index = 0; index < 150; index += 1) {
    await world.register({ taskId: `t${index}`, submittedAt: world.clock.now() })
    await world.clock.runFor(1_300)
  }
  const dear = cadenceRows(world)[0]!['poll_cost_ms'] as number
  expect(dear).toBeGreaterThan(800)
  const loaded = world.asked.length
  expect(loaded).toBeLessThanOrEqual(1.02 * 150 * 1.3)
  await registerMany(world, 30, { from: 150, everyMs: 10 * SECOND })
  expect(cadenceRows(world)[0]!['poll_cost_ms']).toBe(500)
  expect((await world.store().listTasks({ status: 'pending', limit: 10 })).items).toEqual([])
})
