/** What people look at. Runs on the connection that cannot write; all lists are pages by id, newest first. */

import type Database from 'better-sqlite3'
import { and, asc, desc, eq, inArray, lt, ne, type SQL } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import type { Verdict } from '../../core/delivery.ts'
import type { Event, EventType } from '../../core/event.ts'
import type { AttemptId, DeliveryId, EndpointId, EventId, TaskId } from '../../core/ids.ts'
import { TASK_STATUSES, type TaskStatus } from '../../core/task.ts'
import type { EpochMs } from '../../core/time.ts'
import type { Timings } from '../../ports.ts'
import type { Attempt } from '../attempts.ts'
import type { Delivery, DeliveryFilter, EndpointFilter, Page, Poll, Subscription, Task, TaskFilter } from '../store.ts'
import * as schema from './schema.ts'

const { tasks, subscriptions, endpoints, events, deliveries, attempts, polls } = schema

type TaskRow = Omit<Task, 'subscriptions' | 'outcome'> & { readonly body: string | null }

/** With its place in the order of the commits. */
type DeliveryRow = Delivery & { readonly seq: number }

const TASK_COLUMNS = {
  id: tasks.id,
  taskId: tasks.taskId,
  kind: tasks.kind,
  status: tasks.status,
  metadata: tasks.metadata,
  registeredAt: tasks.registeredAt,
  submittedAt: tasks.submittedAt,
  settledAt: tasks.settledAt,
  deadlineAt: tasks.deadlineAt,
  nextPollAt: tasks.nextPollAt,
  pollCount: tasks.pollCount,
  lastObservation: tasks.lastObservation,
  eventId: tasks.eventId,
  body: events.body,
}

/** After every id: theirs begin with a letter. */
const LAST_ID = '~'

const DELIVERY_COLUMNS = {
  seq: deliveries.seq,
  id: deliveries.id,
  eventId: deliveries.eventId,
  eventType: events.type,
  taskId: events.taskId,
  endpointId: deliveries.endpointId,
  callbackUrl: endpoints.url,
  status: deliveries.status,
  attemptCount: deliveries.attemptCount,
  nextAttemptAt: deliveries.nextAttemptAt,
  createdAt: deliveries.createdAt,
  settledAt: deliveries.settledAt,
  lastStatusCode: deliveries.lastStatusCode,
  lastFailure: deliveries.lastFailure,
}

