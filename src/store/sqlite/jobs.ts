/**
 * Jobs: a walk over deliveries in the order of their commits, a piece at a time. The place of a job moves in the
 * transaction that queues its piece.
 *
 * A walk over one endpoint goes along its own index and looks at each of its deliveries once; one over all endpoints goes
 * along those of the wanted status. Both are in order of `seq`, and so is what is due at one instant (the index of due
 * deliveries ends with it): queuing a piece with one `next_attempt_at` keeps the oldest first.
 */

import type Database from 'better-sqlite3'
import type { EndpointStatus } from '../../core/endpoint.ts'
import type { EndpointId, JobId } from '../../core/ids.ts'
import { isInTheWay, type Job, type JobFilter, type JobStatus } from '../../core/job.ts'
import type { EpochMs } from '../../core/time.ts'
import type { NewId } from '../../ports.ts'
import type { JobQuery } from '../jobs.ts'
import type { TurnTable } from './turns.ts'

interface JobRow extends Omit<Job, 'filter'> {
  readonly filter: string
  readonly position: number
  readonly endPosition: number
}

/** A part of the walk: what comes after one place, up to and with another. */
interface Stretch {
  readonly filter: JobFilter
  readonly after: number
  readonly upTo: number
}

const COLUMNS = `id, status, filter, position, end_position as endPosition, total_count as totalCount,
  queued_count as queuedCount, created_at as createdAt, updated_at as updatedAt, finished_at as finishedAt`

const TIME_END = Number.MAX_SAFE_INTEGER
const SEQ_END = Number.MAX_SAFE_INTEGER

interface Way {
  readonly table: string
  readonly condition: string
}

/** The ways along which deliveries are walked; SQLite would choose by guesses about tables it has not measured. */
const OF_ENDPOINT: Way = {
  table: '_deliveries indexed by _deliveries_endpoint',
  condition: 'endpoint_id = :endpointId',
}
const OF_STATUS: Way = { table: '_deliveries indexed by _deliveries_status', condition: 'status = :status' }

const IS_WITHIN = 'seq > :after and seq <= :upTo'
const FITS = `status = :status and created_at >= :since and created_at < :until
  and (:eventType is null or (select type from _events e where e.id = event_id) = :eventType)
  and exists (select 1 from _endpoints p where p.id = endpoint_id and p.status = 'enabled' and p.url is not null)`

function preparePlace(db: Database.Database, { table, condition }: Way) {
  const text = `select seq from ${table} where ${condition} and ${IS_WITHIN} order by seq limit 1 offset :limit - 1`
  return db.prepare<[object], number>(text).pluck()
}

function prepareCount(db: Database.Database, { table, condition }: Way) {
  const text = `select count(*) from ${table} where ${condition} and ${IS_WITHIN} and ${FITS}`
  return db.prepare<[object], number>(text).pluck()
}

function prepareQueue(db: Database.Database, { table, condition }: Way) {
  const text = `update ${table} set status = 'pending', scheduled_attempt_count = 0, is_manual = 0,
      status_before = 'pending', next_attempt_at = :now
    where ${condition} and ${IS_WITHIN} and ${FITS} returning endpoint_id`
  return db.prepare<[object], EndpointId>(text).pluck()
}

/** One statement for each way, and which of them a filter goes. */
function forBothWays<T>(prepare: (way: Way) => T): (filter: JobFilter) => T {
  const ofEndpoint = prepare(OF_ENDPOINT)
  const ofStatus = prepare(OF_STATUS)
  return ({ endpointId }) => (endpointId === null ? ofStatus : ofEndpoint)
}

function inSql({ filter, after, upTo }: Stretch) {
  const { endpointId, status, since, until, eventType } = filter
  return { endpointId, status, since: since ?? 0, until: until ?? TIME_END, eventType, after, upTo }
}

/** Where the next `limit` deliveries of the walk end; null when there are no more than that. */
function createPlaceAfter(db: Database.Database) {
  const placeOf = forBothWays((way) => preparePlace(db, way))
  return (stretch: Stretch, limit: number): number | null =>
    placeOf(stretch.filter).get({ ...inSql(stretch), limit }) ?? null
}

