/** What every store promises of work on many deliveries: recovery, bulk redelivery, and the deletion of an endpoint. */

import { describe, expect, test } from 'vitest'
import type { DeliveryStatus } from '../../src/core/delivery.ts'
import type { EndpointId, JobId } from '../../src/core/ids.ts'
import type { Job, JobFilter } from '../../src/core/job.ts'
import { after, DAY, type EpochMs, epochMs } from '../../src/core/time.ts'
import type { PollFacts, Store } from '../../src/store/store.ts'
import { aRegistration, START } from '../support/store.ts'
import {
  at,
  attempted,
  claim,
  claimDeliveries,
  FAILED,
  GONE,
  LEASE_MS,
  OK,
  pollAgain,
  polled,
  register,
  SECRETS,
  type StoreHarness,
  SUCCEEDED,
  settle,
  settledBy,
} from './steps.ts'

const URL_HERE = 'https://shop.example/hooks'
const URL_THERE = 'https://other.example/hooks'
const HERE = { kind: 'url', url: URL_HERE } as const
const THERE = { kind: 'url', url: URL_THERE } as const
const ONE_ATTEMPT = [0]

async function endpointAt(store: Store, url: string): Promise<EndpointId> {
  const { items } = await store.listEndpoints({ now: START, limit: 100 })
  const found = items.find((one) => one.url === url)
  if (found === undefined) throw new Error(`no endpoint at ${url}`)
  return found.id
}

/** Attempts everything that is due, once. */
async function attemptAll(store: Store, result = FAILED, now = START): Promise<number> {
  const name = `all-${now}`
  const { deliveries } = await claimDeliveries(store, name, now, {
    limit: 1_000,
    endpointConcurrency: 1_000,
    recoveringMax: 1_000,
    unhurriedMax: 1_000,
  })
  await store.recordAttempts({
    now,
    records: deliveries.map((one) => attempted(one, name, result, now, ONE_ATTEMPT)),
  })
  return deliveries.length
}

/** As many tasks that ended and whose receiver refused to hear of it. The names of what is at HERE begin with `name`. */
async function exhaust(
  store: Store,
  name: string,
  count: number,
  now = START,
  callback = HERE as { kind: 'url'; url: string },
) {
  for (let index = 0; index < count; index += 1) await settle(store, { taskId: `${name}-${index}`, callback }, now)
  // One that failed is tried alone: until nothing more is due, at later and later times.
  for (let rest = count, time = now; rest > 0; time = epochMs(time + DAY)) rest -= await attemptAll(store, FAILED, time)
}

async function statuses(store: Store, endpointId?: EndpointId): Promise<readonly DeliveryStatus[]> {
  const filter = endpointId === undefined ? {} : { endpointId }
  return (await store.listDeliveries({ limit: 500, ...filter })).items.map(({ status }) => status)
}

function exhaustedOf(endpointId: EndpointId | null, overrides: Partial<JobFilter> = {}): JobFilter {
  return { endpointId, status: 'exhausted', since: null, until: null, eventType: null, ...overrides }
}

async function begin(store: Store, filter: JobFilter, totalCount = 0, now = START): Promise<Job> {
  const result = await store.createJob({ now, filter, totalCount })
  if (result.kind !== 'created') throw new Error(`no job: ${JSON.stringify(result)}`)
  return result.job
}

async function runToEnd(store: Store, id: JobId, limit = 1_000, now = START): Promise<Job> {
  for (;;) {
    const advanced = await store.advanceJob({ now, id, limit })
    if (advanced === null || advanced.isWaiting) throw new Error('the job does not go on')
    if (advanced.job.status !== 'running') return advanced.job
  }
}

async function countAll(store: Store, filter: JobFilter, limit: number): Promise<number> {
  let total = 0
  for (let place: number | null = 0; place !== null; ) {
    const piece: { count: number; nextPosition: number | null } = await store.countRedeliverable({
      filter,
      after: place,
      limit,
    })
    total += piece.count
    place = piece.nextPosition
  }
  return total
}