export function createLookups(reader: Database.Database) {
  const db = drizzle(reader, { schema })
  const kindsOfStatus = reader
    .prepare<[{ status: TaskStatus }], string>(
      `with recursive kinds(kind) as (
         select min(kind) from _tasks where status = :status
         union all select (select min(kind) from _tasks where status = :status and kind > kinds.kind)
         from kinds where kinds.kind is not null)
       select kind from kinds where kind is not null`,
    )
    .pluck()
  const idsOfKind = reader
    .prepare<[{ status: TaskStatus; kind: string; before: string; limit: number }], string>(
      `select id from _tasks where status = :status and kind = :kind and id < :before order by id desc limit :limit`,
    )
    .pluck()

  function withSubscriptions(rows: readonly TaskRow[]): readonly Task[] {
    if (rows.length === 0) return []
    const ids = rows.map((row) => row.id)
    const found = db
      .select({
        taskId: subscriptions.taskId,
        endpointId: subscriptions.endpointId,
        callbackUrl: endpoints.url,
        deliveryId: deliveries.id,
        deliveryStatus: deliveries.status,
        endpointStatus: endpoints.status,
      })
      .from(subscriptions)
      .innerJoin(endpoints, eq(endpoints.id, subscriptions.endpointId))
      .leftJoin(events, eq(events.taskId, subscriptions.taskId))
      .leftJoin(deliveries, and(eq(deliveries.eventId, events.id), eq(deliveries.endpointId, subscriptions.endpointId)))
      .where(inArray(subscriptions.taskId, ids))
      .orderBy(asc(subscriptions.createdAt), asc(subscriptions.endpointId))
      .all() as (Subscription & { taskId: TaskId })[]
    const byTask = new Map<TaskId, Subscription[]>(ids.map((id) => [id, []]))
    for (const { taskId, ...subscription } of found) byTask.get(taskId)?.push(subscription)
    return rows.map(({ body, ...row }) => {
      return { ...row, outcome: outcomeOf(body), subscriptions: byTask.get(row.id) ?? [] }
    })
  }

  /**
   * The newest that fit, of each status and each kind its newest: each is one stretch of an index, so that a page costs the
   * same whether all tasks fit or one in a million.
   */
  function sortedIds({ status, kind, limit, cursor }: TaskFilter): string[] {
    const statuses = status === undefined ? TASK_STATUSES : [status]
    const before = cursor ?? LAST_ID
    const found = statuses.flatMap((each) => {
      const kinds = kind === undefined ? kindsOfStatus.all({ status: each }) : [kind]
      return kinds.flatMap((one) => idsOfKind.all({ status: each, kind: one, before, limit: limit + 1 }))
    })
    return found
      .sort()
      .reverse()
      .slice(0, limit + 1)
  }

  function selectTasks(where: SQL | undefined, limit: number): readonly TaskRow[] {
    const query = db
      .select(TASK_COLUMNS)
      .from(tasks)
      .leftJoin(events, eq(events.taskId, tasks.id))
      .where(where)
      .orderBy(desc(tasks.id))
      .limit(limit)
    // The brands of ids and instants are ours: SQLite knows text and integers.
    return query.all() as unknown as readonly TaskRow[]
  }

  function selectDeliveries(where: SQL | undefined, limit: number): readonly DeliveryRow[] {
    return (
      db
        .select(DELIVERY_COLUMNS)
        .from(deliveries)
        .innerJoin(events, eq(events.id, deliveries.eventId))
        .innerJoin(endpoints, eq(endpoints.id, deliveries.endpointId))
        .where(where)
        .orderBy(desc(deliveries.seq))
        .limit(limit)
        .all()
        // When it was settled before says nothing of a delivery that a person has sent on its way again.
        .map((row) =>
          row.status === 'pending' ? { ...row, settledAt: null } : row,
        ) as unknown as readonly DeliveryRow[]
    )
  }

  return {
    /** Putting a query together takes longer than running it, so none is when nobody is looked for. */
    tasksById: (ids: readonly TaskId[]): readonly Task[] =>
      ids.length === 0 ? [] : withSubscriptions(selectTasks(inArray(tasks.id, [...ids]), ids.length)),

    listTasks(filter: TaskFilter): Page<Task> {
      const { status, kind, taskId, limit, cursor } = filter
      const isSorted = taskId !== undefined || (status === undefined && kind === undefined)
      const where = and(
        isSorted ? undefined : inArray(tasks.id, sortedIds(filter)),
        status === undefined ? undefined : eq(tasks.status, status),
        kind === undefined ? undefined : eq(tasks.kind, kind),
        taskId === undefined ? undefined : eq(tasks.taskId, taskId),
        cursor === undefined ? undefined : lt(tasks.id, cursor),
      )
      return toPage(withSubscriptions(selectTasks(where, limit + 1)), limit, ({ id }) => id)
    },

    eventById(id: EventId): Event | null {
      const row = db.select().from(events).where(eq(events.id, id)).get()
      if (row === undefined) return null
      return {
        id,
        taskId: row.taskId as TaskId,
        type: row.type as EventType,
        createdAt: row.createdAt as EpochMs,
        body: row.body,
      }
    },

    deliveryById(id: DeliveryId): Delivery | null {
      const row = selectDeliveries(eq(deliveries.id, id), 1)[0]
      return row === undefined ? null : withoutSeq(row)
    },

    listDeliveries({ status, endpointId, taskId, limit, cursor }: DeliveryFilter): Page<Delivery> {
      const where = and(
        status === undefined ? undefined : eq(deliveries.status, status),
        endpointId === undefined ? undefined : eq(deliveries.endpointId, endpointId),
        taskId === undefined ? undefined : eq(events.taskId, taskId),
        cursor === undefined ? undefined : lt(deliveries.seq, Number(cursor)),
      )
      const { items, nextCursor } = toPage(selectDeliveries(where, limit + 1), limit, ({ seq }) => String(seq))
      return { items: items.map(withoutSeq), nextCursor }
    },

    listAttempts(deliveryIds: readonly DeliveryId[]): readonly Attempt[] {
      if (deliveryIds.length === 0) return []
      const rows = db
        .select()
        .from(attempts)
        .where(inArray(attempts.deliveryId, [...deliveryIds]))
        .orderBy(asc(attempts.deliveryId), asc(attempts.attemptNumber))
        .all()
      return rows.map((row) => ({
        ...row,
        id: row.id as AttemptId,
        deliveryId: row.deliveryId as DeliveryId,
        verdict: row.verdict as Verdict['kind'],
        startedAt: row.startedAt as EpochMs,
        failure: row.failure as Attempt['failure'],
        timings: row.timings === null ? null : (JSON.parse(row.timings) as Timings),
        nextAttemptAt: row.nextAttemptAt as EpochMs | null,
      }))
    },

    listEndpointIds({ status, limit, cursor }: EndpointFilter): Page<{ id: EndpointId }> {
      const where = and(
        ne(endpoints.status, 'deleted'),
        status === undefined ? undefined : eq(endpoints.status, status),
        cursor === undefined ? undefined : lt(endpoints.id, cursor),
      )
      const rows = db
        .select({ id: endpoints.id })
        .from(endpoints)
        .where(where)
        .orderBy(desc(endpoints.id))
        .limit(limit + 1)
      return toPage(rows.all() as { id: EndpointId }[], limit, ({ id }) => id)
    },

    listPolls(taskId: TaskId, limit: number): readonly Poll[] {
      const rows = db
        .select()
        .from(polls)
        .where(eq(polls.taskId, taskId))
        .orderBy(desc(polls.firstNumber))
        .limit(limit)
        .all()
      return rows
        .map(({ taskId: _, firstNumber: firstPollNumber, ...row }) => ({ ...row, firstPollNumber }) as Poll)
        .reverse()
    },
  }
}

/** As it was told. */
function outcomeOf(body: string | null): string | null {
  if (body === null) return null
  const { partial, images, error } = (JSON.parse(body) as { data: Record<string, unknown> }).data
  return JSON.stringify({ partial, images, error })
}

function withoutSeq({ seq: _, ...delivery }: DeliveryRow): Delivery {
  return delivery
}

function toPage<T>(found: readonly T[], limit: number, cursorOf: (item: T) => string): Page<T> {
  const items = found.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: last === undefined || found.length <= limit ? null : cursorOf(last) }
}
