/**
 * The store: all truth, behind whole steps named from the domain.
 *
 * Each method is one transaction. A promise that resolves means that the step is on disk; one that rejects means that
 * nothing of it is. Every method takes `now`; no method reads a clock. A claim hands out items under a lease: until the
 * lease ends nobody else gets them, and every later write about them says which lease it holds. A write under a lease
 * that is no longer held changes nothing and is counted as not applied: that is normal, not an error.
 *
 * While another program holds the database, or its disk is full, records wait for as long as it takes: what has happened
 * in the world cannot be asked for again. What a caller waits for (registering, canceling, redelivering, endpoints) and
 * claims, whose end could not be recorded, reject with an `AppError` (`unavailable`, `disk_full`) after some seconds or at
 * once, and are not done later either. Registering is refused already when the disk is nearly full.
 *
 * After a crash the items under a dead daemon's leases are claimable as soon as a store is opened again.
 */

import type { Budget, BudgetEffect, BudgetSettings } from '../core/budget.ts'
import type { CadenceRecord } from '../core/cadence.ts'
import type { CustomHeaders } from '../core/custom-headers.ts'
import type { Decision } from '../core/decision.ts'
import type { DeliveryStatus, DueDelivery } from '../core/delivery.ts'
import type { Endpoint, EndpointSettings, EndpointStatus, Signer } from '../core/endpoint.ts'
import type { Event } from '../core/event.ts'
import type { DeliveryId, EndpointId, EventId, LeaseToken, TaskId } from '../core/ids.ts'
import type { Observation } from '../core/observation.ts'
import type { DueTask, SettledTask, TaskStatus } from '../core/task.ts'
import type { EpochMs } from '../core/time.ts'
import type { Attempt, AttemptRecord } from './attempts.ts'
import type { JobStore } from './jobs.ts'
import type { OperatorStore } from './operator.ts'
import type { PullStore } from './pull.ts'

export interface Lease {
  readonly token: LeaseToken
  readonly expiresAt: EpochMs
}

/** Where to call back: a URL that is found or becomes an endpoint, or an endpoint that exists. */
export type Callback =
  | { readonly kind: 'url'; readonly url: string }
  | { readonly kind: 'endpoint'; readonly endpointId: EndpointId }

export interface Registration {
  readonly taskId: string
  readonly kind: string
  readonly credential: string
  readonly callback: Callback
  /** JSON text of an object. */
  readonly metadata: string
  readonly submittedAt: EpochMs | null
  readonly deadlineAt: EpochMs
  readonly firstPollAt: EpochMs
}

export type Registered =
  /** `isNew`: the task, or this endpoint's wish to hear of it, was not known before. */
  | { readonly kind: 'registered'; readonly task: Task; readonly isNew: boolean }
  | { readonly kind: 'unknown_endpoint'; readonly endpointId: EndpointId }
  /** Nobody will ever be told of it. */
  | { readonly kind: 'canceled'; readonly task: Task }

export interface Subscription {
  readonly endpointId: EndpointId
  /** Null: its receiver comes and asks. */
  readonly callbackUrl: string | null
  readonly deliveryId: DeliveryId | null
  readonly deliveryStatus: DeliveryStatus | null
  /** Only an enabled endpoint is sent to. */
  readonly endpointStatus: EndpointStatus
}

/** A task as people see it. */
export interface Task {
  readonly id: TaskId
  readonly taskId: string
  readonly kind: string
  readonly status: TaskStatus
  /** JSON text of an object, as it was registered. */
  readonly metadata: string
  readonly registeredAt: EpochMs
  readonly submittedAt: EpochMs | null
  readonly settledAt: EpochMs | null
  readonly deadlineAt: EpochMs
  readonly nextPollAt: EpochMs | null
  readonly pollCount: number
  readonly lastObservation: string | null
  readonly eventId: EventId | null
  /** JSON text `{partial, images, error}` of a settled task that is told of, as it is told. */
  readonly outcome: string | null
  readonly subscriptions: readonly Subscription[]
}

export interface Delivery {
  readonly id: DeliveryId
  readonly eventId: EventId
  readonly eventType: string
  readonly taskId: TaskId | null
  readonly endpointId: EndpointId
  /** Null: its receiver comes and asks. */
  readonly callbackUrl: string | null
  readonly status: DeliveryStatus
  readonly attemptCount: number
  readonly nextAttemptAt: EpochMs | null
  readonly createdAt: EpochMs
  readonly settledAt: EpochMs | null
  readonly lastStatusCode: number | null
  readonly lastFailure: string | null
}

