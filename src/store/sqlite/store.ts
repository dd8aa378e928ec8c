/** The store on SQLite: each step of the port is one entry of a group commit over the tables. */

import type Database from 'better-sqlite3'
import { applyEffect, type Budget, type BudgetEffect, type BudgetSettings, grant, spend } from '../../core/budget.ts'
import type { Endpoint } from '../../core/endpoint.ts'
import { assert, type DamagedError } from '../../core/errors.ts'
import type { EndpointId } from '../../core/ids.ts'
import { upstreamFact } from '../../core/operator-event.ts'
import { type EpochMs, formatDuration, latest, SECOND } from '../../core/time.ts'
import type { Clock, Log, NewId, Vault } from '../../ports.ts'
import type { AttemptRecord } from '../attempts.ts'
import type { RedeliverResult, Registered, Registration, Store } from '../store.ts'
import { createCadenceTable, listCadences } from './cadences.ts'
import { createClockShift } from './clock-shift.ts'
import { createCredentialTable } from './credentials.ts'
import { createCustomHeaderTable } from './custom-headers.ts'
import { createDeliveryTable, type RedeliverableRow } from './deliveries.ts'
import { createDeliveryClaim } from './delivery-claim.ts'
import { ballastBytesOf, createDisk, type DiskSettings } from './disk.ts'
import { createEndpointChanges } from './endpoint-changes.ts'
import { createEndpointHealthTable } from './endpoint-health.ts'
import { createEndpointTable, type EndpointAddress } from './endpoints.ts'
import { createGroupCommit, isDamage, type Patience } from './group-commit.ts'
import { createJobSteps } from './job-steps.ts'
import { createLeaseTable } from './leases.ts'
import { createLookups } from './lookups.ts'
import { openDatabase } from './open.ts'
import { createDiskNotes, createOperatorEventTable, createTelling } from './operator-events.ts'
import { createPullTable } from './pull.ts'
import { reachOf } from './reach.ts'
import { createRetention } from './retention.ts'
import { createSecretTable, UNSEALED } from './secrets.ts'
import { createTaskTable, type KeptTask } from './tasks.ts'
import { createTurnTable } from './turns.ts'
import { createWriteAheadLog } from './write-ahead-log.ts'

export interface SqliteStoreOptions {
  readonly path: string
  readonly clock: Pick<Clock, 'now' | 'soon' | 'wakeAt'>
  readonly newId: NewId
  /** Nothing can be written any more; the process has to end. */
  readonly onDamaged: (error: DamagedError) => void
  /** Seals the secrets that are kept; without it they are kept as they are. */
  readonly vault?: Vault | undefined
  /** How much room is watched over and kept in reserve; without it nothing is. */
  readonly disk?: DiskSettings | undefined
  readonly log?: Log | undefined
}

