/** Nothing that runs on a tick scans a table: the plans of the claims, as SQLite tells them. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Store } from '../../../src/store/store.ts'
import { aDirectory, openAt } from '../../support/store.ts'

/** Every statement that the store prepares, as it prepares it. */
function preparedStatements(): readonly string[] {
  const texts: string[] = []
  const spy = vi.spyOn(Database.prototype, 'prepare').mockImplementation(function (
    this: Database.Database,
    text: string,
  ) {
    texts.push(text)
    return original.call(this, text)
  } as never)
  onTestFinished(() => spy.mockRestore())
  openAt(join(aDirectory(), 'plans.db'))
  return texts
}
const original = Database.prototype.prepare

/** An open database of the same tables, those that a store keeps for itself included. */
function aDatabaseToExplain(): Database.Database {
  const own: string[] = []
  const exec = Database.prototype.exec
  const spy = vi.spyOn(Database.prototype, 'exec').mockImplementation(function (this: Database.Database, text: string) {
    if (/create temp table/.test(text)) own.push(text)
    return exec.call(this, text)
  } as never)
  const path = join(aDirectory(), 'explain.db')
  openAt(path)
  spy.mockRestore()
  const db = new Database(path)
  onTestFinished(() => void db.close())
  for (const text of own) db.exec(text)
  return db
}

test('no statement that is prepared once for the hot path scans a table', async () => {
  const texts = preparedStatements().filter(
    (text) =>
      /^\s*(select|update|delete|insert)/i.test(text) &&
      /\b_(tasks|deliveries|events|attempts|polls|endpoints|subscriptions)\b/.test(text) &&
      // Migrations are written with backticks.
      !text.includes('`'),
  )
  expect(texts.length).toBeGreaterThan(20)
  const db = aDatabaseToExplain()
  const scans = texts.flatMap((text) => {
    const plan = db.prepare(`explain query plan ${text.replace(/:\w+|\?/g, '1')}`).all() as { detail: string }[]
    return plan
      .filter(
        ({ detail }) =>
          /^SCAN (?!json_each|c\b|constant|_credentials)/.test(detail) &&
          !/USING (COVERING )?INDEX _turns_due/.test(detail),
      )
      .map(({ detail }) => `${detail}: ${text.replace(/\s+/g, ' ')}`)
  })
  // Once at the start, over the endpoints only: each with one look at the index of its deliveries, and at its secrets.
  const atTheStart = /select min\(next_attempt_at\) from _deliveries|secret_unreadable|headers_key_id|at the start/
  // When somebody sets the machine's clock, over the endpoints only.
  const whenClockIsSet = /:byMs/
  expect(scans.filter((scan) => !whenClockIsSet.test(scan) && !atTheStart.test(scan))).toEqual([])
})

test('the claim of due tasks reads its index in the order it needs: no sorting', () => {
  const claim = preparedStatements().find(
    (text) => /from _tasks indexed by _tasks_due/.test(text) && /temp._leases/.test(text),
  )
  expect(claim).toBeDefined()
  const db = aDatabaseToExplain()
  const plan = (db.prepare(`explain query plan ${claim!.replace(/:\w+/g, '1')}`).all() as { detail: string }[]).map(
    (row) => row.detail,
  )
  const inOrder = 'USING INDEX _tasks_due (credential=? AND kind=? AND <expr>=? AND next_poll_at<?)'
  expect(plan.some((detail) => detail.includes(inOrder))).toBe(true)
  expect(plan.some((detail) => detail.includes('TEMP B-TREE'))).toBe(false)
})

test('the queues of due tasks are found by one look for each kind and each queue', () => {
  const plans = plansOf(/with recursive kinds.* _tasks_due /s)
  expect(plans).toHaveLength(2)
  for (const plan of plans) {
    expect(plan.match(/SEARCH _tasks USING (COVERING )?INDEX _tasks_due/g)).toHaveLength(3)
    expect(plan).toMatch(/_tasks_due \(credential=\? AND kind=\? AND <expr>=\? AND next_poll_at[<>]\?\)/)
    expect(plan).toMatch(/_tasks_due \(credential=\? AND kind>\?\)/)
    expect(plan).not.toMatch(/SCAN _tasks|TEMP B-TREE/)
  }
})

