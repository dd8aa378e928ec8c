/** The budget of each credential, kept so that a restart does not forget what was spent. */

import type Database from 'better-sqlite3'
import { type Budget, newBudget, type Pause } from '../../core/budget.ts'
import type { EpochMs } from '../../core/time.ts'

interface BudgetRow extends Omit<Budget, 'pause' | 'kinds' | 'served'> {
  readonly name: string
  readonly pause: string | null
  readonly kinds: string
  readonly served: string
}

const COLUMNS = `name, arrival_at as arrivalAt, rate_factor as rateFactor, raised_at as raisedAt,
  throttled_until as throttledUntil, throttled_at as throttledAt, pause, kinds, silent_since as silentSince,
  regain_to as regainTo, served`

export function createCredentialTable(db: Database.Database) {
  const byName = db.prepare<[string], BudgetRow>(`select ${COLUMNS} from _credentials where name = ?`)
  const save = db.prepare(
    `insert or replace into _credentials (name, arrival_at, rate_factor, raised_at, throttled_until, throttled_at, pause, kinds,
       silent_since, regain_to, served)
     values (:name, :arrivalAt, :rateFactor, :raisedAt, :throttledUntil, :throttledAt, :pause, :kinds,
       :silentSince, :regainTo, :served)`,
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
        served: JSON.stringify(budget.served),
      })
    },
  }
}

export function listBudgets(db: Database.Database): ReadonlyMap<string, Budget> {
  const rows = db.prepare<[], BudgetRow>(`select ${COLUMNS} from _credentials order by name`).all()
  return new Map(rows.map((row) => [row.name, toBudget(row)]))
}

/** One text after the other is the same: what was read last is kept, as values are never changed. */
function createReading<T>() {
  let lastText: string | null = null
  let lastValue: T
  return (text: string): T => {
    if (text !== lastText) {
      lastValue = JSON.parse(text) as T
      lastText = text
    }
    return lastValue
  }
}

const readKinds = createReading<Budget['kinds']>()
const readServed = createReading<Budget['served']>()

function toBudget({ name: _, pause, kinds, served, ...row }: BudgetRow): Budget {
  return {
    ...row,
    pause: pause === null ? null : (JSON.parse(pause) as Pause),
    kinds: readKinds(kinds),
    served: readServed(served),
  }
}

export type CredentialTable = ReturnType<typeof createCredentialTable>
