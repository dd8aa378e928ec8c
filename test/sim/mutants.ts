/**
 * Bugs that somebody could make tomorrow, one each: a fence taken away, a rule turned round. Each has to be caught, by
 * the simulation or by the test that is named; one that nobody catches shows a hole in the tests.
 *
 * They are planted into the sources while the tests load them (mutant-plugin.ts).
 */

export interface Mutant {
  readonly name: string
  /** The number in the catalogue of mutants; null for those that were added. */
  readonly number: number | null
  readonly says: string
  readonly changes: readonly { readonly file: string; readonly find: string; readonly replace: string }[]
  /** The test that catches it; without one it is the simulation. */
  readonly test?: { readonly file: string; readonly title: string }
}

const OPENED = 'installViews(writer, latestMigration())'
const afterOpening = (statement: string) => [
  { file: 'store/sqlite/open.ts', find: OPENED, replace: `${OPENED}\n    writer.exec('${statement}')` },
]
const one = (file: string, find: string, replace: string) => [{ file, find, replace }]

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is a piece of source.
const FREE = " and ${isFree('_tasks.id')}"
const DELIVERED_UNSENT = `const unsent = { responseExcerpt: null, responseTruncated: false, responseHeaders: {}, remoteAddress: null }
      const success = { result: { kind: 'response' as const, status: 200, retryAfter: null }, durationMs: 0, ...unsent }
      await store.recordAttempts({ now: clock.now(), records: [{ delivery, leaseToken, startedAt: clock.now(), exchange: success, verdict: { kind: 'delivered' }, isEndpointGone: false, random: 0.5 }] })
      const startedAt = clock.now()`
const REMEMBERED = `const memory = new Map<string, Budget>()
  return {
    read: (name: string, now: EpochMs): Budget => memory.get(name) ?? newBudget(now),
    forget: (): void => {},
    list: (): ReadonlyMap<string, Budget> => memory,
    write: (name: string, _: Budget, budget: Budget): void => void memory.set(name, budget),
  }
  return {`