/** What one query said about one task, for the timeline. */
export interface PollFacts {
  readonly askedAt: EpochMs
  readonly durationMs: number
  readonly observation: Observation['kind']
  readonly detail: string
  readonly httpStatus: number | null
  readonly requestId: string | null
}

/** Polls that were answered alike, one after the other, as they are on disk: the last of them, and what was decided then. */
export interface Poll extends Omit<PollFacts, 'observation'> {
  readonly pollNumber: number
  /** Of the first of them; the same when it is one. */
  readonly firstPollNumber: number
  readonly firstAskedAt: EpochMs
  readonly observation: string
  readonly nextPollAt: EpochMs | null
  /** Why the next poll is when it is; null after the last. */
  readonly reason: string | null
}

export interface PollRecord {
  readonly task: DueTask
  readonly leaseToken: LeaseToken
  /** Null when the task was not asked about: given back, or its deadline passed while nobody could ask. */
  readonly poll: PollFacts | null
  readonly decision: Decision | { readonly kind: 'give_back' }
}

/** What each host may have more than it has, whatever its endpoints. */
export interface HostRoom {
  /** Of each that is not named below. */
  readonly max: number
  /** Of those that have something under way, or failed lately. */
  readonly left: ReadonlyMap<string, number>
  /** Those that took long to answer. */
  readonly slow: ReadonlySet<string>
}

/** A claim of deliveries, with the slots that it may fill. */
export interface ClaimDeliveries {
  readonly now: EpochMs
  readonly lease: Lease
  /** In all. */
  readonly limit: number
  /** At once to one endpoint that has no maximum of its own; and what each has under way. */
  readonly endpointConcurrency: number
  readonly inFlight: ReadonlyMap<EndpointId, number>
  readonly hosts: HostRoom
  /** At once to all the endpoints together that failed lately. */
  readonly recoveringMax: number
  /** At once to those and to the slow ones together, so that the quick ones always find the rest. */
  readonly unhurriedMax: number
  /** Not before the records, and whatever else was called earlier: one of them brings something to claim. */
  readonly isBehindRecords?: boolean
}

export interface ClaimedDeliveries {
  readonly deliveries: readonly DueDelivery[]
  readonly nextClaimAt: EpochMs | null
  readonly isMoreDue: boolean
}

/** Where and how an endpoint is sent to now. */
export type Reach =
  | {
      readonly kind: 'reachable'
      readonly url: string
      readonly signers: readonly Signer[]
      readonly headers: CustomHeaders
    }
  | { readonly kind: 'no_url' }
  | { readonly kind: 'unreadable_secret' }
  | { readonly kind: 'not_found' }

export interface Page<T> {
  readonly items: readonly T[]
  /** Where the next page starts; null on the last. */
  readonly nextCursor: string | null
}

export interface TaskFilter {
  readonly status?: TaskStatus
  readonly kind?: string
  readonly taskId?: string
  readonly limit: number
  readonly cursor?: string
}

export interface DeliveryFilter {
  readonly status?: DeliveryStatus
  readonly endpointId?: EndpointId
  readonly taskId?: TaskId
  readonly limit: number
  readonly cursor?: string
}

export type CancelResult =
  | { readonly kind: 'canceled'; readonly task: Task }
  | { readonly kind: 'already_settled'; readonly task: Task }
  | { readonly kind: 'not_found' }

export type RedeliverResult =
  | { readonly kind: 'queued'; readonly delivery: Delivery }
  | { readonly kind: 'endpoint_not_enabled'; readonly endpoint: Endpoint }
  /** It is being attempted right now. */
  | { readonly kind: 'under_way'; readonly delivery: Delivery }
  | { readonly kind: 'endpoint_deleted'; readonly endpointId: EndpointId }
  /** Nothing is sent to it: its receiver comes and asks. */
  | { readonly kind: 'endpoint_without_url'; readonly endpointId: EndpointId }
  | { readonly kind: 'not_found' }

/** Whoever wants to hear of a task and cannot be told again now says why. */
export type RedeliverTaskResult =
  | { readonly kind: 'done'; readonly results: readonly Exclude<RedeliverResult, { kind: 'not_found' }>[] }
  | { readonly kind: 'no_deliveries'; readonly task: Task }
  | { readonly kind: 'not_found' }