/** @throws ConfigError, LockedError, DamagedError */
export function openSqliteStore(options: SqliteStoreOptions): Store {
  const { path, clock, newId, vault = UNSEALED, onDamaged, log } = options
  const { file, writer: db, reader, databaseId, close } = openDatabase(path, clock.now())
  const secrets = createSecretTable(db, vault)
  const customHeaders = createCustomHeaderTable(db, vault)
  const endpoints = createEndpointTable(db, newId, { secrets, customHeaders, vault })
  const turns = createTurnTable(db)
  const leases = createLeaseTable(db)
  const deliveries = createDeliveryTable(db, { newId, leases, turns })
  const operatorEvents = createOperatorEventTable(db, databaseId, deliveries)
  const health = createEndpointHealthTable(db, turns, operatorEvents)
  const endpointChanges = createEndpointChanges({ endpoints, secrets, customHeaders, turns, health })
  const diskNotes = createDiskNotes(db, operatorEvents)
  const deliveryClaim = createDeliveryClaim(db, { leases, health, turns, secrets, customHeaders })
  const tasks = createTaskTable(db, { newId, databaseId, leases, deliveries })
  const credentials = createCredentialTable(db)
  const cadences = createCadenceTable(db)
  const clockShift = createClockShift(db, credentials)
  const retention = createRetention(db, { clockShift, turns })
  const lookups = createLookups(reader)
  const pull = createPullTable(reader, db)
  /** What a step has just written, before anybody else can change it. */
  const written = createLookups(db)
  const disk = createDisk({ file, settings: options.disk, log })
  if (options.disk !== undefined) keepLogWithinBallast(db, file, options.disk)
  const wal = createWriteAheadLog({ db, file, onError: failIfDamaged, log })
  const group = createGroupCommit({ db, clock, disk, wal, forgetRows: credentials.forget, onDamaged, log })
  const { fail, close: closeWrites } = group
  const telling = createTelling(operatorEvents)
  const write = <T>(step: () => T, patience: Patience, itemCount = 1) =>
    telling.through(step, (told) => group.write(told, patience, itemCount))
  /** For a step that a caller waits for: it is refused, and never done, rather than left hanging. */
  const writeSoon = <T>(step: () => T, itemCount = 1) => write(step, 'request', itemCount)
  const piece = <T>(step: () => T) => write(step, 'piece')
  /** Not before the record of what was claimed before: once a lease has ended, it would hand that out again. */
  const claim = <T>(now: EpochMs, step: () => T, isBehindRecords = false) =>
    write(step, isBehindRecords || look(() => leases.hasAnyEnded(now)) ? 'piece' : 'claim')
  const record = <T>(step: () => T, how: { patience?: 'record' | 'good_record'; itemCount?: number } = {}) =>
    write(step, how.patience ?? 'record', how.itemCount)
  const movedByMs = db.transaction(() => {
    const byMs = clockShift.moveToStart(clock.now())
    turns.reckonAll()
    secrets.sealAll()
    customHeaders.sealAll()
    matchVault(clock.now())
    return byMs
  })
  tellMove(movedByMs.immediate())
  telling.handOver(operatorEvents.takeFresh())

  function matchVault(now: EpochMs): void {
    const { sealedOtherwise, readableAgain } = endpoints.compareWithVault(now)
    for (const id of readableAgain) health.resume(id, now, 'key')
    for (const id of sealedOtherwise) health.disable(id, 'secret_unreadable', now)
  }

  function tellMove(byMs: number): void {
    if (byMs === 0) return
    const how = `at least ${formatDuration(Math.round(-byMs / SECOND) * SECOND)} earlier than when this database was last used`
    log?.warn(
      { event: 'clock.jumped', mark: 'clock_jump_back', byMs },
      `it is ${how}: all that waits moves with the clock`,
    )
  }

  function failIfDamaged(error: unknown): void {
    if (isDamage(error)) fail(error)
  }

  /** Whoever looks may be the first to meet a damaged page. */
  function look<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      failIfDamaged(error)
      throw error
    }
  }

  /** `byUrl`: those that this step has found or made so far; a bulk of a thousand mostly names one. */
  function register(
    registration: Registration,
    byUrl: Map<string, EndpointAddress>,
    now: EpochMs,
  ): Kept | UnknownEndpoint {
    const { callback } = registration
    if (callback.kind === 'url') {
      const { url } = callback
      const endpointAt = () => {
        const endpoint = byUrl.get(url) ?? endpoints.findOrMake(url, now)
        byUrl.set(url, endpoint)
        return endpoint
      }
      return { kind: 'kept', ...tasks.register(registration, endpointAt, now) }
    }
    const endpoint = endpoints.find(callback.endpointId, now)
    if (endpoint === undefined) return { kind: 'unknown_endpoint', endpointId: callback.endpointId }
    return { kind: 'kept', ...tasks.register(registration, () => endpoint, now) }
  }

  function registerAll(registrations: readonly Registration[], now: EpochMs): readonly Registered[] {
    const byUrl = new Map<string, EndpointAddress>()
    const kept = registrations.map((registration) => register(registration, byUrl, now))
    const knownIds = kept.flatMap((item) => (item.kind === 'kept' && item.newTask === null ? [item.id] : []))
    const known = new Map(written.tasksById(knownIds).map((task) => [task.id, task]))
    return kept.map((item): Registered => {
      if (item.kind === 'unknown_endpoint') return item
      const task = item.newTask ?? known.get(item.id)
      assert(task !== undefined, `task ${item.id} is there in its own step`)
      return item.isCanceled ? { kind: 'canceled', task } : { kind: 'registered', task, isNew: item.isNew }
    })
  }

  function keptEndpoint(id: EndpointId, now: EpochMs): Endpoint {
    const endpoint = endpoints.find(id, now)
    assert(endpoint !== undefined, `endpoint ${id} is there`)
    return endpoint
  }

  function redeliverOne(row: RedeliverableRow, now: EpochMs): Exclude<RedeliverResult, { kind: 'not_found' }> {
    const endpoint = endpoints.find(row.endpointId, now)
    if (endpoint === undefined) return { kind: 'endpoint_deleted', endpointId: row.endpointId }
    if (endpoint.url === null) return { kind: 'endpoint_without_url', endpointId: row.endpointId }
    if (endpoint.status !== 'enabled') return { kind: 'endpoint_not_enabled', endpoint }
    const isQueued = deliveries.queueManualAttempt(row, now)
    const delivery = written.deliveryById(row.id)
    assert(delivery !== null, `delivery ${row.id} is there in its own step`)
    return { kind: isQueued ? 'queued' : 'under_way', delivery }
  }

  /** Before and after what was learned of a credential, of which the operator is told. */
  function budgetsAround(
    credential: string,
    effects: readonly { effect: BudgetEffect; settings: BudgetSettings }[],
    now: EpochMs,
  ): [before: Budget, after: Budget] {
    const before = credentials.read(credential, now)
    const after = effects.reduce((budget, { effect, settings }) => {
      const next = applyEffect(budget, settings, now, effect)
      const fact = upstreamFact(credential, budget, next, effect)
      if (fact !== null) operatorEvents.tell(fact, now)
      return next
    }, before)
    return [before, after]
  }

  function recordAttempt(one: AttemptRecord, now: EpochMs): boolean {
    if (!deliveries.recordAttempt(one, now)) return false
    health.noteAttempt(one, now)
    return true
  }

  return {
    ...createJobSteps(db, { reader, newId, endpoints, turns, writeSoon, piece, look }),
    databaseId,

    async registerTasks({ now, registrations }) {
      // Before the disk is full: what is left is for what has been taken already.
      const refusal = disk.refusal()
      if (refusal !== null) throw refusal
      return writeSoon(() => registerAll(registrations, now), registrations.length)
    },

    cancelTask: ({ now, id }) =>
      writeSoon(() => {
        const isCanceled = tasks.cancel(id, now)
        const task = written.tasksById([id])[0]
        if (task === undefined) return { kind: 'not_found' }
        return { kind: isCanceled ? 'canceled' : 'already_settled', task }
      }),

    pollTask: ({ now, id }) =>
      writeSoon(() => {
        const isDue = tasks.pollNow(id, now)
        const task = written.tasksById([id])[0]
        if (task === undefined) return { kind: 'not_found' }
        return { kind: isDue ? 'due' : 'already_settled', task }
      }),

    async claimDueTasks({ now, lease, credential, settings, limit }) {
      // What waits to be written is not seen: whoever writes it wakes the next claim.
      if (!look(() => tasks.isAnyDue(credential, now)))
        return { tasks: [], nextClaimAt: look(() => tasks.nextDueAfter(credential, now)), isMoreDue: false }
      return claim(now, () => {
        const budget = credentials.read(credential, now)
        const { grantedCount, nextGrantAt } = grant(budget, settings, now, limit)
        const claimed = tasks.claimDue({ now, lease, credential, limit: grantedCount, served: budget.served })
        const spent = spend(budget, settings, now, claimed.tasks.length)
        credentials.write(
          credential,
          budget,
          claimed.tasks.length === 0 ? budget : { ...spent, served: claimed.served },
        )
        // A full page may have left others behind: ask again as soon as the budget grants more.
        const isMoreDue = claimed.tasks.length === grantedCount
        const nextDueAt = isMoreDue ? now : tasks.nextDueAfter(credential, now)
        const nextClaimAt = nextDueAt === null ? null : latest(nextDueAt, nextGrantAt)
        return { tasks: claimed.tasks, nextClaimAt, isMoreDue }
      })
    },

    claimOverdueTasks: async (params) => claim(params.now, () => tasks.claimOverdue(params)),

    recordPolls({ now, records, effects, cadences: learned = [] }) {
      // Anything else lowers what the credential may ask.
      const patience = effects.every(({ effect }) => effect.kind === 'accepted') ? 'good_record' : 'record'
      return record(
        () => {
          cadences.write(learned, now)
          const recorded = records.flatMap((one) => tasks.recordPoll(one, now) ?? [])
          for (const credential of new Set(effects.map((one) => one.credential))) {
            const ofCredential = effects.filter((one) => one.credential === credential)
            credentials.write(credential, ...budgetsAround(credential, ofCredential, now))
          }
          const settled = recorded.flatMap((one) => one.settled ?? [])
          return { applied: recorded.length, settled }
        },
        { patience, itemCount: records.length },
      )
    },

    claimDueDeliveries: async (params) =>
      claim(params.now, () => deliveryClaim.claimDue(params), params.isBehindRecords),

    async recordAttempts({ now, records }) {
      // Anything else lowers what its endpoint may be sent, or when; or it is brought back by each success, and the claim
      // behind the record is to see it.
      const changesNothing = ({ delivery, verdict }: AttemptRecord) =>
        verdict.kind === 'delivered' && !delivery.isProbe && !look(() => turns.isRecovering(delivery.endpointId))
      const patience = records.every(changesNothing) ? 'good_record' : 'record'
      const step = () => ({ applied: records.filter((one) => recordAttempt(one, now)).length })
      return record(step, { patience, itemCount: records.length })
    },

    redeliver: ({ now, deliveryId }) =>
      writeSoon(() => {
        const row = deliveries.findRedeliverable(deliveryId)
        return row === undefined ? { kind: 'not_found' } : redeliverOne(row, now)
      }),

    redeliverTask: ({ now, id }) =>
      writeSoon(() => {
        const task = written.tasksById([id])[0]
        if (task === undefined) return { kind: 'not_found' }
        const rows = deliveries.listRedeliverable(id)
        if (rows.length === 0) return { kind: 'no_deliveries', task }
        return { kind: 'done', results: rows.map((row) => redeliverOne(row, now)) }
      }),

    createEndpoint: (params) => writeSoon(() => endpointChanges.create(params)),
    updateEndpoint: (params) => writeSoon(() => endpointChanges.update(params)),

    setEndpointStatus: ({ now, id, status }) =>
      writeSoon(() => {
        if (status === 'paused') health.pause(id, now)
        else if (endpointChanges.isReadable(id, now)) health.resume(id, now)
        // With a secret that cannot be opened nothing can be sent, whoever resumes it.
        else health.disable(id, 'secret_unreadable', now)
        return endpoints.find(id, now) ?? null
      }),

    rotateSecret: (params) => writeSoon(() => endpointChanges.rotate(params)),

    reachEndpoint: async ({ now, id }) => reachOf({ endpoints, secrets, customHeaders }, id, now),
    getEndpoint: async ({ now, id }) => look(() => endpoints.find(id, now) ?? null),
    listEndpoints: async ({ now, ...filter }) =>
      look(() => {
        const page = lookups.listEndpointIds(filter)
        return { ...page, items: page.items.map(({ id }) => keptEndpoint(id, now)) }
      }),

    pullEvents: async ({ now, endpointId, after, limit }) =>
      look(() => {
        if (endpointId === null) return pull.page(null, after, limit, ['daemon'])
        if (endpoints.find(endpointId, now) === undefined) return { kind: 'unknown_endpoint' }
        const signers = secrets.signersOf(endpointId, now)
        return signers === null
          ? { kind: 'unreadable_secret', endpointId }
          : pull.page(endpointId, after, limit, signers)
      }),
    async acknowledgeEvents({ now, endpointId, upTo, limit }) {
      if (!look(() => pull.isAnyUnacknowledged(endpointId, upTo))) return 0
      return writeSoon(() => pull.acknowledge(endpointId, upTo, now, limit))
    },

    getTask: async (id) => look(() => lookups.tasksById([id])[0] ?? null),
    listTasks: async (filter) => look(() => lookups.listTasks(filter)),
    getEvent: async (id) => look(() => lookups.eventById(id)),
    getDelivery: async (id) => look(() => lookups.deliveryById(id)),
    listDeliveries: async (filter) => look(() => lookups.listDeliveries(filter)),
    listAttempts: async (deliveryIds) => look(() => lookups.listAttempts(deliveryIds)),
    listPolls: async ({ taskId, limit }) => look(() => lookups.listPolls(taskId, limit)),
    listCadences: async () => look(() => listCadences(reader)),
    listBudgets: async () => look(() => credentials.list()),

    // As a record: a daemon whose disk is full starts all the same, and appoints before it tells.
    keepOperatorEndpoint: ({ now, url }) =>
      record(() => {
        const id = url === null ? null : endpoints.findOrMake(url, now).id
        operatorEvents.appoint(id, now)
        return id === null ? null : keptEndpoint(id, now)
      }),
    onTold: telling.onTold,
    deleteOperatorEvents: ({ toldBefore, limit }) =>
      write(() => retention.deleteOperatorEvents(toldBefore, limit), 'chore'),

    forgetEndpoints: ({ usedBefore, after, limit }) =>
      write(() => retention.forgetEndpoints(usedBefore, after, limit), 'chore'),
    deleteSettledTasks: ({ settledBefore, limit }) =>
      write(() => retention.deleteSettled(settledBefore, limit), 'chore', limit),
    // As a record: before what is reckoned by the new clock, and for as long as it takes.
    moveInstants: ({ now, byMs }) => record(() => clockShift.move(now, byMs)),
    async probe({ now }) {
      await write(() => {
        clockShift.noteAlive(now)
        leases.forgetOld(now)
        diskNotes.note(disk.room(), now)
      }, 'probe')
      disk.look()
    },
    impediments() {
      const refusal = disk.refusal()
      return refusal === null ? [] : [refusal.message]
    },
    checkpoint: async () => wal.checkpoint(),

    async close() {
      closeWrites()
      wal.empty()
      close()
    },
  }
}

/** A log longer than the ballast could not be moved into a database whose disk is full. */
function keepLogWithinBallast(db: Database.Database, file: string, settings: DiskSettings): void {
  const pageBytes = Number(db.pragma('page_size', { simple: true }))
  const pages = Math.floor(ballastBytesOf(file, settings) / 2 / pageBytes)
  const pagesNow = Number(db.pragma('wal_autocheckpoint', { simple: true }))
  if (pages < pagesNow) db.pragma(`wal_autocheckpoint = ${Math.max(1, pages)}`)
}

interface Kept extends KeptTask {
  readonly kind: 'kept'
}

type UnknownEndpoint = Extract<Registered, { kind: 'unknown_endpoint' }>
