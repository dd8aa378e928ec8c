/**
 * The tables. They are prefixed with `_` because they are not the way in: the views (views.ts) are, see docs/sql.md.
 *
 * Instants are whole milliseconds. drizzle-kit generates `migrations/sqlite` from this file; STRICT, the triggers that
 * keep `_counts` and WITHOUT ROWID are added to the generated files by hand, as drizzle has no words for them.
 */

import { sql } from 'drizzle-orm'
import { check, index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import { DELIVERY_STATUSES, type DeliveryStatus } from '../../core/delivery.ts'
import { type DisabledReason, ENDPOINT_STATUSES, type EndpointStatus } from '../../core/endpoint.ts'
import { JOB_STATUSES, type JobStatus } from '../../core/job.ts'
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from '../../core/signature.ts'
import { TASK_STATUSES, type TaskStatus } from '../../core/task.ts'

function oneOf(column: string, values: readonly string[]) {
  return sql.raw(`${column} in (${values.map((value) => `'${value}'`).join(', ')})`)
}

export const meta = sqliteTable('_meta', {
  key: text('key').primaryKey().notNull(),
  value: text('value').notNull(),
})

export const counts = sqliteTable('_counts', {
  name: text('name').primaryKey().notNull(),
  n: integer('n').notNull(),
})

export const credentials = sqliteTable('_credentials', {
  name: text('name').primaryKey().notNull(),
  arrivalAt: real('arrival_at').notNull(),
  rateFactor: real('rate_factor').notNull(),
  raisedAt: integer('raised_at').notNull(),
  throttledUntil: integer('throttled_until').notNull(),
  throttledAt: integer('throttled_at').notNull(),
  /** JSON of core/budget.ts `Pause`. */
  pause: text('pause'),
  /** JSON of core/budget.ts `Budget.kinds`. */
  kinds: text('kinds').notNull().default('{}'),
  /** Since when nobody answers; null while somebody does. */
  silentSince: integer('silent_since'),
  /** The rate factor from before an outage, to be regained fast; null when it was, or when there was none. */
  regainTo: real('regain_to'),
  /** JSON array: the queues (core/fair-share.ts) that had their turn in this round. */
  served: text('served').notNull().default('[]'),
})

export const endpoints = sqliteTable(
  '_endpoints',
  {
    id: text('id').primaryKey().notNull(),
    /** Null: nothing is sent, its receiver comes and asks. */
    url: text('url'),
    /** Host and port of the URL: receivers on one host share what that host can take. */
    host: text('host'),
    name: text('name'),
    status: text('status').$type<EndpointStatus>().notNull(),
    disabledReason: text('disabled_reason').$type<DisabledReason>(),
    /** Its operator events go here too. */
    isOperator: integer('is_operator', { mode: 'boolean' }).notNull().default(false),
    /** JSON object of its own headers, each value sealed like a secret by the key `headers_key_id`; null when it has none. */
    headers: text('headers'),
    headersKeyId: text('headers_key_id'),
    /** JSON array; null takes all. */
    eventTypes: text('event_types'),
    /** Attempts a second; null: as fast as its slots allow. */
    rateMax: real('rate_max'),
    /** Attempts at once; null: as the settings say. */
    concurrencyMax: integer('concurrency_max'),
    /** GCRA's theoretical arrival time under `rate_max`. */
    arrivalAt: real('arrival_at').notNull().default(0),
    /** How many attempts it may have at once while it is, or was lately, failing; null: as many as it may have at all. */
    slots: integer('slots'),
    /** Since when nothing but failures; null while the last attempt succeeded. */
    failingSince: integer('failing_since'),
    /** JSON array of the first few events that failed since then. */
    failingEvents: text('failing_events'),
    /** When an endpoint that was disabled for failing is tried again. */
    probeAt: integer('probe_at'),
    probeCount: integer('probe_count').notNull().default(0),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
  },
  (t) => [
    uniqueIndex('_endpoints_url').on(t.url).where(sql`status <> 'deleted'`),
    index('_endpoints_probe').on(t.probeAt).where(sql`probe_at is not null`),
    check('_endpoints_status', oneOf('status', ENDPOINT_STATUSES)),
  ],
)

/** Secrets of endpoints' own; `by_daemon` stands for the daemon's own while one of these replaces it. */
export const secrets = sqliteTable(
  '_secrets',
  {
    id: integer('id').primaryKey().notNull(),
    endpointId: text('endpoint_id')
      .notNull()
      .references(() => endpoints.id),
    /** Sealed by the key `key_id`; as it is when that is null. Of a private key: its public half in the open, a space, the rest. */
    sealed: text('sealed').notNull(),
    keyId: text('key_id'),
    algorithm: text('algorithm').$type<SigningAlgorithm>().notNull().default('hmac'),
    byDaemon: integer('by_daemon', { mode: 'boolean' }).notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
  },
  (t) => [
    index('_secrets_endpoint').on(t.endpointId, t.id),
    check('_secrets_algorithm', oneOf('algorithm', SIGNING_ALGORITHMS)),
  ],
)

export const tasks = sqliteTable(
  '_tasks',
  {
    id: text('id').primaryKey().notNull(),
    taskId: text('task_id').notNull(),
    kind: text('kind').notNull(),
    credential: text('credential').notNull(),
    status: text('status').$type<TaskStatus>().notNull(),
    metadata: text('metadata').notNull(),
    registeredAt: integer('registered_at').notNull(),
    submittedAt: integer('submitted_at'),
    deadlineAt: integer('deadline_at').notNull(),
    nextPollAt: integer('next_poll_at'),
    pollCount: integer('poll_count').notNull(),
    suspectCode: text('suspect_code'),
    suspectCount: integer('suspect_count'),
    suspectAt: integer('suspect_at'),
    unavailableCount: integer('unavailable_count').notNull(),
    lastObservation: text('last_observation'),
    /** When the query left that last found it running: it ended after this, if it has ended. */
    runningAt: integer('running_at'),
    settledAt: integer('settled_at'),
    eventId: text('event_id'),
  },
  (t) => [
    uniqueIndex('_tasks_task_id_kind').on(t.taskId, t.kind),
    // Each kind's new tasks and each kind's others are a queue of their own (core/fair-share.ts).
    index('_tasks_due').on(t.credential, t.kind, sql`(poll_count = 0)`, t.nextPollAt).where(sql`status = 'pending'`),
    index('_tasks_deadline').on(t.deadlineAt).where(sql`status = 'pending'`),
    index('_tasks_settled').on(t.settledAt).where(sql`settled_at is not null`),
    index('_tasks_status').on(t.status, t.kind, t.id),
    check('_tasks_status_known', oneOf('status', TASK_STATUSES)),
    check('_tasks_settled_once', sql`(status = 'pending') = (settled_at is null)`),
  ],
)

export const subscriptions = sqliteTable(
  '_subscriptions',
  {
    taskId: text('task_id')
      .notNull()
      .references(() => tasks.id),
    endpointId: text('endpoint_id')
      .notNull()
      .references(() => endpoints.id),
    createdAt: integer('created_at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.taskId, t.endpointId] }),
    // Whether anybody still wants to hear there is asked before an endpoint is forgotten, by us and by SQLite.
    index('_subscriptions_endpoint').on(t.endpointId),
  ],
)

export const events = sqliteTable(
  '_events',
  {
    /** In the order of the commits: what is read up to one of them, nothing is ever added below. */
    seq: integer('seq').primaryKey({ autoIncrement: true }),
    id: text('id').notNull().unique(),
    /** Null for what we tell the operator of ourselves. */
    taskId: text('task_id').references(() => tasks.id),
    type: text('type').notNull(),
    createdAt: integer('created_at').notNull(),
    /** The bytes that every attempt sends, for ever the same. */
    body: text('body').notNull(),
    /** JSON `{partial, imageCount, error}` of what the body tells in full; null for what is told of ourselves. */
    outcome: text('outcome'),
  },
  (t) => [uniqueIndex('_events_task').on(t.taskId)],
)

export const deliveries = sqliteTable(
  '_deliveries',
  {
    /** In the order of the commits, as of events. */
    seq: integer('seq').primaryKey({ autoIncrement: true }),
    id: text('id').notNull().unique(),
    eventId: text('event_id')
      .notNull()
      .references(() => events.id),
    endpointId: text('endpoint_id')
      .notNull()
      .references(() => endpoints.id),
    status: text('status').$type<DeliveryStatus>().notNull(),
    attemptCount: integer('attempt_count').notNull(),
    scheduledAttemptCount: integer('scheduled_attempt_count').notNull(),
    isManual: integer('is_manual', { mode: 'boolean' }).notNull(),
    statusBefore: text('status_before').$type<DeliveryStatus>().notNull(),
    nextAttemptAt: integer('next_attempt_at'),
    createdAt: integer('created_at').notNull(),
    settledAt: integer('settled_at'),
    lastStatusCode: integer('last_status_code'),
    lastFailure: text('last_failure'),
  },
  (t) => [
    uniqueIndex('_deliveries_event_endpoint').on(t.eventId, t.endpointId),
    index('_deliveries_due').on(t.endpointId, t.nextAttemptAt).where(sql`status = 'pending'`),
    index('_deliveries_status').on(t.status, t.seq),
    index('_deliveries_endpoint').on(t.endpointId, t.seq),
    check('_deliveries_status_known', oneOf('status', DELIVERY_STATUSES)),
    check('_deliveries_pending_is_due', sql`(status = 'pending') = (next_attempt_at is not null)`),
  ],
)

export const attempts = sqliteTable(
  '_attempts',
  {
    id: text('id').notNull(),
    deliveryId: text('delivery_id')
      .notNull()
      .references(() => deliveries.id),
    attemptNumber: integer('attempt_number').notNull(),
    isManual: integer('is_manual', { mode: 'boolean' }).notNull(),
    /** It tried whether a disabled endpoint works again. */
    isProbe: integer('is_probe', { mode: 'boolean' }).notNull().default(false),
    verdict: text('verdict').notNull(),
    startedAt: integer('started_at').notNull(),
    durationMs: integer('duration_ms').notNull(),
    statusCode: integer('status_code'),
    failure: text('failure'),
    detail: text('detail'),
    responseExcerpt: text('response_excerpt'),
    responseTruncated: integer('response_truncated', { mode: 'boolean' }).notNull(),
    responseHeaders: text('response_headers').notNull(),
    remoteAddress: text('remote_address'),
    /** JSON of ports.ts `Timings`. */
    timings: text('timings'),
    nextAttemptAt: integer('next_attempt_at'),
  },
  (t) => [primaryKey({ columns: [t.deliveryId, t.attemptNumber] })],
)

/**
 * Polls of a task, each row a run of them that were answered alike: what differs is that of the last, and where a run began
 * is kept beside it. A task that is asked about a thousand times is a few rows.
 */
export const polls = sqliteTable(
  '_polls',
  {
    taskId: text('task_id')
      .notNull()
      .references(() => tasks.id),
    firstNumber: integer('first_number').notNull(),
    /** Of the last one. */
    pollNumber: integer('poll_number').notNull(),
    firstAskedAt: integer('first_asked_at').notNull(),
    askedAt: integer('asked_at').notNull(),
    durationMs: integer('duration_ms').notNull(),
    observation: text('observation').notNull(),
    detail: text('detail').notNull(),
    httpStatus: integer('http_status'),
    requestId: text('request_id'),
    nextPollAt: integer('next_poll_at'),
    /** Why the next poll is when it is; null after the last. */
    reason: text('reason'),
  },
  (t) => [primaryKey({ columns: [t.taskId, t.firstNumber] })],
)

/** Work on many deliveries that a person asked for; done piece by piece, so that it survives a crash in the middle. */
export const jobs = sqliteTable(
  '_jobs',
  {
    id: text('id').primaryKey().notNull(),
    status: text('status').$type<JobStatus>().notNull(),
    /** JSON of core/job.ts `JobFilter`. */
    filter: text('filter').notNull(),
    /** The last delivery (`seq`) that was looked at, and the last there was when the job began. */
    position: integer('position').notNull(),
    endPosition: integer('end_position').notNull(),
    totalCount: integer('total_count').notNull(),
    queuedCount: integer('queued_count').notNull(),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
    finishedAt: integer('finished_at'),
  },
  (t) => [
    index('_jobs_running').on(t.id).where(sql`status = 'running'`),
    check('_jobs_status', oneOf('status', JOB_STATUSES)),
  ],
)

/** How long tasks of a kind take, as far as it is known (core/survival.ts); the columns beside `state` are for people. */
export const cadence = sqliteTable('_cadence', {
  kind: text('kind').primaryKey().notNull(),
  /** JSON of what was learned, with the number of its format. */
  state: text('state').notNull(),
  /** Ends that were seen since this kind is known. */
  completionCount: integer('completion_count').notNull(),
  /** Null when fewer than half, or nine tenths, of the tasks seem ever to end. */
  medianMs: integer('median_ms'),
  p90Ms: integer('p90_ms'),
  /** Of the tasks, still running at the greatest age that was looked at. */
  unfinishedShare: real('unfinished_share').notNull(),
  /** How much waiting a query is worth now: as the settings say, or more while the rate limit binds. */
  pollCostMs: real('poll_cost_ms').notNull(),
  /** The ages at which a new task would be asked about, in words. */
  plan: text('plan').notNull(),
  updatedAt: integer('updated_at').notNull(),
})