export type PollNowResult =
  | { readonly kind: 'due'; readonly task: Task }
  | { readonly kind: 'already_settled'; readonly task: Task }
  | { readonly kind: 'not_found' }

/** An endpoint is one URL: whoever wants a second one for it is told of the first. */
export type EndpointResult =
  | { readonly kind: 'kept'; readonly endpoint: Endpoint }
  | { readonly kind: 'url_taken'; readonly endpoint: Endpoint }
  /** It is sent to, or its receiver comes and asks: what waits for it was made for the one or the other. */
  | { readonly kind: 'way_fixed'; readonly endpoint: Endpoint }
  | { readonly kind: 'not_found' }

export interface EndpointFilter {
  readonly status?: EndpointStatus
  readonly limit: number
  readonly cursor?: string
}

export interface Store extends JobStore, OperatorStore, PullStore {
  /** Made with the database; part of every event id. */
  readonly databaseId: string

  /**
   * Keeps each registration that is not known yet. A task is known by (kind, taskId), a subscription by (task,
   * endpoint). Known ones answer with the ids they have; what they were first registered with stays. A task that has
   * settled already gets its delivery at once. One result per registration, in order.
   */
  registerTasks(params: { now: EpochMs; registrations: readonly Registration[] }): Promise<readonly Registered[]>

  /** Ends a pending task in silence. Its subscriptions are never told; a query that is under way changes nothing. */
  cancelTask(params: { now: EpochMs; id: TaskId }): Promise<CancelResult>

  /** A pending task is due now; how fast tasks are asked about stays as it is. */
  pollTask(params: { now: EpochMs; id: TaskId }): Promise<PollNowResult>

  /**
   * Takes due tasks of one credential, the longest due first: at most `limit`, and at most what the credential's budget
   * grants, which is spent in the same step. `nextClaimAt`: nothing can be claimed before then, unless something new
   * is registered. `isMoreDue`: something due may have been left behind, for want of a slot or of budget.
   */
  claimDueTasks(params: {
    now: EpochMs
    lease: Lease
    credential: string
    settings: BudgetSettings
    limit: number
  }): Promise<{ tasks: readonly DueTask[]; nextClaimAt: EpochMs | null; isMoreDue: boolean }>

  /**
   * Takes tasks of paused credentials whose deadline passed before `deadlineBefore`, without asking about them: nobody
   * can. All others are due at their deadline at the latest, and are asked about once more. `nextDeadlineAt`: the
   * earliest of those that come after.
   */
  claimOverdueTasks(params: {
    now: EpochMs
    lease: Lease
    deadlineBefore: EpochMs
    limit: number
  }): Promise<{ tasks: readonly DueTask[]; nextDeadlineAt: EpochMs | null }>

  /**
   * Writes what was observed and decided. For each task that settles: outcome, event and one delivery per subscription,
   * together or not at all. Effects change the budget of their credential.
   */
  recordPolls(params: {
    now: EpochMs
    records: readonly PollRecord[]
    effects: readonly { credential: string; effect: BudgetEffect; settings: BudgetSettings }[]
    /** What was learned of how long tasks take. */
    cadences?: readonly CadenceRecord[]
  }): Promise<{ applied: number; settled: readonly SettledTask[] }>

  /**
   * Takes due deliveries of enabled endpoints, those of the longest due endpoint first, as far as there are slots and each
   * endpoint's rate grants it, which is spent in the same step. What cannot take more costs the others nothing. Of those that
   * are disabled for failing, one delivery each when it is time to try them again. `isMoreDue`: something due may
   * have been left behind, for want of a slot.
   */
  claimDueDeliveries(params: ClaimDeliveries): Promise<ClaimedDeliveries>

  /**
   * Writes what came of attempts, and what it means for the health of their endpoints (core/endpoint-health.ts). `give_back`
   * leaves no trace behind. A claim that is called later sees what it takes from what may be claimed; of attempts that were
   * all delivered it may be done before them.
   */
  recordAttempts(params: { now: EpochMs; records: readonly AttemptRecord[] }): Promise<{ applied: number }>

