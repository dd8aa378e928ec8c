/** One look at the rows, by a connection of the observer's own that cannot write. */

import Database from 'better-sqlite3'
import type { EndpointId } from '../../src/core/ids.ts'
import type { EpochMs } from '../../src/core/time.ts'

export interface TaskRow {
  readonly id: string
  readonly task_id: string
  readonly kind: string
  readonly status: string
  readonly event_id: string | null
  readonly poll_count: number
  readonly next_poll_at: EpochMs | null
  readonly deadline_at: EpochMs
  readonly settled_at: EpochMs | null
}
export interface EventRow {
  readonly id: string
  /** Null for what is told of the daemon itself. */
  readonly task_id: string | null
  readonly type: string
  readonly created_at: EpochMs
  readonly body: string
}
export interface DeliveryRow {
  readonly id: string
  readonly event_id: string
  readonly endpoint_id: string
  readonly status: string
  readonly attempt_count: number
  readonly scheduled_attempt_count: number
  readonly is_manual: 0 | 1
  readonly next_attempt_at: EpochMs | null
  readonly created_at: EpochMs
}
export interface AttemptRow {
  readonly delivery_id: string
  readonly attempt_number: number
  readonly is_manual: 0 | 1
  readonly is_probe: 0 | 1
  readonly verdict: string
  readonly started_at: EpochMs
  readonly duration_ms: number
  readonly status_code: number | null
  readonly failure: string | null
  readonly next_attempt_at: EpochMs | null
}
export interface EndpointRow {
  readonly id: EndpointId
  readonly url: string
  readonly status: string
  readonly disabled_reason: string | null
  readonly failing_since: EpochMs | null
  /** JSON text of a list; null: none. */
  readonly failing_events: string | null
  readonly probe_at: EpochMs | null
  readonly is_operator: 0 | 1
}
export interface JobRow {
  readonly id: string
  readonly status: string
  readonly total_count: number
  readonly queued_count: number
  readonly position: number
  readonly end_position: number
}

/** What of an endpoint says whether it is sent to. */
export type Standing = Pick<EndpointRow, 'status' | 'disabled_reason'>

export interface Rows {
  readonly tasks: readonly TaskRow[]
  readonly subscriptions: readonly { readonly task_id: string; readonly endpoint_id: string }[]
  readonly events: readonly EventRow[]
  readonly deliveries: readonly DeliveryRow[]
  readonly attempts: readonly AttemptRow[]
  readonly endpoints: readonly EndpointRow[]
  readonly jobs: readonly JobRow[]
  /** Names of credentials that are paused. */
  readonly paused: readonly { readonly name: string }[]
  readonly counts: readonly { readonly name: string; readonly n: number }[]
  readonly databaseId: string
}

export interface RowReader {
  read(): Rows
  /** Undefined for one that has been forgotten. */
  standingOf(endpointId: string): Standing | undefined
  /** Names of credentials that are paused. */
  refused(): readonly string[]
  /** What is wrong with the file itself. */
  faults(): readonly string[]
  /** Everything that the schema consists of, in words. */
  schema(): string
  close(): void
}

/** SQLite gives a column the wrong type only where a table is not STRICT. */
export function openRowReader(path: string): RowReader {
  const db = new Database(path, { readonly: true, timeout: 0 })
  const all = <T>(source: string) => {
    const statement = db.prepare<[], T>(source)
    return () => statement.all()
  }
  const readers = {
    tasks: all<TaskRow>('select * from _tasks order by rowid'),
    subscriptions: all<Rows['subscriptions'][number]>('select task_id, endpoint_id from _subscriptions'),
    events: all<EventRow>('select * from _events order by rowid'),
    deliveries: all<DeliveryRow>('select * from _deliveries order by rowid'),
    attempts: all<AttemptRow>('select * from _attempts order by delivery_id, attempt_number'),
    endpoints: all<EndpointRow>('select * from _endpoints order by rowid'),
    jobs: all<JobRow>('select * from _jobs order by id'),
    paused: all<Rows['paused'][number]>('select name from _credentials where pause is not null'),
    counts: all<Rows['counts'][number]>('select name, n from _counts order by name'),
  }
  const databaseId = db.prepare<[], { value: string }>(`select value from _meta where key = 'database_id'`)
  const standing = db.prepare<[string], Standing>('select status, disabled_reason from _endpoints where id = ?')
  const refused = db.prepare<[], string>('select name from _credentials where pause is not null').pluck()
  // One transaction: all of it is of one moment.
  const read = db.transaction((): Rows => {
    const rows = Object.fromEntries(Object.entries(readers).map(([name, run]) => [name, run()]))
    return { ...rows, databaseId: databaseId.get()!.value } as unknown as Rows
  })
  return {
    read,
    standingOf: (endpointId) => standing.get(endpointId),
    refused: () => refused.all(),
    faults() {
      const integrity = db.pragma('integrity_check', { simple: true })
      const foreign = db.pragma('foreign_key_check') as readonly unknown[]
      return [
        ...(integrity === 'ok' ? [] : [`integrity_check: ${String(integrity)}`]),
        ...foreign.map((row) => `foreign_key_check: ${JSON.stringify(row)}`),
      ]
    },
    schema: () =>
      db
        .prepare<[], string>('select name || char(10) || sql from sqlite_schema where sql is not null order by name')
        .pluck()
        .all()
        .join('\n'),
    close: () => void db.close(),
  }
}
