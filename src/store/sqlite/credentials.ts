/** The budget of each credential, kept so that a restart does not forget what was spent. */

import type Database from 'better-sqlite3'
import { type Budget, newBudget, type Pause } from '../../core/budget.ts'
import type { EpochMs } from '../../core/time.ts'

interface BudgetRow extends Omit<Budget, 'pause' | 'kinds'> {
  readonly name: string
  readonly pause: string | null
  readonly kinds: string
}

const COLUMNS = `name, arrival_at as arrivalAt, rate_factor as rateFactor, raised_at as raisedAt,
  throttled_until as throttledUntil, throttled_at as throttledAt, pause, kinds`

export function createCredentialTable(db: Database.Database) {
  const byName = db.prepare<[string], BudgetRow>(`select ${COLUMNS} from _credentials where name = ?`)
  const save = db.prepare(
    `insert or replace into _credentials (name, arrival_at, rate_factor, raised_at, throttled_until, throttled_at, pause, kinds)
     values (:name, :arrivalAt, :rateFactor, :raisedAt, :throttledUntil, :throttledAt, :pause, :kinds)`,
  )

  return {
    read(name: string, now: EpochMs): Budget {
      const row = byName.get(name)
      return row === undefined ? newBudget(now) : toBudget(row)
    },
    /** Most answers change nothing: then nothing is written. */
    write(name: string, before: Budget, budget: Budget): void {
      if (budget === before) return
      save.run({
        ...budget,
        name,
        pause: budget.pause === null ? null : JSON.stringify(budget.pause),
        kinds: JSON.stringify(budget.kinds),
      })
    },
  }
}

export function listBudgets(db: Database.Database): ReadonlyMap<string, Budget> {
  const rows = db.prepare<[], BudgetRow>(`select ${COLUMNS} from _credentials order by name`).all()
  return new Map(rows.map((row) => [row.name, toBudget(row)]))
}

function toBudget({ name: _, pause, kinds, ...row }: BudgetRow): Budget {
  return {
    ...row,
    pause: pause === null ? null : (JSON.parse(pause) as Pause),
    kinds: JSON.parse(kinds) as Budget['kinds'],
  }
}

export type CredentialTable = ReturnType<typeof createCredentialTable>
