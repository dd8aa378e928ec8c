/**
 * Those who use the daemon: shops that register their tasks and ask again until they are told 2xx, and an operator who
 * cancels, redelivers, pauses, resumes, rotates and looks. What they were told is in the ledger, outside the daemon.
 */

import type { DeliveryId, EndpointId, TaskId } from '../../src/core/ids.ts'
import type { JobFilter } from '../../src/core/job.ts'
import { formatSecret } from '../../src/core/signature.ts'
import { HOUR, MINUTE, SECOND, toIso } from '../../src/core/time.ts'
import type { RegistrationInput } from '../../src/engine/register.ts'
import { SECRET } from '../support/world.ts'
import { S13_nothingReachesDeniedAddresses, S21_looksChangeNothing } from './invariants.ts'
import { OWN_HEADERS, privateKeyOf } from './key-pairs.ts'
import { type Ack, type Choice, note, type PostFact, wishOf } from './ledger.ts'
import { createChance } from './random.ts'
import { KIND_NAMES } from './upstream.ts'
import type { RunningDaemon, World } from './world.ts'

export interface Client {
  /** Lays out everything that will be asked for. */
  start(): void
  /** From now on patience is short, nobody meddles any more, and closed endpoints are opened. */
  calm(): void
  /** Whether all wishes have been acknowledged. */
  isSatisfied(): boolean
}

interface Wish {
  readonly input: RegistrationInput & { readonly kind: string; readonly callbackUrl: string }
  isAcknowledged: boolean
}

/** What an operator does, and how often. */
const WEIGHTS = {
  cancel: 2,
  redeliver: 3,
  pause: 1,
  resume: 1,
  rotate: 1,
  choose: 3,
  look: 1,
  recover: 2,
  redeliverMany: 2,
  cancelJob: 0.5,
  remove: 3,
  forget: 1,
  checkpoint: 1,
} as const
type Operation = keyof typeof WEIGHTS
/** Whoever wants to delete an endpoint in the middle of an attempt waits for one, and not for ever. */
const LOOKS_MAX = 80
const LOOK_EVERY_MS = 300

/** The daemon's own secret signs for whoever has none. */
const EVER = { from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY }

const SHOP_PATIENCE_MS = 2 * MINUTE
/** They must all be refused, whatever else is in the call. */
const DENIED_URLS = [
  'http://127.0.0.1/hook',
  'https://169.254.169.254/latest',
  'https://[::ffff:10.0.0.1]/',
  'https://2130706433/',
]