test('a page of tasks of a status or a kind is stretches of one index, in its order', () => {
  const plans = [...plansOf(/min\(kind\) from _tasks where status/), ...plansOf(/id < :before order by id desc/)]
  expect(plans).toHaveLength(4)
  for (const plan of plans) {
    expect(plan).toMatch(/SEARCH _tasks USING COVERING INDEX _tasks_status \(status=\?/)
    expect(plan).not.toMatch(/SCAN _tasks|TEMP B-TREE/)
  }
})

test('a run of polls is lengthened where it is, and what an endpoint still has to tell is found by its own index', () => {
  const lengthening = plansOf(/update _polls set poll_number/)
  expect(lengthening).toEqual([expect.stringMatching(/_polls USING PRIMARY KEY \(task_id=\? AND first_number=\?\)/)])
  expect(lengthening[0]).not.toContain('TEMP B-TREE')
  expect(plansOf(/from _subscriptions s where s.endpoint_id/)).toEqual([
    expect.stringContaining('_subscriptions_endpoint (endpoint_id=?)'),
  ])
})

/** What SQLite says of each statement that matches, in one line. */
function plansOf(pattern: RegExp): readonly string[] {
  const texts = preparedStatements().filter((text) => pattern.test(text))
  const db = aDatabaseToExplain()
  return texts.map((text) => {
    const plan = db.prepare(`explain query plan ${text.replace(/:\w+|\?/g, '1')}`).all() as { detail: string }[]
    return plan.map(({ detail }) => detail).join('; ')
  })
}

test('whatever asks for the due deliveries of an endpoint reads the index of those that are pending', () => {
  const plans = plansOf(/from _deliveries\b[^()]*\s+where [^()]*next_attempt_at [<>]=? :now/)
  expect(plans.length).toBeGreaterThanOrEqual(4)
  for (const plan of plans)
    expect(plan).toMatch(/(_deliveries|d) USING (COVERING )?INDEX _deliveries_due \(endpoint_id=\? AND/)
  const firsts = plansOf(/select min\(next_attempt_at\) from _deliveries/)
  expect(firsts.length).toBeGreaterThanOrEqual(2)
  for (const plan of firsts) expect(plan).toMatch(/_deliveries USING COVERING INDEX _deliveries_due \(endpoint_id=\?\)/)
})

test('whatever goes by the deadline, and the secrets of an endpoint, are found by their own index: no sorting', () => {
  for (const plan of plansOf(/deadline_at < :deadlineBefore/)) {
    expect(plan).toContain('INDEX _tasks_deadline')
    expect(plan).not.toContain('TEMP B-TREE')
  }
  expect(plansOf(/select deadline_at as at from _tasks/)).toEqual([expect.stringContaining('INDEX _tasks_deadline')])
  for (const plan of plansOf(/from _secrets where endpoint_id = :endpointId/))
    expect(plan).toContain('INDEX _secrets_endpoint (endpoint_id=?)')
})

test('a job walks from where it is along one index, and the same way when it counts and when it queues', () => {
  const plans = plansOf(/seq > :after and seq <= :upTo/)
  // Each of them for one endpoint and for all: on the connection that writes, and those that only look on the other too.
  expect(plans).toHaveLength(8)
  const ways = [
    /_deliveries USING (COVERING )?INDEX _deliveries_endpoint \(endpoint_id=\? AND seq>\? AND seq<\?\)/,
    /_deliveries USING (COVERING )?INDEX _deliveries_status \(status=\? AND seq>\? AND seq<\?\)/,
  ]
  for (const way of ways) expect(plans.filter((plan) => way.test(plan))).toHaveLength(4)
  for (const plan of plans) expect(plan).not.toMatch(/SCAN|TEMP B-TREE/)
})

test('what a deleted endpoint still has is found among what is pending', () => {
  const plans = plansOf(/update _deliveries set status = case when is_manual = 1/)
  expect(plans).toEqual([expect.stringContaining('INDEX _deliveries_due (endpoint_id=?)')])
})

test.each<[string, (store: Store) => Promise<unknown>, string]>([
  ['deliveries of one status', (store) => store.listDeliveries({ status: 'pending', limit: 5 }), '_deliveries_status'],
  [
    'deliveries to one endpoint',
    (store) => store.listDeliveries({ endpointId: 'ep_1', limit: 5 }),
    '_deliveries_endpoint',
  ],
])('a page of %s is read in the order of its index: no sorting', async (_what, list, index) => {
  const store = openAt(join(aDirectory(), 'pages.db'))
  const texts: string[] = []
  const spy = vi.spyOn(Database.prototype, 'prepare').mockImplementation(function (
    this: Database.Database,
    text: string,
  ) {
    texts.push(text)
    return original.call(this, text)
  } as never)
  await list(store)
  spy.mockRestore()
  const db = aDatabaseToExplain()
  const [text = ''] = texts
  const plan = db.prepare(`explain query plan ${text.replaceAll('?', '1')}`).all()
  const details = (plan as { detail: string }[]).map(({ detail }) => detail).join('; ')
  expect(details).toContain(`INDEX ${index} `)
  expect(details).not.toContain('TEMP B-TREE')
})
