/**
 * The budget of each credential, kept so that a restart does not forget what was spent.
 *
 * What is spent changes with each claim, and a claim shall not wait for the disk (decision 0011): the exact arrival time, and
 * whose turns were served, are in a temporary table. Where the arrival time moves in small steps, as at high rates, the one
 * on disk is ahead by up to `RESERVED_MS`, and moves when it is reached. A process that dies loses what was left of that: as
 * much time without a query, and never one more than the rate allows.
 */

import type Database from 'better-sqlite3'
import { type Budget, newBudget, type Pause } from '../../core/budget.ts'
import type { EpochMs } from '../../core/time.ts'

interface BudgetRow extends Omit<Budget, 'pause' | 'kinds' | 'served'> {
  readonly name: string
  readonly pause: string | null
  readonly kinds: string
  readonly served: string
}

/** Twenty restarts in a minute lose two seconds' worth of queries by it. */
const RESERVED_MS = 100

const COLUMNS = `c.name, coalesce(s.arrival_at, c.arrival_at) as arrivalAt, c.rate_factor as rateFactor, c.raised_at as raisedAt,
  c.throttled_until as throttledUntil, c.throttled_at as throttledAt, c.pause, c.kinds, c.silent_since as silentSince,
  c.regain_to as regainTo, coalesce(s.served, c.served) as served
  from _credentials c left join temp._spending s on s.name = c.name`

export function createCredentialTable(db: Database.Database) {
  db.exec(
    'create temp table _spending (name text primary key not null, arrival_at real not null, served text not null) strict, without rowid',
  )
  const byName = db.prepare<[string], BudgetRow>(`select ${COLUMNS} where c.name = ?`)
  const all = db.prepare<[], BudgetRow>(`select ${COLUMNS} order by c.name`)
  const spend = db.prepare<[string, number, string]>(
    'insert or replace into temp._spending (name, arrival_at, served) values (?, ?, ?)',
  )
  const reserve = db.prepare(
    `update _credentials set served = :served,
       arrival_at = iif(:arrivalAt - arrival_at < ${RESERVED_MS}, :arrivalAt + ${RESERVED_MS}, :arrivalAt)
     where name = :name and arrival_at < :arrivalAt`,
  )
  const save = db.prepare(
    `insert or replace into _credentials (name, arrival_at, rate_factor, raised_at, throttled_until, throttled_at, pause, kinds,
       silent_since, regain_to, served)
     values (:name, :arrivalAt, :rateFactor, :raisedAt, :throttledUntil, :throttledAt, :pause, :kinds,
       :silentSince, :regainTo, :served)`,
  )

  /** As they are within one transaction, in which nobody else writes: each record of it asks. */
  const remembered = new Map<string, Budget>()

  return {
    forget: (): void => remembered.clear(),

    read(name: string, now: EpochMs): Budget {
      const known = remembered.get(name)
      if (known !== undefined) return known
      const row = byName.get(name)
      const budget = row === undefined ? newBudget(now) : toBudget(row)
      remembered.set(name, budget)
      return budget
    },
    list: (): ReadonlyMap<string, Budget> => new Map(all.all().map((row) => [row.name, toBudget(row)])),

    /** Most answers change nothing, and most claims nothing but what is reserved already: then nothing is written to the disk. */
    write(name: string, before: Budget, budget: Budget): void {
      if (budget === before) return
      remembered.set(name, budget)
      const { arrivalAt } = budget
      const served = JSON.stringify(budget.served)
      spend.run(name, arrivalAt, served)
      if (isOnlySpent(before, budget) && byName.get(name) !== undefined)
        return void reserve.run({ name, served, arrivalAt })
      save.run({
        ...budget,
        name,
        served,
        pause: budget.pause === null ? null : JSON.stringify(budget.pause),
        kinds: JSON.stringify(budget.kinds),
      })
    },
  }
}

/** Values are never changed in place: what is the same is the same object. */
function isOnlySpent(before: Budget, budget: Budget): boolean {
  const spent: Budget = { ...before, arrivalAt: budget.arrivalAt, served: budget.served }
  return (Object.keys(spent) as (keyof Budget)[]).every((key) => spent[key] === budget[key])
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
