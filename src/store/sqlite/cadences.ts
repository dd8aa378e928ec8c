/** What is known of how long tasks of each kind take, kept so that a restart need not learn it again. */

import type Database from 'better-sqlite3'
import type { CadenceRecord } from '../../core/cadence.ts'
import type { EpochMs } from '../../core/time.ts'

export function createCadenceTable(db: Database.Database) {
  const save = db.prepare<[CadenceRecord & { now: EpochMs }]>(
    `insert or replace into _cadence
       (kind, state, completion_count, median_ms, p90_ms, unfinished_share, poll_cost_ms, plan, updated_at)
     values (:kind, :state, :completionCount, :medianMs, :p90Ms, :unfinishedShare, :pollCostMs, :plan, :now)`,
  )
  return {
    write(records: readonly CadenceRecord[], now: EpochMs): void {
      for (const record of records) save.run({ ...record, now })
    },
  }
}

export function listCadences(db: Database.Database): readonly Pick<CadenceRecord, 'kind' | 'state'>[] {
  return db.prepare<[], Pick<CadenceRecord, 'kind' | 'state'>>('select kind, state from _cadence order by kind').all()
}