  /** Queues one attempt by a person's wish, at once. Asking again before it was made changes nothing. */
  redeliver(params: { now: EpochMs; deliveryId: DeliveryId }): Promise<RedeliverResult>
  /** The same for each delivery of a task. */
  redeliverTask(params: { now: EpochMs; id: TaskId }): Promise<RedeliverTaskResult>

  /**
   * A new endpoint with a secret of its own (`whsec_…`), and with a private key (`whsk_…`) when it asks for `v1a`. They
   * and its headers are sealed and never read out again. Many may have no URL; settings that are left out are null.
   */
  createEndpoint(
    params: Pick<EndpointSettings, 'url' | 'name'> &
      Partial<EndpointSettings> & { now: EpochMs; secret: string; privateKey?: string },
  ): Promise<Exclude<EndpointResult, { kind: 'not_found' | 'way_fixed' }>>
  /**
   * Takes effect with the next attempt; ids and bodies of what is under way stay, and so does what was made before by
   * another choice of event types. `privateKey`: null ends `v1a` at once, another one begins it unless it is there.
   */
  updateEndpoint(
    params: Partial<EndpointSettings> & { now: EpochMs; id: EndpointId; privateKey?: string | null },
  ): Promise<EndpointResult>
  /**
   * Paused or disabled: nothing is sent and the backlog is kept. Enabled: the backlog is due at its own instants. With a
   * secret or a header that cannot be opened it is disabled instead of enabled; it can be paused all the same.
   */
  setEndpointStatus(params: { now: EpochMs; id: EndpointId; status: 'enabled' | 'paused' }): Promise<Endpoint | null>
  /**
   * The new secret signs from now on; the others go on signing beside it until `overlapMs` has passed. So does the new
   * private key, if the endpoint has one already.
   */
  rotateSecret(params: {
    now: EpochMs
    id: EndpointId
    secret: string
    privateKey?: string
    overlapMs: number
  }): Promise<Endpoint | null>
  /** For a trial, whatever its status. */
  reachEndpoint(params: { now: EpochMs; id: EndpointId }): Promise<Reach>
  getEndpoint(params: { now: EpochMs; id: EndpointId }): Promise<Endpoint | null>
  /** Newest first. */
  listEndpoints(params: EndpointFilter & { now: EpochMs }): Promise<Page<Endpoint>>

  getTask(id: TaskId): Promise<Task | null>
  /** Newest first. */
  listTasks(filter: TaskFilter): Promise<Page<Task>>
  getEvent(id: EventId): Promise<Event | null>
  getDelivery(id: DeliveryId): Promise<Delivery | null>
  /** Newest first. */
  listDeliveries(filter: DeliveryFilter): Promise<Page<Delivery>>
  /** In the order they were made. */
  listAttempts(deliveryIds: readonly DeliveryId[]): Promise<readonly Attempt[]>
  /** The last polls of a task, in the order they were made; those that were answered alike are one. */
  listPolls(params: { taskId: TaskId; limit: number }): Promise<readonly Poll[]>
  /** What was learned of how long tasks take, as it was last recorded. */
  listCadences(): Promise<readonly Pick<CadenceRecord, 'kind' | 'state'>[]>
  /** The budgets of all credentials that were ever used, by name. */
  listBudgets(): Promise<ReadonlyMap<string, Budget>>

  /**
   * Forgets settled tasks with all that hangs on them, unless a delivery is still pending, and jobs that ended as long
   * ago. Returns how many tasks.
   */
  deleteSettledTasks(params: { settledBefore: EpochMs; limit: number }): Promise<number>

  /**
   * The clock was set, by `byMs` to `now`: moves every instant that something waits for, and those by which the age of
   * something unfinished is reckoned. What has been told stays as it was. Steps are done in the order of their calls: those
   * called before this one go by the old clock, those after it by the new one.
   */
  moveInstants(params: { now: EpochMs; byMs: number }): Promise<void>

  /**
   * Commits one row, to prove that it can be done, and looks at the room that is left. Rejects with an `AppError` while it
   * cannot be done, for reasons that may pass. Of an instant that is noted so, no store that is opened later goes back.
   */
  probe(params: { now: EpochMs }): Promise<void>
  /** Why nothing new is taken now, in words. Looks at nothing but what is known. */
  impediments(): readonly string[]
  /** Moves the write-ahead log back into the database while nobody waits. */
  checkpoint(): Promise<void>
  close(): Promise<void>
}
