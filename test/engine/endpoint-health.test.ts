/**
 * Endpoints that fail for days, on a virtual clock over the real store: disabled, probed, enabled and drained, across
 * restarts; and what the operator is told of it, exactly once and never in a circle.
 */

import { expect, test } from 'vitest'
import type { AttemptResult } from '../../src/core/delivery.ts'
import { DAY, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { START } from '../support/store.ts'
import { answered, createWorld, FINISHED, NO_CONTENT, type World } from '../support/world.ts'

const FAILED: AttemptResult = { kind: 'response', status: 500, retryAfter: null }
const GONE: AttemptResult = { kind: 'response', status: 410, retryAfter: null }
const SHOP = 'https://shop.example/hooks'
const OPERATOR = 'https://operator.example/alerts'

/** A task every so often, each of which is finished at once. */
async function registerDaily(world: World, days: number, perDay = 4): Promise<void> {
  for (let index = 0; index < days * perDay; index += 1) {
    await world.register({ taskId: `t${world.asked.length}-${index}` })
    await world.clock.runFor(DAY / perDay)
  }
}

async function endpointOf(world: World, url = SHOP) {
  const { items } = await world.store().listEndpoints({ now: world.clock.now(), limit: 10 })
  return items.find((endpoint) => endpoint.url === url)!
}

async function appointOperator(world: World): Promise<void> {
  const appointing = world.store().keepOperatorEndpoint({ now: world.clock.now(), url: OPERATOR })
  await world.clock.settle()
  await appointing
}

/** What has been told to the operator, in order; retries of one event apart. */
function toldOf(world: World): readonly { type: string; data: Record<string, unknown> }[] {
  const bodies = new Set(world.posted.filter(({ url }) => url === OPERATOR).map(({ body }) => body))
  return [...bodies].map((body) => JSON.parse(body) as { type: string; data: Record<string, unknown> })
}

test('five days of nothing but failures disable, probes come at growing gaps, and a success drains the backlog', async () => {
  let isBroken = true
  const world = createWorld({ receive: ({ url }) => (url === SHOP && isBroken ? FAILED : NO_CONTENT) })
  await appointOperator(world)
  await registerDaily(world, 5)
  expect((await endpointOf(world)).status).toBe('enabled')
  await world.register({ taskId: 'one-more' })
  await world.clock.runFor(SECOND)
  const disabled = await endpointOf(world)
  expect(disabled).toMatchObject({
    status: 'disabled',
    disabledReason: 'failing',
    health: { failingSince: START + 30 },
  })

  const disabledAt = world.posted.at(-1)!.at
  const before = world.posted.filter(({ url }) => url === SHOP).length
  await world.crash()
  await registerDaily(world, 1)
  await world.crash()
  await registerDaily(world, 1)
  const probes = world.posted.filter(({ url }) => url === SHOP).slice(before)
  const gaps = probes.map(({ at }, index) => Math.round((at - (probes[index - 1]?.at ?? disabledAt)) / MINUTE))
  expect(gaps).toEqual([5, 15, 30, 60, 120, 240, 360, 360, 360, 360, 360, 360])
  const probed = await world.store().listDeliveries({ endpointId: disabled.id, status: 'pending', limit: 100 })
  expect(probed.items.length).toBeGreaterThan(8)

  isBroken = false
  const count = world.posted.length
  await world.clock.runFor(6 * HOUR + MINUTE)
  await world.clock.runFor(2 * DAY)
  expect(await endpointOf(world)).toMatchObject({
    status: 'enabled',
    disabledReason: null,
    health: { failingSince: null, probeAt: null, probeCount: 0 },
  })
  expect((await world.store().listDeliveries({ endpointId: disabled.id, status: 'pending', limit: 1 })).items).toEqual(
    [],
  )
  // The first alone, and the rest after it.
  const drained = world.posted.slice(count).filter(({ url }) => url === SHOP)
  expect(drained[1]!.at).toBeGreaterThan(drained[0]!.at)
  const told = toldOf(world).filter(({ type }) => type.startsWith('endpoint.'))
  expect(told.map(({ type }) => type)).toEqual(['endpoint.disabled', 'endpoint.enabled'])
  expect(told[0]!.data).toMatchObject({ endpointId: disabled.id, host: 'shop.example', reason: 'failing' })
})

test('a probe uses up nothing of its delivery’s schedule, and is shown as one', async () => {
  const world = createWorld({ receive: () => FAILED })
  await registerDaily(world, 6)
  const { id } = await endpointOf(world)
  const { items } = await world.store().listDeliveries({ endpointId: id, status: 'pending', limit: 100 })
  const attempts = await world.store().listAttempts(items.map((delivery) => delivery.id))
  const probes = attempts.filter(({ isProbe }) => isProbe)
  expect(probes.length).toBeGreaterThan(3)
  expect(probes.every(({ verdict, isManual }) => verdict === 'unchanged' && !isManual)).toBe(true)
  await world.clock.runFor(4 * DAY)
  const later = await world.store().listDeliveries({ endpointId: id, status: 'pending', limit: 100 })
  expect(later.items.map((delivery) => delivery.id)).toEqual(items.map((delivery) => delivery.id))
})

test('two events that nobody can digest silence nobody, and one success in between starts the five days anew', async () => {
  let nth = 0
  const world = createWorld({
    options: { retryScheduleMs: Array.from({ length: 20 }, () => DAY / 2) },
    receive: () => {
      nth += 1
      return FAILED
    },
  })
  await world.register({ taskId: 'a' })
  await world.register({ taskId: 'b' })
  await world.clock.runFor(9 * DAY)
  expect(nth).toBeGreaterThan(20)
  expect((await endpointOf(world)).status).toBe('enabled')

  const other = createWorld({ receive: ({ body }) => (body.includes('"taskId":"fine"') ? NO_CONTENT : FAILED) })
  await registerDaily(other, 4)
  await other.register({ taskId: 'fine' })
  await registerDaily(other, 4)
  expect((await endpointOf(other)).status).toBe('enabled')
  await registerDaily(other, 2)
  expect((await endpointOf(other)).status).toBe('disabled')
})

test('410 disables at once and is told; it is not probed, and a person who resumes it brings the backlog back', async () => {
  let isGone = true
  const world = createWorld({ receive: ({ url }) => (url === SHOP && isGone ? GONE : NO_CONTENT) })
  await appointOperator(world)
  await world.register({ taskId: 'a' })
  await world.clock.runFor(MINUTE)
  await world.register({ taskId: 'b' })
  await world.clock.runFor(3 * DAY)
  expect(world.posted.filter(({ url }) => url === SHOP)).toHaveLength(1)
  expect(toldOf(world)).toMatchObject([{ type: 'endpoint.disabled', data: { reason: 'gone', host: 'shop.example' } }])
  isGone = false
  const { id } = await endpointOf(world)
  void world.store().setEndpointStatus({ now: world.clock.now(), id, status: 'enabled' })
  world.engine().wakeDispatcher()
  await world.clock.runFor(MINUTE)
  expect(world.posted.filter(({ url }) => url === SHOP)).toHaveLength(3)
  expect(toldOf(world).at(-1)).toMatchObject({ type: 'endpoint.enabled', data: { by: 'person', reason: 'gone' } })
})

test('the operator’s own endpoint, dead for weeks, makes events and no circle', async () => {
  const world = createWorld({ receive: () => FAILED })
  await appointOperator(world)
  await registerDaily(world, 9, 2)
  const operator = await endpointOf(world, OPERATOR)
  expect(operator).toMatchObject({ status: 'disabled', disabledReason: 'failing', isOperator: true })
  await world.clock.runFor(5 * DAY)
  const own = await world.store().listDeliveries({ endpointId: operator.id, limit: 100 })
  const told = world.logged.filter(({ event }) => event === 'endpoint.disabled' || event === 'delivery.exhausted')
  // Of its own trouble there are log lines, and nothing that waits to be sent to it.
  expect(told.filter(({ endpointId }) => endpointId === operator.id).length).toBeGreaterThan(0)
  expect(own.items.length).toBe(told.filter(({ endpointId }) => endpointId !== operator.id).length)
})

test('the upstream’s refusal is told once per pause, and its end', async () => {
  const refused = answered({ gatewayCode: 'NoResource', gatewayMessage: 'exhausted', resCode: null, success: null })
  const world = createWorld({ answer: (_task, at) => (at < START + 10 * MINUTE ? refused : FINISHED) })
  await appointOperator(world)
  for (let index = 0; index < 5; index += 1) await world.register({ taskId: `t${index}` })
  await world.clock.runFor(HOUR)
  expect(toldOf(world).map(({ type, data }) => [type, data['credential']])).toEqual([
    ['upstream.refused', 'aidge'],
    ['upstream.recovered', 'aidge'],
  ])
  expect(world.logged.filter(({ event }) => event === 'upstream.refused')).toHaveLength(1)
})

test('what the operator was told is forgotten after the retention, delivered or not', async () => {
  const world = createWorld({
    options: { retentionMs: DAY },
    receive: ({ url }) => (url === SHOP ? GONE : FAILED),
  })
  await appointOperator(world)
  await world.register({ taskId: 'a' })
  await world.clock.runFor(MINUTE)
  const { id } = await endpointOf(world, OPERATOR)
  const [owed] = (await world.store().listDeliveries({ endpointId: id, limit: 10 })).items
  expect(await world.store().getEvent(owed!.eventId)).toMatchObject({ type: 'endpoint.disabled', taskId: null })
  const forget = async () => {
    const forgetting = world.engine().janitor.forgetOld(new AbortController().signal)
    await world.clock.settle()
    await forgetting
  }
  await world.clock.runUntil(epochMs(START + 23 * HOUR))
  await forget()
  expect(await world.store().getEvent(owed!.eventId)).not.toBeNull()
  await world.clock.runUntil(epochMs(START + 25 * HOUR))
  await forget()
  expect(await world.store().getEvent(owed!.eventId)).toBeNull()
  expect(await world.store().getDelivery(owed!.id)).toBeNull()
})