export function createClient(world: World): Client {
  const { plan, time, ledger, history, receivers, upstream } = world
  const chance = createChance(plan.seed).fork('client')
  const wishes: Wish[] = []
  const beingSet = new Set<string>()
  let isCalm = false

  /** What one process answers; null when it died over it, or nobody listens. */
  async function ask<T>(run: (daemon: RunningDaemon) => Promise<T>): Promise<T | null> {
    const daemon = world.daemon()
    if (daemon === null) return null
    const answered = new Promise<T | null>((resolve) => {
      time.reach(daemon, 1, () => run(daemon).then(resolve, () => resolve(null)))
    })
    const answer = await Promise.race([answered, daemon.gone.then(() => null)])
    return daemon.isDead() ? null : answer
  }

  async function register(group: readonly Wish[], withDenied: boolean): Promise<void> {
    for (const { input } of group) ledger.wishes.add(wishOf(input.kind, input.taskId, input.callbackUrl))
    const denied = withDenied ? [{ taskId: 'denied', callbackUrl: chance.pick(DENIED_URLS) }] : []
    const results = await ask((daemon) =>
      daemon.engine.registrar.register([...group.map((wish) => wish.input), ...denied]),
    )
    if (results === null) return retry(group)
    for (const [index, result] of results.entries()) {
      const wish = group[index]
      if (wish === undefined) noteDenied(result.ok)
      else if (result.ok) acknowledge(wish, result.task.id, result.isNew, result.task.eventId !== null)
      // Twice in one call: the first of them is in.
      else wish.isAcknowledged = true
    }
  }

  function noteDenied(isTaken: boolean): void {
    note(ledger, 'ip_literal_blocked')
    if (isTaken) ledger.violations.push(`${S13_nothingReachesDeniedAddresses.name}: a denied address was registered`)
  }

  function retry(group: readonly Wish[]): void {
    const waitMs = isCalm ? SECOND : chance.spread(200, SHOP_PATIENCE_MS)
    time.at(time.now() + waitMs, () => void register(group, false))
  }

  function acknowledge(wish: Wish, id: TaskId, isNew: boolean, isSettled: boolean): void {
    const { kind, taskId, callbackUrl: url } = wish.input
    wish.isAcknowledged = true
    const key = wishOf(kind, taskId, url)
    const earlier = ledger.acks.get(key)
    const isForgotten = plan.options.retentionMs < HOUR
    if (earlier !== undefined && earlier.id !== id && !isForgotten) {
      ledger.violations.push(`S19_oneRowPerTask: ${key} was acknowledged as ${earlier.id} and as ${id}`)
    }
    if (!isNew) note(ledger, 'known_registration')
    if (isNew && isSettled) note(ledger, 'late_subscriber')
    const ack: Ack = { kind, taskId, url, id }
    ledger.acks.set(key, ack)
    history.note(`client: ${kind}/${taskId} for ${new URL(url).host} is acknowledged as ${id}`)
  }

  function drawWish(index: number): Wish {
    const kind = chance.pick(KIND_NAMES)
    const taskId = `job-${index}`
    const isEndless = upstream.fateOf(kind, taskId).end === 'never'
    const deadline = isEndless || chance.happens(0.2) ? chance.pick(['90s', '5m', '30m', '1h']) : undefined
    const submittedAt = chance.happens(0.3) ? toIso(time.wall()) : undefined
    const input = {
      taskId,
      kind,
      callbackUrl: chance.pick(receivers.urls),
      deadline,
      submittedAt,
      metadata: { order: index },
    }
    return { input, isAcknowledged: false }
  }

  function planRegistrations(): void {
    const moment = () => Math.round(plan.safetyMs * chance.next() * 0.8)
    let group: Wish[] = []
    for (let index = 0; index < plan.taskCount; index += 1) {
      const wish = drawWish(index)
      wishes.push(wish)
      group.push(wish)
      if (chance.happens(0.5)) continue
      schedule(moment(), group)
      // The same again, by somebody who did not wait for the answer; and others who want to hear of it too.
      if (chance.happens(0.2)) schedule(moment(), group)
      if (chance.happens(0.3)) schedule(moment(), [another(wish)])
      group = []
    }
    if (group.length > 0) schedule(moment(), group)
  }

  function another(wish: Wish): Wish {
    const other = { input: { ...wish.input, callbackUrl: chance.pick(receivers.urls) }, isAcknowledged: false }
    wishes.push(other)
    return other
  }

  function schedule(at: number, group: readonly Wish[]): void {
    const withDenied = chance.happens(0.2)
    time.at(at, () => void register(group, withDenied))
  }

  const operations: Readonly<Record<Operation, () => Promise<void>>> = {
    async cancel() {
      const ack = pickAck()
      if (ack === undefined) return
      const answer = await ask(({ store }) => store.cancelTask({ now: time.wall(), id: ack.id as TaskId }))
      if (answer?.kind !== 'canceled') return
      history.note(`operator: ${ack.id} is canceled`)
      ledger.canceled.set(ack.id, time.now())
      note(ledger, 'canceled_while_pending')
    },
    async redeliver() {
      const status = chance.pick(['delivered', 'delivered', 'pending', 'exhausted'] as const)
      const page = await ask(({ store }) => store.listDeliveries({ limit: 100, status }))
      if (page === null || page.items.length === 0) return
      const { id, eventId, endpointId } = chance.pick(page.items)
      const telling = ledger.tellings.get(`${eventId} ${endpointId}`)
      if (telling !== undefined) telling.credits = 1
      history.note(`operator: redelivers ${id}`)
      await ask(async ({ store, engine }) => {
        await store.redeliver({ now: time.wall(), deliveryId: id as DeliveryId })
        engine.wakeDispatcher()
      })
    },
    pause: () => setStatus('paused'),
    resume: () => setStatus('enabled'),
    async rotate() {
      const url = chance.pick(receivers.urls)
      const id = await endpointOf(url)
      if (id === null) return
      const secret = formatSecret(chance.bytes(32))
      const overlapMs = chance.spread(MINUTE, 2 * HOUR)
      const known = ledger.secrets.get(url) ?? [{ ...EVER, secret: SECRET }]
      const last = known.at(-1)
      // Whether it goes in or not, the one before goes on signing for the overlap; of older ones nothing is certain.
      for (const one of known) {
        const isCertain = one === last && one.from < Number.POSITIVE_INFINITY && plan.clockJumps.length === 0
        one.until = Math.min(one.until, time.now() + (isCertain ? overlapMs : 0))
      }
      const fresh = { secret, from: Number.POSITIVE_INFINITY, until: Number.POSITIVE_INFINITY }
      ledger.secrets.set(url, [...known, fresh])
      // Whoever has a secret of its own wants a key pair and a header as well.
      const dressed = { headers: OWN_HEADERS, privateKey: privateKeyOf(url) }
      const endpoint = await ask(async ({ store }) => {
        await store.updateEndpoint({ now: time.wall(), id, ...dressed })
        return store.rotateSecret({ now: time.wall(), id, secret, overlapMs })
      })
      if (endpoint === null) return
      history.note(`operator: rotates the secret of ${new URL(url).host}`)
      ledger.secrets.set(url, [...(ledger.secrets.get(url) ?? []).slice(0, -1), { ...fresh, from: time.now() }])
    },
    async look() {
      const ack = pickAck()
      await ask(async ({ store, isDead }) => {
        const before = world.changeCount()
        const looks = [
          store.listTasks({ limit: 50 }),
          store.listDeliveries({ limit: 50, status: 'pending' }),
          store.listEndpoints({ now: time.wall(), limit: 50 }),
          store.listBudgets(),
          ...(ack === undefined ? [] : [store.getTask(ack.id as TaskId)]),
        ]
        const after = isDead() ? before : world.changeCount()
        world.check([S21_looksChangeNothing], { before, after })
        await Promise.all(looks)
      })
    },
    async choose() {
      const url = chance.pick(receivers.urls)
      const id = await endpointOf(url)
      if (id === null) return
      const eventTypes = receivers.choiceOf(url)
      const choice: Choice = ledger.choices.get(id) ?? { types: eventTypes, state: 'asked' }
      ledger.choices.set(id, choice)
      const answer = await ask(({ store }) => store.updateEndpoint({ now: time.wall(), id, eventTypes }))
      if (answer?.kind !== 'kept') return
      history.note(`operator: ${new URL(url).host} hears of ${eventTypes.join(', ')} alone`)
      if (choice.state === 'asked') choice.state = 'kept'
    },
    recover: () => queueMany('exhausted'),
    redeliverMany: () => queueMany('delivered'),
    async cancelJob() {
      await ask(async ({ store }) => {
        const [id] = await store.listRunningJobs()
        if (id !== undefined) await store.cancelJob({ now: time.wall(), id })
      })
    },
    async remove() {
      const url = (await owedUrl()) ?? chance.pick(receivers.urls)
      if (beingSet.has(url)) return
      beingSet.add(url)
      await remove(url)
      beingSet.delete(url)
    },
    forget: () => chore((daemon) => daemon.engine.janitor.forgetOld(new AbortController().signal)),
    checkpoint: () => chore((daemon) => daemon.engine.janitor.checkpoint()),
  }

  /** Of an endpoint that is owed something, best of all under way; null when none is. */
  async function owedUrl(): Promise<string | null> {
    const isOpen = ({ endedAt, url }: PostFact) => endedAt === null && receivers.urls.includes(url)
    for (let look = 0; look < LOOKS_MAX; look += 1) {
      const open = ledger.posts.filter(isOpen)
      if (open.length > 0) return chance.pick(open).url
      await new Promise<void>((resolve) => void time.at(time.now() + LOOK_EVERY_MS, resolve))
    }
    const page = await ask(({ store }) => store.listDeliveries({ limit: 100, status: 'pending' }))
    const owed = (page?.items ?? []).flatMap(({ callbackUrl }) => (callbackUrl === null ? [] : [callbackUrl]))
    const urls = owed.filter((url) => receivers.urls.includes(url))
    return urls.length === 0 ? null : chance.pick(urls)
  }

  async function queueMany(status: JobFilter['status']): Promise<void> {
    const url = chance.pick(receivers.urls)
    const endpointId = chance.happens(0.3) ? null : await endpointOf(url)
    const filter = { endpointId, status, since: null, until: null, eventType: null }
    history.note(`operator: wants all again that were ${status}, of ${endpointId ?? 'all'}`)
    await ask(({ engine }) => engine.jobs.begin(filter))
  }

  /** Whoever registers for its URL later makes another endpoint. */
  async function remove(url: string): Promise<void> {
    const id = await endpointOf(url)
    if (id === null) return
    // Until it is known whether it went in, nothing certain can be said of the URL.
    for (const one of ledger.secrets.get(url) ?? []) one.until = Math.min(one.until, time.now())
    ledger.closedUrls.delete(url)
    const deletion = await ask(async ({ store, engine }) => {
      const result = await store.deleteEndpoint({ now: time.wall(), id, doesDropBacklog: chance.happens(0.8) })
      engine.jobs.wake()
      return result
    })
    if (deletion?.kind !== 'deleted') return
    ledger.probing.delete(id)
    note(ledger, 'endpoint_deleted')
    history.note(`operator: deletes ${new URL(url).host}, ${deletion.droppedCount} waiting`)
  }

  async function chore(run: (daemon: RunningDaemon) => Promise<void>): Promise<void> {
    await ask(run)
  }

  function pickAck(): Ack | undefined {
    return ledger.acks.size === 0 ? undefined : chance.pick([...ledger.acks.values()])
  }

  async function endpointOf(url: string): Promise<EndpointId | null> {
    const page = await ask(({ store }) => store.listEndpoints({ now: time.wall(), limit: 100 }))
    return page?.items.find((endpoint) => endpoint.url === url)?.id ?? null
  }

  /** One after the other for each URL: of two at once nobody could say which came last. */
  async function setStatus(status: 'enabled' | 'paused', url = chance.pick(receivers.urls)): Promise<void> {
    if (beingSet.has(url)) return
    beingSet.add(url)
    await setStatusOf(url, status)
    beingSet.delete(url)
  }

  async function setStatusOf(url: string, status: 'enabled' | 'paused'): Promise<void> {
    const id = await endpointOf(url)
    if (id === null) return
    const wasClosed = ledger.closedUrls.has(url)
    if (status === 'paused') ledger.everPaused.add(id)
    if (status === 'enabled') ledger.closedUrls.delete(url)
    const endpoint = await ask(async ({ store, engine }) => {
      const answer = await store.setEndpointStatus({ now: time.wall(), id, status })
      engine.wakeDispatcher()
      return answer
    })
    if (endpoint?.status !== status) return
    history.note(`operator: ${new URL(url).host} is ${status}`)
    ledger.probing.delete(id)
    if (status === 'paused') return void ledger.closedUrls.set(url, time.now())
    // A 410 may have been recorded before it.
    ledger.closedUrls.delete(url)
    ledger.wellAt.set(id, time.now())
    if (wasClosed) note(ledger, 'endpoint_resumed_backlog')
  }

  function planMeddling(): void {
    const count = Math.round(plan.meddling * 20)
    for (let index = 0; index < count; index += 1) {
      const name = chance.weighted(WEIGHTS)
      time.at(Math.round(plan.safetyMs * chance.next()), () => (isCalm ? undefined : void operations[name]()))
    }
  }

  /** A resumption that was not heard is tried again. Whoever is only failing comes back by itself, if anything waits. */
  async function openAll(): Promise<void> {
    const page = await ask(({ store }) => store.listEndpoints({ now: time.wall(), limit: 100 }))
    const closed = (page?.items ?? []).filter(({ status }) => status !== 'enabled')
    let leftCount = 0
    for (const { id, url, disabledReason } of closed) {
      if (disabledReason === 'failing' && (await isOwed(id))) leftCount += 1
      else if (url !== null) await setStatus('enabled', url)
    }
    if (page === null || closed.length > leftCount) time.at(time.now() + SECOND, () => void openAll())
  }

  async function isOwed(endpointId: EndpointId): Promise<boolean> {
    const page = await ask(({ store }) => store.listDeliveries({ endpointId, status: 'pending', limit: 1 }))
    return page !== null && page.items.length > 0
  }

  return {
    start() {
      planRegistrations()
      planMeddling()
    },
    calm() {
      isCalm = true
      void openAll()
    },
    isSatisfied: () => wishes.every((wish) => wish.isAcknowledged),
  }
}