/** Few of the drawn histories last for days: the one that is written by hand does. */
const A_WEEK = {
  file: 'test/sim/replay.test.ts',
  title: 'over a week a receiver that fails for days is disabled, probed and enabled again',
} as const

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'two-events-allowed',
    number: 1,
    says: 'the database does not refuse a second event of one task',
    changes: afterOpening('drop index if exists _events_task'),
    test: { file: 'test/sim/fences.test.ts', title: 'a second event of one task' },
  },
  {
    name: 'polls-unfenced',
    number: 2,
    says: 'the result of a poll is written under any lease',
    changes: one(
      'store/sqlite/tasks.ts',
      '!leases.giveUp(task.id, leaseToken)',
      '!leases.giveUp(task.id, leaseToken) && false',
    ),
  },
  {
    name: 'attempts-unfenced',
    number: 2,
    says: 'the result of an attempt is written under any lease',
    changes: one(
      'store/sqlite/deliveries.ts',
      '!leases.giveUp(delivery.id, leaseToken)',
      '!leases.giveUp(delivery.id, leaseToken) && false',
    ),
  },
  {
    name: 'recorded-before-sent',
    number: 3,
    says: 'delivered is written before the POST is sent',
    changes: one('engine/dispatcher.ts', 'const startedAt = clock.now()', DELIVERED_UNSENT),
  },
  {
    name: 'fan-out-later',
    number: 4,
    says: 'the deliveries are made in a transaction of their own, after the event’s',
    changes: one(
      'store/sqlite/tasks.ts',
      'deliveries.makeForSubscribers(task.id, event, now)',
      'queueMicrotask(() => deliveries.makeForSubscribers(task.id, event, now))',
    ),
  },
  {
    name: 'body-written-anew',
    number: 5,
    says: 'the body is parsed and written again for each attempt',
    changes: one(
      'engine/dispatcher.ts',
      'const { eventId, url, body, signers, headers } = delivery',
      'const { eventId, url, signers, headers } = delivery\n    const body = JSON.stringify(JSON.parse(delivery.body))',
    ),
  },
  {
    name: 'timestamp-of-the-event',
    number: 6,
    says: 'the timestamp is that of the event, not of the attempt',
    changes: one(
      'engine/dispatcher.ts',
      'const sentAt = clock.wall()',
      'const sentAt = Date.parse(JSON.parse(delivery.body).timestamp) as EpochMs',
    ),
  },
  {
    name: 'shutdown-costs-an-attempt',
    number: 7,
    says: 'an attempt that our own stop cut off counts',
    changes: one(
      'core/delivery.ts',
      "if (effect === 'give_back') {",
      "if (effect === 'give_back' && !(result.kind === 'own_fault' && result.reason === 'shutdown')) {",
    ),
  },
  {
    name: 'rate-in-memory',
    number: 8,
    says: 'a restart forgets what was spent',
    changes: one('store/sqlite/credentials.ts', 'return {\n    forget: ', `${REMEMBERED}\n    forget: `),
  },
  {
    name: 'no-jitter',
    number: 9,
    says: 'all that failed together returns together',
    changes: one(
      'core/retry.ts',
      'waitMs * (1 - JITTER_SHARE + 2 * JITTER_SHARE * random)',
      'waitMs * (1 + 0 * random)',
    ),
    test: { file: 'test/core/retry.test.ts', title: 'reaches from one end to the other' },
  },
  {
    name: 'retry-after-unclamped',
    number: 10,
    says: 'a receiver may have us wait for centuries',
    changes: one('core/retry.ts', 'Math.min(waitMs, RETRY_AFTER_MAX_MS)', 'waitMs'),
  },
  {
    name: 'literals-unchecked',
    number: 11,
    says: 'a callback that is an IP address is not looked at',
    changes: one('webhook/address-guard.ts', ': standingOfAddress(allow, host, host)', ': ALLOWED'),
  },
  {
    name: 'first-answer-only',
    number: 12,
    says: 'of the addresses of a name only the first is checked',
    changes: one(
      'webhook/address-guard.ts',
      'for (const { address } of answers) {',
      'for (const { address } of answers.slice(0, 1)) {',
    ),
    test: { file: 'test/webhook/address-guard.test.ts', title: 'are handed on exactly as they were judged' },
  },
  {
    name: 'redirect-is-success',
    number: 13,
    says: 'a redirect is taken for an answer (nothing here could follow it)',
    changes: one('core/retry.ts', "isStatus(200, 299), effect: 'deliver'", "isStatus(200, 399), effect: 'deliver'"),
    test: { file: 'test/core/delivery.test.ts', title: 'HTTP 302 is tried again by the schedule' },
  },
  {
    name: 'success-after-body',
    number: 14,
    says: 'a 2xx whose body breaks off is a failure',
    changes: one('webhook/post.ts', 'if (answer === null) {', 'if (answer !== undefined) {'),
    test: { file: 'test/webhook/hostile.test.ts', title: 'with a body that drips' },
  },
  {
    name: 'synchronous-normal',
    number: 15,
    says: 'a commit is not flushed to the disk',
    changes: one(
      'store/sqlite/open.ts',
      "db.pragma('synchronous = full')\n  if (db.pragma('synchronous', { simple: true }) !== 2)",
      "db.pragma('synchronous = normal')\n  if (db.pragma('synchronous', { simple: true }) !== 1)",
    ),
  },
  {
    name: 'begin-deferred',
    number: 16,
    says: 'a transaction takes the lock only when it first writes',
    changes: one('store/sqlite/group-commit.ts', "'begin immediate'", "'begin deferred'"),
  },
  {
    name: 'claims-unleased',
    number: 17,
    says: 'a claim hands out what has been handed out (the de-duplication of a batch, where a query is about one id)',
    changes: one('store/sqlite/tasks.ts', FREE, ' and :now = :now'),
  },
  {
    name: 'unknown-word-fails',
    number: 18,
    says: 'a task status that nobody knows is taken for a failure',
    changes: one(
      'core/observation.ts',
      'if (FAILED_WORDS.has(word)) {',
      'if (FAILED_WORDS.has(word) || !RUNNING_WORDS.has(word)) {',
    ),
  },
  {
    name: 'paused-is-sent-to',
    number: 19,
    says: 'an endpoint that is paused or disabled is claimed all the same',
    changes: [
      ...one('store/sqlite/turns.ts', 'isOpen: isOpen ? 1 : 0', 'isOpen: isOpen ? 1 : 1'),
      ...one('store/sqlite/turns.ts', "const IS_OPEN = `status = 'enabled'`", "const IS_OPEN = 'true'"),
    ],
  },
  {
    name: 'look-that-writes',
    number: 20,
    says: 'a look takes the writing connection, and changes something (nothing here iterates over an await)',
    changes: one(
      'store/sqlite/store.ts',
      'look(() => lookups.listTasks(filter))',
      "look(() => (db.exec('update _meta set value = value'), lookups.listTasks(filter)))",
    ),
  },
  {
    name: 'random-event-ids',
    number: null,
    says: 'an event id is drawn, not derived',
    changes: one(
      'core/ids.ts',
      '[databaseId, taskId, outcome]',
      '[databaseId, taskId, outcome, String(Math.random())]',
    ),
  },
  {
    name: 'late-subscriber-forgotten',
    number: null,
    says: 'who subscribes to a settled task is never told',
    changes: one(
      'store/sqlite/tasks.ts',
      'if (isNewSubscription && eventId !== null && eventType !== null)',
      'if (isNewSubscription && eventId !== null && eventType === null)',
    ),
  },
  {
    name: 'one-answer-is-enough',
    number: null,
    says: 'the first answer that looks like a failure is believed',
    changes: one(
      'core/decision.ts',
      'suspicion.answerCount >= observation.answersNeeded',
      'suspicion.answerCount >= 1',
    ),
  },
  {
    name: 'foreign-answer-believed',
    number: null,
    says: 'an answer about another task settles this one',
    changes: one('core/observation.ts', 'echoedTaskId === askedTaskId ||', 'echoedTaskId !== undefined ||'),
  },
  {
    name: 'answered-before-commit',
    number: null,
    says: 'a step’s owner is told before the commit has succeeded',
    changes: one(
      'store/sqlite/group-commit.ts',
      'return () => resolve(value)',
      'resolve(value)\n      return () => {}',
    ),
  },
  {
    name: 'endpoint-slots-ignored',
    number: null,
    says: 'one endpoint may get all attempts at once',
    changes: one(
      'store/sqlite/claim-room.ts',
      'allowedSlots(one.slots, slotsMaxOf(one, params)) - (underWay.get(one.id) ?? 0)',
      'slotsMaxOf(one, params)',
    ),
  },
  {
    name: 'endpoint-rate-not-spent',
    number: null,
    says: 'what an endpoint was sent does not count against its rate',
    changes: one(
      'store/sqlite/turns.ts',
      'spentArrival(turn.arrivalAt, pace, now, sentCount)',
      'Math.max(turn.arrivalAt, now)',
    ),
    test: {
      file: 'test/store/sqlite/turns.test.ts',
      title: 'a rate grants one, and the claim says when it will grant the next',
    },
  },
  {
    name: 'dead-endpoint-hammered',
    number: null,
    says: 'what fails is tried again as fast as it fails',
    changes: one('store/sqlite/turns.ts', 'after(now, restMs(now - (row.failingSince ?? now)))', 'after(now, 0)'),
    test: {
      file: 'test/store/sqlite/turns.test.ts',
      title: 'what fails with one slot rests for a quarter of the time',
    },
  },
  {
    name: 'gives-up-early',
    number: null,
    says: 'the last attempt of the schedule is never made',
    changes: one(
      'core/delivery.ts',
      'const waitMs = scheduleMs[madeCount]',
      'const waitMs = scheduleMs.slice(0, -1)[madeCount]',
    ),
  },
  {
    name: 'counts-adrift',
    number: null,
    says: 'a change of status is not counted',
    changes: afterOpening('drop trigger if exists _tasks_counted_on'),
  },
  {
    name: 'bans-ignored',
    number: null,
    says: 'who is told to wait asks on',
    changes: one(
      'core/budget.ts',
      'return onThrottled(budget, now, effect.askedAt, effect.retryAfterMs)',
      'return budget',
    ),
  },
  {
    name: 'refusals-ignored',
    number: null,
    says: 'a credential that is refused is asked with at full speed',
    changes: one('core/budget.ts', 'return onRefused(budget, now, effect)', 'return budget'),
  },
  {
    name: 'work-not-announced',
    number: null,
    says: 'a retry does not say when its endpoint is due again',
    changes: one(
      'store/sqlite/deliveries.ts',
      "if (verdict.kind === 'retry') turns.bringForward(",
      "if (verdict.kind !== 'retry' && 'nextAttemptAt' in verdict) turns.bringForward(",
    ),
    test: { file: 'test/store/sqlite/contract.test.ts', title: 'a failed one is due again when the verdict says' },
  },
  {
    name: 'leases-never-end',
    number: null,
    says: 'what was claimed and could not be recorded is claimed again only by the next process',
    changes: one('store/sqlite/leases.ts', 'held.expires_at > :now', 'held.expires_at > :now - 1e12'),
    test: { file: 'test/store/sqlite/contract.test.ts', title: 'a claimed task is nobody else’s until its lease ends' },
  },
  {
    name: 'clock-moves-nothing',
    number: null,
    says: 'a clock that is set makes everything due that waits, or puts it off',
    changes: one('engine/clock-watch.ts', 'store.moveInstants({ now: clock.now(), byMs })', 'Promise.resolve(store)'),
  },
  {
    name: 'clock-moves-at-once-again',
    number: null,
    says: 'a move of the clock that the store refuses is tried again for ever, in one turn of the event loop',
    changes: one('engine/clock-watch.ts', 'retryAt = after(clock.now(), RETRY_MS)', 'void [after, RETRY_MS]'),
    test: { file: 'test/engine/clock.test.ts', title: 'tried again after a second and not at once' },
  },
  {
    name: 'rounding-unforgiven',
    number: null,
    says: 'at some rates nothing is asked any more after the clock was set back',
    changes: one('core/gcra.ts', 'const FORGIVEN_MS = 0.001', 'const FORGIVEN_MS = 0.000001'),
    test: { file: 'test/core/budget.test.ts', title: 'grants a query at once, at any rate' },
  },
  {
    name: 'cancel-does-not-end',
    number: null,
    says: 'a poll that is under way settles a task that was canceled',
    changes: [
      { file: 'store/sqlite/tasks.ts', find: 'leases.end(id)', replace: 'void id' },
      { file: 'store/sqlite/tasks.ts', find: "where id = :id and status = 'pending'`", replace: 'where id = :id`' },
    ],
  },
  {
    name: 'disabled-in-a-day',
    number: null,
    says: 'an endpoint that fails over a long weekend is cut off',
    changes: one('core/endpoint-health.ts', 'FAILING_MS_MAX = 5 * DAY', 'FAILING_MS_MAX = DAY'),
    test: A_WEEK,
  },
  {
    name: 'disabled-never',
    number: null,
    says: 'an endpoint that has failed for weeks is hammered for ever',
    changes: one('core/endpoint-health.ts', 'FAILING_MS_MAX = 5 * DAY', 'FAILING_MS_MAX = 500 * DAY'),
    test: A_WEEK,
  },
  {
    name: 'one-event-disables',
    number: null,
    says: 'one event that nobody can digest silences all the others',
    changes: one('core/endpoint-health.ts', 'FAILING_EVENTS_MIN = 3', 'FAILING_EVENTS_MIN = 1'),
    test: { file: 'test/core/endpoint-health.test.ts', title: 'with two events that fail is never disabled' },
  },
  {
    name: 'probes-at-one-gap',
    number: null,
    says: 'whoever is disabled is tried every five minutes for ever',
    changes: one('core/endpoint-health.ts', 'probeGapMs(probeCount, random)) }', 'probeGapMs(0, random)) }'),
    test: A_WEEK,
  },
  {
    name: 'success-enables-nothing',
    number: null,
    says: 'a probe that succeeds leaves its endpoint disabled',
    changes: one(
      'core/endpoint-health.ts',
      'if (isProbed(standing)) return { ...standing, ...ENABLED }',
      'if (isProbed(standing)) return standing',
    ),
    test: A_WEEK,
  },
  {
    name: 'disabling-untold',
    number: null,
    says: 'nobody hears that an endpoint was disabled',
    changes: one('core/endpoint-health.ts', "? null : 'disabled'", '? null : null'),
  },
  {
    name: 'exhaustion-untold',
    number: null,
    says: 'nobody hears that a delivery was given up',
    changes: one('store/sqlite/endpoint-health.ts', "if (verdict.kind === 'exhausted') tellExhausted(record, now)", ''),
  },
  {
    name: 'operator-in-a-circle',
    number: null,
    says: 'the operator’s endpoint is told of its own failures, each of which makes the next',
    changes: one('core/operator-event.ts', "'endpointId' in fact ? fact.endpointId : null", 'null'),
  },
  {
    name: 'filter-ignored',
    number: null,
    says: 'an endpoint is told of what it did not choose',
    changes: one('core/endpoint.ts', 'chosen?.includes(type) ?? true', "chosen !== undefined || type === ''"),
  },
  {
    name: 'filter-too-strict',
    number: null,
    says: 'an endpoint that chose two types is told of the first alone',
    changes: one('core/endpoint.ts', 'chosen?.includes(type)', 'chosen?.[0]?.includes(type)'),
    test: { file: 'test/store/sqlite/contract.test.ts', title: 'the choice holds for late subscribers too' },
  },
  {
    name: 'backlog-left-behind',
    number: null,
    says: 'what is under way when its endpoint is deleted stays pending for ever',
    changes: one('store/sqlite/deletion.ts', 'dropping.add(id)', 'void dropping'),
  },
  {
    name: 'overlap-forgotten',
    number: null,
    says: 'a secret that is replaced ceases to sign at once',
    changes: one(
      'store/sqlite/secrets.ts',
      'expiriesAfterRotation(rows, now, overlapMs)',
      'expiriesAfterRotation(rows, now, 0 * overlapMs)',
    ),
  },
  {
    name: 'job-without-an-end',
    number: null,
    says: 'a job that has queued all it can is never done',
    changes: one('store/sqlite/jobs.ts', "if (place === null) end.run({ id, status: 'done', now })", ''),
  },
  {
    name: 'few-starve',
    number: null,
    says: 'the longest due come first, and a kind with a hundred thousand of them lets no other have a turn',
    changes: one(
      'core/fair-share.ts',
      'const left = inOrder.filter(',
      'if (inOrder[0] !== undefined) return { shares: [{ queue: inOrder[0], count }], served }\n  const left = inOrder.filter(',
    ),
    test: { file: 'test/store/sqlite/tasks.test.ts', title: 'does not starve one with ten' },
  },
  {
    name: 'turns-forgotten',
    number: null,
    says: 'each life of the daemon begins with the same kind',
    changes: one('store/sqlite/credentials.ts', 'const served = JSON.stringify(budget.served)', "const served = '[]'"),
    test: { file: 'test/store/sqlite/tasks.test.ts', title: 'whose turn it is outlives the daemon' },
  },
  {
    name: 'outage-hammered',
    number: null,
    says: 'an upstream that does not answer is asked at the full rate',
    changes: one(
      'core/budget.ts',
      'if (rateFactor === budget.rateFactor) return budget',
      'if (rateFactor <= budget.rateFactor) return budget',
    ),
    test: { file: 'test/core/budget.test.ts', title: 'lowers the rate to one query in five seconds' },
  },
  {
    name: 'whole-rate-at-once',
    number: null,
    says: 'the first answer after an outage brings the whole rate back',
    changes: one('core/budget.ts', 'Math.min(regainTo, rateFactor * 2 ** steps)', 'regainTo'),
    test: { file: 'test/core/budget.test.ts', title: 'ends in a doubling for each second and not in one leap' },
  },
  {
    name: 'runs-of-anything',
    number: null,
    says: 'polls that were answered otherwise are taken for more of the same',
    changes: one(
      'store/sqlite/tasks.ts',
      ' and observation = :observation and detail = :detail and http_status is :httpStatus',
      '',
    ),
    test: { file: 'test/store/sqlite/contract.test.ts', title: 'polls that were answered alike are one' },
  },
  {
    name: 'claims-past-ended-leases',
    number: null,
    says: 'a claim goes before records whose leases have ended, and hands out again what they tell of',
    changes: [
      {
        file: 'store/sqlite/store.ts',
        find: 'isBehindRecords || look(() => leases.hasAnyEnded(now))',
        replace: 'isBehindRecords',
      },
      ...one('store/sqlite/group-commit.ts', 'OVERTAKEN_MS_MAX = 2 * SECOND', 'OVERTAKEN_MS_MAX = 2_000 * SECOND'),
    ],
    test: { file: 'test/sim/replay.test.ts', title: 'a lock that outlives the leases sends nothing twice' },
  },
  {
    name: 'claims-unmindful-of-free-slots',
    number: null,
    says: 'a slot that frees while a claim is under way wakes nobody, and what it could have sent waits for the next beat',
    changes: one('engine/dispatcher.ts', '    isMoreDue = true\n', ''),
    test: { file: 'test/engine/dispatcher.test.ts', title: 'a slot that frees while a claim is under way' },
  },
  {
    name: 'queries-unmindful-of-free-slots',
    number: null,
    says: 'a tick without a free slot, or with a claim under way, does not count on those that free',
    changes: one('engine/scheduler.ts', '    isShortOfSlots = true\n', ''),
    test: { file: 'test/engine/scheduler.test.ts', title: 'a slot that frees while a claim is under way' },
  },
  {
    name: 'settled-behind-nothing',
    number: null,
    says: 'what settles is claimed before it is recorded, and found when something else wakes the dispatcher',
    changes: one('engine/dispatcher.ts', 'settling = recording', 'settling = null'),
    test: { file: 'test/engine/dispatcher.test.ts', title: 'what is being recorded is claimed right behind it' },
  },
]
