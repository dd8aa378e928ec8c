/** The path from registration to webhook, on a virtual clock over real SQLite. */

import { Webhook } from 'standardwebhooks'
import { expect, test } from 'vitest'
import { after, DAY, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { START } from '../support/store.ts'
import { answered, createWorld, FINISHED, NO_CONTENT, RUNNING, SECRET } from '../support/world.ts'

test('a finished task becomes one signed webhook', async () => {
  const world = createWorld()
  const task = await world.register({ taskId: 'a', metadata: { order: 1180 } })
  await world.clock.runFor(SECOND)
  expect(world.asked.map((one) => one.taskId)).toEqual(['a'])
  expect(world.posted).toHaveLength(1)
  const { body, headers, url } = world.posted[0]!
  expect(url).toBe('https://shop.example/hooks')
  expect(JSON.parse(body)).toMatchObject({
    type: 'task.succeeded',
    data: { id: task.id, taskId: 'a', metadata: { order: 1180 } },
  })
  expect(headers['webhook-timestamp']).toBe(String(Math.floor(world.posted[0]!.at / 1000)))
  // The reference library verifies against the machine's clock only, which is not the virtual one: its own signature
  // over the same parts has to be the same.
  const signature = new Webhook(SECRET).sign(headers['webhook-id']!, new Date(world.posted[0]!.at), body)
  expect(headers['webhook-signature']).toBe(signature)
  expect(await world.store().getTask(task.id)).toMatchObject({
    status: 'succeeded',
    subscriptions: [{ deliveryStatus: 'delivered' }],
  })
  await world.clock.runFor(30 * DAY)
  expect(world.posted).toHaveLength(1)
  expect(world.asked).toHaveLength(1)
})

test('a running task is asked between the two bounds, and in the end more and more rarely', async () => {
  const world = createWorld({ answer: (_task, at) => (at >= START + 20 * MINUTE ? FINISHED : RUNNING) })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(30 * MINUTE)
  const gaps = world.asked.slice(1).map((one, index) => one.at - world.asked[index]!.at)
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(SECOND)
  expect(Math.max(...gaps)).toBeLessThanOrEqual(61 * SECOND)
  expect(gaps.at(-2)).toBeGreaterThan(4 * Math.min(...gaps))
  expect(world.posted).toHaveLength(1)
})

test('one query serves many subscriptions, and each endpoint hears once', async () => {
  const world = createWorld({ answer: (_task, at) => (at >= START + SECOND ? FINISHED : RUNNING) })
  for (const name of ['a', 'b', 'c']) await world.register({ taskId: 't', callbackUrl: `https://${name}.example/` })
  await world.clock.runFor(MINUTE)
  expect(world.posted.map((one) => one.url).sort()).toEqual([
    'https://a.example/',
    'https://b.example/',
    'https://c.example/',
  ])
  expect(new Set(world.posted.map((one) => one.headers['webhook-id'])).size).toBe(1)
  expect(new Set(world.posted.map((one) => one.body)).size).toBe(1)
  expect(world.peak.perTask).toBe(1)
  expect(world.asked.length).toBeLessThanOrEqual(3)
})

test('a late subscriber hears at once, with the same event', async () => {
  const world = createWorld()
  await world.register({ taskId: 't' })
  await world.clock.runFor(HOUR)
  await world.register({ taskId: 't', callbackUrl: 'https://late.example/' })
  await world.clock.runFor(SECOND)
  expect(world.asked).toHaveLength(1)
  expect(world.posted[1]).toMatchObject({ url: 'https://late.example/', body: world.posted[0]!.body })
  expect(world.posted[1]!.headers['webhook-id']).toBe(world.posted[0]!.headers['webhook-id'])
  expect(world.posted[1]!.headers['webhook-timestamp']).not.toBe(world.posted[0]!.headers['webhook-timestamp'])
})

test('no task is asked about twice at once, and the rate and the slots are kept, with a thousand due', async () => {
  const options = { budget: { rate: 50 }, pollConcurrency: 4 }
  const world = createWorld({ options, answerMs: 60, answer: (_task, _at, nth) => (nth > 1 ? FINISHED : RUNNING) })
  for (let index = 0; index < 1_000; index += 1)
    void world.engine().registrar.register([{ taskId: `t${index}`, callbackUrl: 'https://shop.example/' }])
  await world.clock.runFor(60 * SECOND)
  expect(world.posted).toHaveLength(1_000)
  expect(world.peak.perTask).toBe(1)
  expect(world.peak.queries).toBeLessThanOrEqual(4)
  const times = world.asked.map((one) => one.at)
  for (let index = 0; index + 50 < times.length; index += 1) {
    // Rate 50/s with a burst of 5: never more than 55 in any second.
    expect(times.filter((at) => at >= times[index]! && at < times[index]! + SECOND).length).toBeLessThanOrEqual(55)
  }
  // The slots allow 66 a second, the rate 50: the rate is what binds, and it is used up.
  const busy = times.filter((at) => at >= START + 5 * SECOND && at < START + 15 * SECOND)
  expect(busy.length).toBeGreaterThanOrEqual(480)
}, 240_000)

test('an ambiguous code fails the task after three answers alike, ten seconds apart', async () => {
  const world = createWorld({
    answer: () => answered({ resCode: '700', resMessage: 'invalid input: taskId', success: false }),
  })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(MINUTE)
  expect(world.asked.map((one) => one.at - START)).toEqual([0, 10_020, 20_040])
  expect(JSON.parse(world.posted[0]!.body)).toMatchObject({
    type: 'task.failed',
    data: { status: 'failed', pollCount: 3, error: { code: 'invalid_input', upstreamCode: '700' } },
  })
})

test('one hiccup never kills a task', async () => {
  const hiccup = answered({ resCode: '801', resMessage: 'model failed', success: false })
  const world = createWorld({
    answer: (_task, _at, nth) => (nth % 2 === 1 && nth < 9 ? hiccup : nth < 9 ? RUNNING : FINISHED),
  })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(10 * MINUTE)
  expect(JSON.parse(world.posted[0]!.body).type).toBe('task.succeeded')
})

test('a throttled credential slows down, and no turn is lost', async () => {
  const throttled = answered({
    gatewayCode: 'ApiCallLimit',
    gatewayMessage: 'this ban will last 7 seconds',
    resCode: null,
    success: null,
  })
  const world = createWorld({ answer: (_task, at) => (at < START + SECOND ? throttled : FINISHED) })
  await world.register({ taskId: 'a' })
  await world.register({ taskId: 'b' })
  await world.clock.runFor(6 * SECOND)
  const before = world.asked.length
  expect(world.posted).toHaveLength(0)
  await world.clock.runFor(3 * SECOND)
  expect(before).toBeLessThanOrEqual(2)
  expect(world.posted).toHaveLength(2)
  expect(world.asked.at(-1)!.at).toBeGreaterThanOrEqual(START + 7 * SECOND)
})

test('a refused credential fails no task: it is probed once a minute until it answers', async () => {
  const refused = answered({ gatewayCode: 'NoResource', gatewayMessage: 'exhausted', resCode: null, success: null })
  const options = { idleMs: SECOND, probeEveryMs: 5 * SECOND }
  const world = createWorld({ options, answer: (_task, at) => (at < START + 10 * MINUTE ? refused : FINISHED) })
  for (let index = 0; index < 50; index += 1) await world.register({ taskId: `t${index}` })
  await world.clock.runFor(9 * MINUTE + 50 * SECOND)
  expect(world.posted).toHaveLength(0)
  const probes = world.asked.filter((one) => one.at > START + 30 * SECOND)
  expect(probes.length).toBeGreaterThanOrEqual(8)
  expect(probes.length).toBeLessThanOrEqual(10)
  expect(world.logged.some((line) => line['event'] === 'upstream.refused' && line['level'] === 'error')).toBe(true)
  expect(world.engine().health.isReady()).toMatchObject({ ok: true, reasons: [expect.stringContaining('NoResource')] })
  await world.clock.runFor(5 * MINUTE)
  expect(world.posted).toHaveLength(50)
})

test('a task that nobody can speak for expires at its deadline, with the last observation in it', async () => {
  const world = createWorld({ answer: () => RUNNING })
  const task = await world.register({ taskId: 'a', deadline: '10m' })
  await world.clock.runFor(11 * MINUTE)
  const body = JSON.parse(world.posted[0]!.body)
  expect(body).toMatchObject({
    type: 'task.expired',
    data: { id: task.id, status: 'expired', error: { code: 'unknown' } },
  })
  expect(body.data.error.message).toContain('running')
  expect(world.asked.at(-1)!.at).toBe(START + 10 * MINUTE)
  expect(world.posted).toHaveLength(1)
})

test('a task of a refused credential expires too, within seconds of its deadline', async () => {
  const refused = answered({ gatewayCode: 'InvalidAppKey', gatewayMessage: 'no', resCode: null, success: null })
  const world = createWorld({ options: { idleMs: SECOND }, answer: () => refused })
  await world.register({ taskId: 'a', deadline: '10m' })
  await world.register({ taskId: 'b', deadline: '10m' })
  await world.clock.runFor(10 * MINUTE + 10 * SECOND)
  expect(world.posted).toHaveLength(2)
  expect(world.posted.every((one) => JSON.parse(one.body).type === 'task.expired')).toBe(true)
})

test('a failing receiver gets the schedule’s attempts with one id and one body, then the delivery is exhausted', async () => {
  const world = createWorld({ receive: () => ({ kind: 'response', status: 500, retryAfter: null }) })
  const task = await world.register({ taskId: 'a' })
  await world.clock.runFor(10 * DAY)
  expect(world.posted).toHaveLength(10)
  expect(new Set(world.posted.map((one) => one.headers['webhook-id'])).size).toBe(1)
  expect(new Set(world.posted.map((one) => one.body)).size).toBe(1)
  expect(new Set(world.posted.map((one) => one.headers['webhook-timestamp'])).size).toBe(10)
  const hours = world.posted.map((one) => (one.at - world.posted[0]!.at) / HOUR)
  expect(hours.at(-1)).toBeCloseTo(75.58, 1)
  expect(await world.store().getTask(task.id)).toMatchObject({ subscriptions: [{ deliveryStatus: 'exhausted' }] })
})

test('a silent receiver costs one deadline per attempt and holds up nobody', async () => {
  const world = createWorld({
    receive: (request) => (request.url.includes('dead') ? null : NO_CONTENT),
    options: { endpointConcurrency: 2, deliveryConcurrency: 4 },
  })
  for (let index = 0; index < 20; index += 1)
    await world.register({ taskId: `dead${index}`, callbackUrl: 'https://dead.example/' })
  for (let index = 0; index < 20; index += 1) await world.register({ taskId: `fine${index}` })
  await world.clock.runFor(5 * SECOND)
  expect(world.posted.filter((one) => one.url.includes('shop'))).toHaveLength(20)
  expect(world.posted.filter((one) => one.url.includes('dead')).length).toBeLessThanOrEqual(2)
})

test('stopping lets what is under way end, and gives back what does not', async () => {
  const world = createWorld({
    receive: (request) => (request.url.includes('slow') ? null : NO_CONTENT),
    answer: (task) => (task.taskId === 'hangs' ? null : FINISHED),
  })
  const slow = await world.register({ taskId: 'slow', callbackUrl: 'https://slow.example/' })
  await world.register({ taskId: 'hangs' })
  await world.clock.runFor(SECOND)
  const before = world.clock.now()
  await world.stop(5 * SECOND)
  expect(world.clock.now() - before).toBeLessThanOrEqual(7 * SECOND)
  await world.crash()
  expect(await world.store().getTask(slow.id)).toMatchObject({ subscriptions: [{ deliveryStatus: 'pending' }] })
  const [delivery] = (await world.store().listDeliveries({ limit: 1 })).items
  expect(delivery).toMatchObject({ attemptCount: 0, status: 'pending' })
})

test('a crash between the receiver’s 2xx and our commit is one more POST with the same id and bytes', async () => {
  const world = createWorld({ receiveMs: 1_000 })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(500)
  expect(world.posted).toHaveLength(1)
  await world.crash()
  await world.clock.runFor(5 * SECOND)
  expect(world.posted).toHaveLength(2)
  expect(world.posted[1]!.body).toBe(world.posted[0]!.body)
  expect(world.posted[1]!.headers['webhook-id']).toBe(world.posted[0]!.headers['webhook-id'])
  await world.clock.runFor(10 * DAY)
  expect(world.posted).toHaveLength(2)
})

test('a crash while asking loses nothing: the task is asked again at once', async () => {
  const world = createWorld({ answerMs: 5_000 })
  await world.register({ taskId: 'a' })
  await world.clock.runFor(SECOND)
  await world.crash()
  await world.clock.runUntil(after(START, 30 * SECOND))
  expect(world.asked).toHaveLength(2)
  expect(world.posted).toHaveLength(1)
})

test('a task that is refused for itself does not hold up the others of its credential', async () => {
  const refused = answered({
    gatewayCode: 'InsufficientPermission',
    gatewayMessage: 'not bought',
    resCode: null,
    success: null,
  })
  const world = createWorld({ answer: (task) => (task.kind === 'virtual-tryon' ? refused : FINISHED) })
  await world.register({ taskId: 'not-bought', kind: 'virtual-tryon' })
  await world.clock.runFor(SECOND)
  for (let index = 0; index < 20; index += 1) await world.register({ taskId: `t${index}` })
  await world.clock.runFor(15 * MINUTE)
  expect(world.posted).toHaveLength(20)
  expect(world.asked.filter((one) => one.taskId === 'not-bought').length).toBeLessThanOrEqual(5)
})

test('tasks that fell overdue while the daemon was down are asked about, not expired', async () => {
  const world = createWorld({
    answer: (_task, at) => (at > START + HOUR ? FINISHED : RUNNING),
    options: { idleMs: SECOND },
  })
  for (let index = 0; index < 100; index += 1) await world.register({ taskId: `t${index}`, deadline: '1h' })
  await world.clock.runFor(SECOND)
  await world.stop()
  await world.clock.runUntil(after(START, 3 * HOUR))
  await world.crash()
  await world.clock.runFor(MINUTE)
  expect(world.posted).toHaveLength(100)
  expect(world.posted.every((one) => JSON.parse(one.body).type === 'task.succeeded')).toBe(true)
})

test('a callback URL of its own for each task is as fast as one for all', async () => {
  const world = createWorld({ options: { deliveryConcurrency: 8, budget: { rate: 2_000 } } })
  for (let index = 0; index < 300; index += 1) {
    void world
      .engine()
      .registrar.register([{ taskId: `t${index}`, callbackUrl: `https://shop.example/?task=${index}` }])
  }
  await world.clock.runFor(3 * SECOND)
  expect(world.posted).toHaveLength(300)
})

test('slots that free take the next, though nothing else happens', async () => {
  const world = createWorld({ receiveMs: 1_000, options: { deliveryConcurrency: 4 } })
  for (let index = 0; index < 40; index += 1) await world.register({ taskId: `t${index}` })
  await world.clock.runFor(11 * SECOND)
  expect(world.posted).toHaveLength(40)
})

test('what is past its retention is forgotten, and a stop ends that early', async () => {
  const world = createWorld({ options: { retentionMs: HOUR } })
  const task = await world.register({ taskId: 'a' })
  await world.clock.runFor(2 * HOUR)
  await world.clock.settle()
  const stopping = new AbortController()
  stopping.abort()
  await world.engine().janitor.forgetOld(stopping.signal)
  expect(await world.store().getTask(task.id)).not.toBeNull()
  const forgetting = world.engine().janitor.forgetOld(new AbortController().signal)
  await world.clock.settle()
  await forgetting
  expect(await world.store().getTask(task.id)).toBeNull()
})