export function describeJobs(name: string, open: () => Promise<StoreHarness>): void {
  describe(`${name}: jobs`, () => {
    test('what was exhausted is pending like new, due now, oldest first, and other endpoints are left alone', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 5)
      await exhaust(store, 'there', 2, START, THERE)
      const endpointId = await endpointAt(store, URL_HERE)
      const now = at(3 * DAY)
      const job = await begin(store, exhaustedOf(endpointId), 5, now)
      expect(job).toMatchObject({ status: 'running', totalCount: 5, queuedCount: 0, finishedAt: null })
      expect(await runToEnd(store, job.id, 2, now)).toMatchObject({ status: 'done', queuedCount: 5, finishedAt: now })
      expect(await statuses(store, await endpointAt(store, URL_THERE))).toEqual(['exhausted', 'exhausted'])
      const heard: string[] = []
      for (let time: EpochMs = now; heard.length < 5; time = epochMs(time + DAY)) {
        const { deliveries } = await claimDeliveries(store, `one-${time}`, time, { limit: 1, endpointConcurrency: 1 })
        for (const one of deliveries) {
          expect(one).toMatchObject({ scheduledAttemptCount: 0, isManual: false, attemptNumber: 2 })
          heard.push((JSON.parse(one.body) as { data: { taskId: string } }).data.taskId)
        }
        await store.recordAttempts({
          now: time,
          records: deliveries.map((one) => attempted(one, `one-${time}`, OK, time)),
        })
      }
      expect(heard).toEqual(['here-0', 'here-1', 'here-2', 'here-3', 'here-4'])
    })

    test('a piece looks at no more than it may, and its place survives the end of the daemon', async () => {
      const harness = await open()
      await exhaust(harness.store, 'here', 7)
      const job = await begin(harness.store, exhaustedOf(await endpointAt(harness.store, URL_HERE)), 7)
      const first = await harness.store.advanceJob({ now: START, id: job.id, limit: 3 })
      expect(first).toMatchObject({ queuedCount: 3, isWaiting: false, job: { status: 'running', queuedCount: 3 } })
      const { store } = await harness.reopen()
      expect(await store.listRunningJobs()).toEqual([job.id])
      expect(await runToEnd(store, job.id, 3)).toMatchObject({ queuedCount: 7 })
      expect(await statuses(store)).toEqual(Array(7).fill('pending'))
      expect(await store.listRunningJobs()).toEqual([])
      expect(await store.advanceJob({ now: START, id: job.id, limit: 3 })).toBeNull()
    })

    test('what is exhausted again, or only then, while the job runs is not queued by it', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 3)
      const job = await begin(store, exhaustedOf(await endpointAt(store, URL_HERE)), 3)
      await store.advanceJob({ now: START, id: job.id, limit: 2 })
      await exhaust(store, 'later', 1, at(DAY))
      await attemptAll(store, FAILED, at(9 * DAY))
      await attemptAll(store, FAILED, at(10 * DAY))
      expect(await runToEnd(store, job.id, 2)).toMatchObject({ queuedCount: 3 })
      expect((await statuses(store)).filter((status) => status === 'pending')).toHaveLength(1)
    })

    test.each([
      [{ since: at(1) }, 2],
      [{ until: at(1) }, 2],
      [{ since: at(DAY), until: at(2 * DAY) }, 2],
      [{ since: at(DAY + 1) }, 0],
      [{ eventType: 'task.succeeded' }, 4],
      [{ eventType: 'task.failed' }, 0],
      [{ status: 'delivered' }, 0],
    ] satisfies [Partial<JobFilter>, number][])(
      'of four, %j fits %i: counted, and queued',
      async (overrides, count) => {
        const { store } = await open()
        await exhaust(store, 'old', 2)
        await exhaust(store, 'new', 2, at(DAY))
        const endpointId = await endpointAt(store, URL_HERE)
        const now = at(9 * DAY)
        for (const filter of [exhaustedOf(endpointId, overrides), exhaustedOf(null, overrides)]) {
          expect(await countAll(store, filter, 3)).toBe(count)
          expect(await countAll(store, filter, 100)).toBe(count)
        }
        const job = await begin(store, exhaustedOf(endpointId, overrides), count, now)
        expect(await runToEnd(store, job.id, 3, now)).toMatchObject({ queuedCount: count })
        expect((await statuses(store)).filter((status) => status === 'pending')).toHaveLength(count)
      },
    )

    test('of all endpoints: what was delivered goes out again, except where nothing may be sent', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'a', callback: HERE })
      await settle(store, { taskId: 'b', callback: THERE })
      expect(await attemptAll(store, OK)).toBe(2)
      await store.setEndpointStatus({ now: START, id: await endpointAt(store, URL_THERE), status: 'paused' })
      const filter = exhaustedOf(null, { status: 'delivered' })
      expect(await countAll(store, filter, 1)).toBe(1)
      const job = await begin(store, filter, 1)
      expect(await runToEnd(store, job.id, 1)).toMatchObject({ queuedCount: 1 })
      expect(await statuses(store, await endpointAt(store, URL_THERE))).toEqual(['delivered'])
      const { deliveries } = await claimDeliveries(store, 'again')
      expect(deliveries).toMatchObject([{ url: URL_HERE, attemptNumber: 2, scheduledAttemptCount: 0 }])
    })

    test('a canceled job stops where it is, and what it has queued stays queued', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 4)
      const { id } = await begin(store, exhaustedOf(await endpointAt(store, URL_HERE)), 4)
      await store.advanceJob({ now: START, id, limit: 1 })
      const canceled = { kind: 'canceled', job: { status: 'canceled', queuedCount: 1, finishedAt: START } }
      expect(await store.cancelJob({ now: START, id })).toMatchObject(canceled)
      expect(await store.advanceJob({ now: START, id, limit: 1 })).toBeNull()
      expect((await statuses(store)).filter((status) => status === 'pending')).toHaveLength(1)
      expect(await store.cancelJob({ now: START, id })).toMatchObject({ kind: 'already_ended' })
      expect(await store.cancelJob({ now: START, id: 'job_nowhere' })).toEqual({ kind: 'not_found' })
    })

    test('an endpoint has one job at a time, and a job of all endpoints is on each of them', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 1)
      await exhaust(store, 'there', 1, START, THERE)
      const here = exhaustedOf(await endpointAt(store, URL_HERE))
      const there = exhaustedOf(await endpointAt(store, URL_THERE))
      const first = await begin(store, here)
      const params = { now: START, totalCount: 0 }
      expect(await store.createJob({ ...params, filter: here })).toEqual({ kind: 'job_running', job: first })
      expect(await store.createJob({ ...params, filter: exhaustedOf(null) })).toMatchObject({ kind: 'job_running' })
      const second = await begin(store, there)
      await runToEnd(store, first.id)
      await runToEnd(store, second.id)
      await begin(store, exhaustedOf(null))
      expect(await store.createJob({ ...params, filter: here })).toMatchObject({ kind: 'job_running' })
    })

    test('none begins at an endpoint that is not enabled, and one that has begun waits while it is not', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 3)
      const endpointId = await endpointAt(store, URL_HERE)
      const { id } = await begin(store, exhaustedOf(endpointId))
      await store.advanceJob({ now: START, id, limit: 1 })
      await store.setEndpointStatus({ now: START, id: endpointId, status: 'paused' })
      expect(await store.advanceJob({ now: START, id, limit: 9 })).toMatchObject({ isWaiting: true, queuedCount: 0 })
      await store.cancelJob({ now: START, id })
      const filter = exhaustedOf(endpointId)
      const refused = await store.createJob({ now: START, filter, totalCount: 0 })
      expect(refused).toMatchObject({ kind: 'endpoint_not_enabled', endpoint: { status: 'paused' } })
      await store.setEndpointStatus({ now: START, id: endpointId, status: 'enabled' })
      const again = await begin(store, filter)
      expect(await runToEnd(store, again.id)).toMatchObject({ queuedCount: 2 })
      const nowhere = await store.createJob({ now: START, filter: exhaustedOf('ep_nowhere'), totalCount: 0 })
      expect(nowhere).toEqual({ kind: 'unknown_endpoint' })
    })

    test('jobs are listed newest first, by status and in pages, and forgotten after the retention', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 1)
      const filter = exhaustedOf(await endpointAt(store, URL_HERE))
      const old = await begin(store, filter)
      await runToEnd(store, old.id)
      const young = await begin(store, filter)
      expect(await store.getJob(young.id)).toEqual(young)
      expect(await store.getJob('job_nowhere')).toBeNull()
      const page = await store.listJobs({ limit: 1 })
      expect(page.items.map(({ id }) => id)).toEqual([young.id])
      const { items } = await store.listJobs({ limit: 1, cursor: page.nextCursor! })
      expect(items.map(({ id }) => id)).toEqual([old.id])
      expect((await store.listJobs({ limit: 9, status: 'running' })).items).toHaveLength(1)
      await store.deleteSettledTasks({ settledBefore: at(DAY), limit: 100 })
      expect((await store.listJobs({ limit: 9 })).items.map(({ id }) => id)).toEqual([young.id])
    })
  })

  describe(`${name}: deleting an endpoint`, () => {
    test('is refused while deliveries are pending, unless they are dropped', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'a', callback: HERE })
      await settle(store, { taskId: 'b', callback: HERE })
      const id = await endpointAt(store, URL_HERE)
      const kept = await store.deleteEndpoint({ now: START, id, doesDropBacklog: false })
      expect(kept).toEqual({ kind: 'has_backlog', pendingCount: 2 })
      expect(await store.getEndpoint({ now: START, id })).not.toBeNull()
      const deleted = await store.deleteEndpoint({ now: START, id, doesDropBacklog: true })
      expect(deleted).toEqual({ kind: 'deleted', droppedCount: 2 })
      expect(await statuses(store)).toEqual(['canceled', 'canceled'])
      expect((await claimDeliveries(store, 'x', at(DAY))).deliveries).toEqual([])
    })

    test('it is unknown everywhere afterwards, and nobody brings it back', async () => {
      const { store } = await open()
      const made = await store.createEndpoint({ now: START, url: URL_HERE, name: 'x', secret: SECRETS[0]! })
      const { id } = made.endpoint
      const params = { now: START, id }
      expect(await store.deleteEndpoint({ ...params, doesDropBacklog: false })).toMatchObject({ kind: 'deleted' })
      expect(await store.getEndpoint(params)).toBeNull()
      expect((await store.listEndpoints({ now: START, limit: 9 })).items).toEqual([])
      expect(await store.setEndpointStatus({ ...params, status: 'enabled' })).toBeNull()
      expect(await store.updateEndpoint({ ...params, name: 'y' })).toEqual({ kind: 'not_found' })
      expect(
        await store.rotateSecret({ ...params, secret: SECRETS[1]!, privateKey: null as never, overlapMs: 0 }),
      ).toBeNull()
      expect(await store.deleteEndpoint({ ...params, doesDropBacklog: true })).toEqual({ kind: 'not_found' })
      const callback = { kind: 'endpoint', endpointId: id } as const
      const [registered] = await store.registerTasks({ now: START, registrations: [aRegistration({ callback })] })
      expect(registered).toEqual({ kind: 'unknown_endpoint', endpointId: id })
      const filter = exhaustedOf(id)
      expect(await store.createJob({ now: START, filter, totalCount: 0 })).toEqual({ kind: 'unknown_endpoint' })
    })

    test('its URL makes another endpoint, which is told of nothing that was meant for the first', async () => {
      const { store } = await open()
      const task = await register(store, { taskId: 'early', callback: HERE })
      const id = await endpointAt(store, URL_HERE)
      await store.deleteEndpoint({ now: START, id, doesDropBacklog: false })
      const [due] = await claim(store, 'late')
      await store.recordPolls({
        now: START,
        records: [polled(due!, 'late', { kind: 'settle', outcome: SUCCEEDED })],
        effects: [],
      })
      expect((await store.getTask(task.id))?.subscriptions).toMatchObject([
        { endpointId: id, deliveryId: null, endpointStatus: 'deleted' },
      ])
      expect(await statuses(store)).toEqual([])
      await settle(store, { taskId: 'late', callback: HERE })
      const anew = await endpointAt(store, URL_HERE)
      expect(anew).not.toBe(id)
      expect(await statuses(store, anew)).toEqual(['pending'])
      expect(await statuses(store, id)).toEqual([])
    })

    test.each([
      ['2xx', OK, 'delivered'],
      ['a failure', FAILED, 'canceled'],
      ['410', GONE, 'canceled'],
    ] as const)(
      'an attempt under way ends with %s: it is recorded, and nothing more is sent',
      async (_, result, status) => {
        const { store } = await open()
        await settle(store, { taskId: 'a', callback: HERE })
        await settle(store, { taskId: 'b', callback: HERE })
        const id = await endpointAt(store, URL_HERE)
        const { deliveries } = await claimDeliveries(store, 'way', START, { limit: 1 })
        await store.deleteEndpoint({ now: START, id, doesDropBacklog: true })
        expect([...(await statuses(store))].sort()).toEqual(['canceled', 'pending'])
        expect(await store.dropBacklogs({ now: START, limit: 9 })).toEqual({ droppedCount: 0, isMore: true })
        const records = deliveries.map((one) => attempted(one, 'way', result))
        expect(await store.recordAttempts({ now: START, records })).toEqual({ applied: 1 })
        await store.dropBacklogs({ now: START, limit: 9 })
        expect(await store.getDelivery(deliveries[0]!.id)).toMatchObject({ status, attemptCount: 1 })
        expect(await store.dropBacklogs({ now: START, limit: 9 })).toEqual({ droppedCount: 0, isMore: false })
        expect(await store.getEndpoint({ now: START, id })).toBeNull()
      },
    )

    test('a backlog is dropped in pieces, also by the next daemon, and also under leases of the one before', async () => {
      const harness = await open()
      // More than the first piece, which goes with the endpoint.
      const count = 560
      await register(harness.store, { taskId: 'seed', callback: HERE })
      const id = await endpointAt(harness.store, URL_HERE)
      for (let index = 0; index < count; index += 1) {
        await settle(harness.store, { taskId: `t-${index}`, callback: HERE }, at(index * 10))
      }
      await claimDeliveries(harness.store, 'lost', START, { limit: 5 })
      await harness.store.deleteEndpoint({ now: START, id, doesDropBacklog: true })
      const { store } = await harness.reopen()
      let pieces = 0
      while ((await store.dropBacklogs({ now: START, limit: 20 })).isMore) pieces += 1
      expect(pieces).toBeGreaterThan(2)
      const { items } = await store.listDeliveries({ limit: 500, status: 'pending' })
      expect(items).toEqual([])
    }, 60_000)

    test('a lease that nobody writes under ends, and then its delivery is dropped too', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'a', callback: HERE })
      const id = await endpointAt(store, URL_HERE)
      await claimDeliveries(store, 'lost')
      await store.deleteEndpoint({ now: START, id, doesDropBacklog: true })
      expect(await statuses(store)).toEqual(['pending'])
      expect(await store.dropBacklogs({ now: at(LEASE_MS), limit: 9 })).toEqual({ droppedCount: 1, isMore: true })
      expect(await statuses(store)).toEqual(['canceled'])
    })

    test('what a person wanted sent once more is again what it was', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'a', callback: HERE })
      await attemptAll(store, OK)
      const [delivery] = (await store.listDeliveries({ limit: 1 })).items
      await store.redeliver({ now: at(5), deliveryId: delivery!.id })
      await store.deleteEndpoint({ now: at(5), id: delivery!.endpointId, doesDropBacklog: true })
      expect(await store.getDelivery(delivery!.id)).toMatchObject({ status: 'delivered', settledAt: START })
      expect(await store.redeliver({ now: at(5), deliveryId: delivery!.id })).toEqual({
        kind: 'endpoint_deleted',
        endpointId: delivery!.endpointId,
      })
    })

    test('its running job ends with it', async () => {
      const { store } = await open()
      await exhaust(store, 'here', 2)
      const endpointId = await endpointAt(store, URL_HERE)
      const { id } = await begin(store, exhaustedOf(endpointId))
      await store.deleteEndpoint({ now: START, id: endpointId, doesDropBacklog: true })
      expect(await store.getJob(id)).toMatchObject({ status: 'canceled' })
      expect(await store.listRunningJobs()).toEqual([])
    })

    test('old deliveries can be seen until the retention, which forgets the endpoint when nothing refers to it', async () => {
      const { store } = await open()
      await settle(store, { taskId: 'told', callback: HERE })
      await attemptAll(store, OK)
      await register(store, { taskId: 'waits', callback: HERE })
      const id = await endpointAt(store, URL_HERE)
      await store.deleteEndpoint({ now: at(1), id, doesDropBacklog: false })
      expect((await store.listDeliveries({ limit: 9 })).items).toMatchObject([
        { endpointId: id, callbackUrl: URL_HERE },
      ])
      const forget = () => store.deleteSettledTasks({ settledBefore: at(DAY), limit: 9 })
      expect(await forget()).toBe(1)
      const forgetEndpoints = async () =>
        (await store.forgetEndpoints({ usedBefore: START, after: null, limit: 9 })).forgottenCount
      expect(await forgetEndpoints(), 'a task still waits to tell it').toBe(0)
      const [due] = await claim(store, 'end', at(2))
      await store.cancelTask({ now: at(2), id: due!.id })
      expect(await forget()).toBe(1)
      expect(await forgetEndpoints()).toBe(1)
      expect(await forgetEndpoints()).toBe(0)
    })

    test('a callback URL that nobody has used since the retention is forgotten, unless somebody made something of it', async () => {
      const { store } = await open()
      const names = ['unused', 'named', 'secret', 'paused', 'young', 'waits', 'told']
      const urlOf = (name: string) => `https://${name}.example/hooks`
      const ids = new Map<string, EndpointId>()
      for (const name of names) {
        const now = at(name === 'young' ? DAY : 0)
        const task = await register(store, { taskId: name, callback: { kind: 'url', url: urlOf(name) } }, now)
        ids.set(name, task.subscriptions[0]!.endpointId)
        if (name === 'waits') continue
        if (name === 'told') continue
        await store.cancelTask({ now: START, id: task.id })
      }
      const idOf = (name: string) => ids.get(name)!
      await store.updateEndpoint({ now: START, id: idOf('named'), name: 'the shop' })
      await store.rotateSecret({ now: START, id: idOf('secret'), secret: SECRETS[0]!, overlapMs: 0 })
      await store.setEndpointStatus({ now: START, id: idOf('paused'), status: 'paused' })
      await store.createEndpoint({ now: START, url: 'https://made.example/', name: null, secret: SECRETS[1]! })
      await store.deleteSettledTasks({ settledBefore: at(1), limit: 99 })
      const due = await claim(store, 'told', START)
      const told = due.filter((task) => task.taskId === 'told').map((task) => settledBy(task, 'told'))
      await store.recordPolls({ now: START, records: told, effects: [] })

      let after: EndpointId | null = null
      let forgottenCount = 0
      do {
        const piece: Awaited<ReturnType<Store['forgetEndpoints']>> = await store.forgetEndpoints({
          usedBefore: at(DAY),
          after,
          limit: 2,
        })
        forgottenCount += piece.forgottenCount
        after = piece.next
      } while (after !== null)
      expect(forgottenCount).toBe(1)
      const left = (await store.listEndpoints({ now: START, limit: 99 })).items.map(({ url }) => url)
      const kept = [...names.filter((name) => name !== 'unused').map(urlOf), 'https://made.example/']
      expect(left.toSorted()).toEqual(kept.toSorted())
      const again = await register(store, { taskId: 'again', callback: { kind: 'url', url: urlOf('unused') } }, at(DAY))
      expect(again.subscriptions[0]).toMatchObject({ endpointStatus: 'enabled' })
      expect(again.subscriptions[0]!.endpointId).not.toBe(idOf('unused'))
    })
  })

  describe(`${name}: one task, by a person's wish`, () => {
    test('a pending task is due now, whenever it was to be asked about', async () => {
      const { store } = await open()
      const { id } = await register(store, { firstPollAt: at(DAY) })
      expect(await claim(store, 'early')).toEqual([])
      expect(await store.pollTask({ now: START, id })).toMatchObject({ kind: 'due', task: { nextPollAt: START } })
      expect(await claim(store, 'now')).toMatchObject([{ id }])
      expect(await store.pollTask({ now: START, id: 'task_nowhere' })).toEqual({ kind: 'not_found' })
    })

    test('one that is overdue keeps its place', async () => {
      const { store } = await open()
      const { id } = await register(store)
      expect(await store.pollTask({ now: at(DAY), id })).toMatchObject({ task: { nextPollAt: START } })
    })

    test('one that has ended is not asked about again', async () => {
      const { store } = await open()
      const { id } = await settle(store)
      expect(await store.pollTask({ now: START, id })).toMatchObject({ kind: 'already_settled' })
      expect(await claim(store, 'x', at(DAY))).toEqual([])
    })

    test('all who were told of a task are told again, or it is said why not', async () => {
      const { store } = await open()
      const { id } = await register(store, { taskId: 'a', callback: HERE })
      await register(store, { taskId: 'a', callback: THERE })
      expect(await store.redeliverTask({ now: START, id })).toMatchObject({ kind: 'no_deliveries' })
      await settle(store, { taskId: 'a', callback: HERE })
      expect(await attemptAll(store, OK)).toBe(2)
      await store.setEndpointStatus({ now: START, id: await endpointAt(store, URL_THERE), status: 'paused' })
      const result = await store.redeliverTask({ now: START, id })
      expect(result).toMatchObject({
        kind: 'done',
        results: [{ kind: 'queued', delivery: { callbackUrl: URL_HERE } }, { kind: 'endpoint_not_enabled' }],
      })
      expect((await claimDeliveries(store, 'again')).deliveries).toMatchObject([{ isManual: true, url: URL_HERE }])
      expect(await store.redeliverTask({ now: START, id: 'task_nowhere' })).toEqual({ kind: 'not_found' })
    })

    test('its last polls are told in their order, with why the next was when it was', async () => {
      const { store } = await open()
      const { id } = await register(store)
      for (let nth = 1; nth <= 3; nth += 1) {
        const [due] = await claim(store, `p${nth}`, at(nth * 1_000))
        const nextPollAt = at((nth + 1) * 1_000)
        const reason = `because ${nth}`
        const waiting = { runningAt: null, suspicion: null, unavailableCount: 0 } as const
        const decision = { kind: 'poll_again', nextPollAt, reason, ...waiting } as const
        const record = polled(due!, `p${nth}`, decision)
        const poll = { ...record.poll!, detail: `answer ${nth}` }
        await store.recordPolls({ now: at(nth * 1_000), records: [{ ...record, poll }], effects: [] })
      }
      expect(await store.listPolls({ taskId: id, limit: 2 })).toMatchObject([
        { pollNumber: 2, firstPollNumber: 2, reason: 'because 2', nextPollAt: at(3_000) },
        { pollNumber: 3, firstPollNumber: 3, reason: 'because 3', nextPollAt: at(4_000) },
      ])
      expect(await store.listPolls({ taskId: 'task_nowhere', limit: 2 })).toEqual([])
    })

    test('polls that were answered alike are one, told as the last of them; any difference begins another', async () => {
      const { store } = await open()
      const { id } = await register(store)
      const same = { observation: 'running', detail: 'running (queued)', httpStatus: 200 } as const
      const other = { observation: 'unavailable', detail: 'bad gateway', httpStatus: 502 } as const
      const answers = [
        same,
        same,
        same,
        other,
        same,
        { ...same, httpStatus: 201 },
        { ...same, observation: 'finished' },
      ]
      for (const [index, answer] of answers.entries()) {
        const nth = index + 1
        const now = at(nth * 1_000)
        const [due] = await claim(store, `p${nth}`, now)
        const record = pollAgain(due!, `p${nth}`, after(now, 1_000))
        const poll = { ...record.poll!, ...answer, askedAt: now, durationMs: nth, requestId: `r${nth}` } as PollFacts
        await store.recordPolls({ now, records: [{ ...record, poll }], effects: [] })
      }
      const runs = await store.listPolls({ taskId: id, limit: 10 })
      expect(runs.map((run) => [run.firstPollNumber, run.pollNumber])).toEqual([
        [1, 3],
        [4, 4],
        [5, 5],
        [6, 6],
        [7, 7],
      ])
      expect(runs[0]).toEqual({
        ...same,
        firstPollNumber: 1,
        pollNumber: 3,
        firstAskedAt: at(1_000),
        askedAt: at(3_000),
        durationMs: 3,
        requestId: 'r3',
        nextPollAt: at(4_000),
        reason: 'later',
      })
      expect((await store.getTask(id))?.pollCount).toBe(7)
    })
  })
}