export function createJobTable(db: Database.Database, newId: NewId, turns: Pick<TurnTable, 'bringForwardByHand'>) {
  const insert = db.prepare(
    `insert into _jobs (id, status, filter, position, end_position, total_count, queued_count, created_at, updated_at)
     select :id, 'running', :filter, 0, coalesce(max(seq), 0), :totalCount, 0, :now, :now from _deliveries`,
  )
  const running = db.prepare<[], JobRow>(`select ${COLUMNS} from _jobs where status = 'running' order by id`)
  const byId = db.prepare<[JobId], JobRow>(`select ${COLUMNS} from _jobs where id = ?`)
  const move = db.prepare(
    `update _jobs set position = :position, queued_count = queued_count + :queuedCount, updated_at = :now
     where id = :id`,
  )
  const end = db.prepare(
    `update _jobs set status = :status, updated_at = :now, finished_at = :now where id = :id and status = 'running'`,
  )
  const endOfEndpoint = db.prepare(
    `update _jobs set status = 'canceled', updated_at = :now, finished_at = :now
     where status = 'running' and json_extract(filter, '$.endpointId') = :endpointId`,
  )
  const endpointStatus = db.prepare<[EndpointId], EndpointStatus>('select status from _endpoints where id = ?').pluck()
  const queueOf = forBothWays((way) => prepareQueue(db, way))
  const placeAfter = createPlaceAfter(db)

  function find(id: JobId): Job | null {
    const row = byId.get(id)
    return row === undefined ? null : toJob(row)
  }

  function kept(id: JobId): Job {
    const job = find(id)
    if (job === null) throw new Error(`job ${id} is not there in its own step`)
    return job
  }

  function queue(stretch: Stretch, now: EpochMs): number {
    const queued = queueOf(stretch.filter).all({ ...inSql(stretch), now })
    for (const endpointId of new Set(queued)) turns.bringForwardByHand(endpointId, now)
    return queued.length
  }

  return {
    find,

    /** The running job that this one would have to wait for. */
    findInTheWay: (filter: JobFilter): Job | undefined =>
      running
        .all()
        .map(toJob)
        .find((job) => isInTheWay(job.filter, filter)),

    create(filter: JobFilter, totalCount: number, now: EpochMs): Job {
      const id = newId('job')
      insert.run({ id, filter: JSON.stringify(filter), totalCount, now })
      return kept(id)
    },

    advance(id: JobId, limit: number, now: EpochMs): { job: Job; queuedCount: number; isWaiting: boolean } | null {
      const row = byId.get(id)
      if (row === undefined || row.status !== 'running') return null
      const { filter } = toJob(row)
      const isWaiting = filter.endpointId !== null && endpointStatus.get(filter.endpointId) !== 'enabled'
      if (isWaiting) return { job: toJob(row), queuedCount: 0, isWaiting }
      const rest = { filter, after: row.position, upTo: row.endPosition }
      const place = placeAfter(rest, limit)
      const position = place ?? row.endPosition
      const queuedCount = queue({ ...rest, upTo: position }, now)
      move.run({ id, position, queuedCount, now })
      if (place === null) end.run({ id, status: 'done', now })
      return { job: kept(id), queuedCount, isWaiting }
    },

    /** False when it had ended. */
    cancel: (id: JobId, now: EpochMs): boolean => end.run({ id, status: 'canceled', now }).changes > 0,
    cancelOfEndpoint: (endpointId: EndpointId, now: EpochMs): void => void endOfEndpoint.run({ endpointId, now }),
  }
}

/** What people look at, on the connection that cannot write. */
export function createJobLookups(reader: Database.Database) {
  const byId = reader.prepare<[JobId], JobRow>(`select ${COLUMNS} from _jobs where id = ?`)
  const running = reader.prepare<[], JobId>(`select id from _jobs where status = 'running' order by id`).pluck()
  const page = reader.prepare<[{ status: JobStatus | null; cursor: string | null; limit: number }], JobRow>(
    `select ${COLUMNS} from _jobs where (:status is null or status = :status) and (:cursor is null or id < :cursor)
     order by id desc limit :limit`,
  )
  const countOf = forBothWays((way) => prepareCount(reader, way))
  const placeAfter = createPlaceAfter(reader)
  return {
    countPiece(filter: JobFilter, after: number, limit: number): { count: number; nextPosition: number | null } {
      const nextPosition = placeAfter({ filter, after, upTo: SEQ_END }, limit)
      const piece = inSql({ filter, after, upTo: nextPosition ?? SEQ_END })
      return { count: countOf(filter).get(piece) ?? 0, nextPosition }
    },
    find(id: JobId): Job | null {
      const row = byId.get(id)
      return row === undefined ? null : toJob(row)
    },
    listRunning: (): readonly JobId[] => running.all(),
    list({ status, cursor, limit }: JobQuery): { items: readonly Job[]; nextCursor: string | null } {
      const found = page.all({ status: status ?? null, cursor: cursor ?? null, limit: limit + 1 }).map(toJob)
      const items = found.slice(0, limit)
      return { items, nextCursor: found.length > limit ? (items.at(-1)?.id ?? null) : null }
    },
  }
}

function toJob({ filter, position: _, endPosition: __, ...row }: JobRow): Job {
  return { ...row, filter: JSON.parse(filter) as JobFilter }
}

export type JobTable = ReturnType<typeof createJobTable>
