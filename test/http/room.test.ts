/** How much may wait inside at once: a bound is a bound, what is given back can be taken again, and waiting stays cheap. */

import { getEventListeners } from 'node:events'
import { describe, expect, onTestFinished, test } from 'vitest'
import { AppError } from '../../src/core/errors.ts'
import type { EpochMs } from '../../src/core/time.ts'
import { createRoom } from '../../src/http/room.ts'
import { anApp, aTask, NOW, problemOf } from './fakes.ts'

describe('a room', () => {
  const throttled = expect.objectContaining({ code: 'throttled', retryAfterMs: 1000 })

  test('has so many places, and each that is left can be taken again', () => {
    const room = createRoom({ placesMax: 2, bytesMax: 0 })
    const first = room.enter()
    room.enter()
    expect(() => room.enter()).toThrow(AppError)
    first.leave()
    first.leave()
    expect(room.visitCount()).toBe(1)
    room.enter()
    expect(() => room.enter()).toThrow(throttled)
  })

  test('has room for so many bytes of all together, and gives back those of who leaves', () => {
    const room = createRoom({ placesMax: 9, bytesMax: 100 })
    const [first, second] = [room.enter(), room.enter()]
    first.hold(60)
    expect(() => second.hold(41)).toThrow(throttled)
    second.hold(40)
    expect(() => second.hold(1)).toThrow(throttled)
    first.leave()
    second.hold(60)
  })
})

test('the more wait for a task, the rarer each look; beyond a thousand they are told to come again', async () => {
  const lookIns: number[] = []
  const stopping = new AbortController()
  const { get } = anApp({
    store: { getTask: async () => aTask() },
    stopping: stopping.signal,
    // Nobody is ever woken: it is written down when they would be.
    clock: {
      now: () => NOW,
      wakeAt: (at: EpochMs) => {
        lookIns.push(at - NOW)
        return () => {}
      },
    },
  })
  const wait = () => get('/v1/tasks/task_01?wait=60')
  const waiting = [wait()]
  await expect.poll(() => lookIns).toEqual([250])
  waiting.push(...Array.from({ length: 999 }, wait))
  await expect.poll(() => lookIns.length).toBe(1000)
  // Half a thousand looks a second, however many wait.
  expect(lookIns.at(-1)).toBe(2000)
  const problem = await problemOf(await get('/v1/tasks/task_01?wait=60'), 429)
  expect(problem.detail).toContain('1000 requests are waiting already')
  expect((await get('/v1/tasks/task_01')).status).toBe(200)
  stopping.abort()
  expect(new Set((await Promise.all(waiting)).map(({ status }) => status))).toEqual(new Set([200]))
  expect((await get('/v1/tasks/task_01?wait=0')).status).toBe(200)
})

test('whoever was answered has left: a thousand and more may change something one after the other', async () => {
  const { post } = anApp()
  for (let count = 0; count < 1_001; count += 1) {
    const response = await post('/v1/tasks', { taskId: `t${count}`, callbackUrl: 'https://example.com' })
    if (response.status !== 201) expect(response.status, `request ${count}`).toBe(201)
  }
})

test('while a thousand wait for the disk the next is told to come again, and who only reads is served', async () => {
  let letGo = () => {}
  const disk = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let waitingCount = 0
  const registrar = {
    async register() {
      waitingCount += 1
      await disk
      return [{ ok: true, task: aTask(), isNew: true }] as const
    },
  }
  const { get, post } = anApp({ registrar })
  const body = { taskId: 'a', callbackUrl: 'https://example.com' }
  const waiting = Array.from({ length: 1_000 }, () => post('/v1/tasks', body))
  await expect.poll(() => waitingCount).toBe(1_000)
  await problemOf(await post('/v1/tasks', body), 429)
  expect((await get('/v1/tasks')).status).toBe(200)
  letGo()
  expect(new Set((await Promise.all(waiting)).map(({ status }) => status))).toEqual(new Set([201]))
})

test('bodies that wait for the disk are 32 MiB together, and the next is told to come again', async () => {
  let letGo = () => {}
  const disk = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let waitingCount = 0
  const registrar = {
    async register() {
      waitingCount += 1
      await disk
      return [{ ok: true, task: aTask(), isNew: true }] as const
    },
  }
  const { post } = anApp({ registrar })
  const task = { taskId: 'a', callbackUrl: 'https://example.com' }
  const eightMib = `${JSON.stringify({ tasks: [task] })}${' '.repeat(8 * 1024 * 1024 - 100)}`
  const waiting = Array.from({ length: 4 }, () => post('/v1/tasks/bulk', eightMib))
  await expect.poll(() => waitingCount, { timeout: 5_000 }).toBe(4)
  await problemOf(await post('/v1/tasks/bulk', eightMib), 429)
  letGo()
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
})

test('whoever waited for a task is forgotten when answered: nobody listens, no timer is left, and the place is free', async () => {
  const stopping = new AbortController()
  const warnings: string[] = []
  const warn = ({ name }: Error) => void warnings.push(name)
  process.on('warning', warn)
  onTestFinished(() => void process.off('warning', warn))
  const timers = new Set<object>()
  let lookCount = 0
  const { get } = anApp({
    store: {
      async getTask() {
        lookCount += 1
        return aTask(lookCount > 1_500 ? { status: 'canceled', settledAt: NOW } : {})
      },
    },
    stopping: stopping.signal,
    clock: {
      now: () => NOW,
      wakeAt: (_at: EpochMs, wake: () => void) => {
        const timer = setImmediate(wake)
        timers.add(timer)
        return () => {
          timers.delete(timer)
          clearImmediate(timer)
        }
      },
    },
  })
  const waiting = Array.from({ length: 1_000 }, () => get('/v1/tasks/task_01?wait=60'))
  expect(new Set((await Promise.all(waiting)).map(({ status }) => status))).toEqual(new Set([200]))
  expect(getEventListeners(stopping.signal, 'abort')).toEqual([])
  expect((await get('/v1/tasks/task_01?wait=60')).status).toBe(200)
  expect(timers.size).toBe(0)
  expect(warnings).toEqual([])
})
