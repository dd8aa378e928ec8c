/**
 * What must be true of every history: one named function each, by the numbers of the catalogue (S safety, L liveness,
 * T truth, which the catalogue leaves to the others).
 *
 * Each compares what was seen outside (ledger) with the rows, or with what was seen before. An answer is a list of what
 * is wrong, in words; an empty one is good. `NOT_YET` says which have no subject, or are held elsewhere.
 */

import { Webhook } from 'standardwebhooks'
import { verifyV1a } from '../../examples/verify-v1a.ts'
import { burstMax } from '../../src/core/budget.ts'
import { eventIdOf, operatorEventIdOf, type TaskId } from '../../src/core/ids.ts'
import { JITTER_SHARE, RETRY_AFTER_MAX_MS } from '../../src/core/retry.ts'
import { type EpochMs, epochMs, HOUR, MINUTE, SECOND } from '../../src/core/time.ts'
import { SECRET } from '../support/world.ts'
import { S25_hopelessIsDisabled, S26_probesGrowApart, S27_eachTransitionIsTold } from './health-invariants.ts'
import { publicKeyOf } from './key-pairs.ts'
import { endpointOf, type Ledger, type PostFact, type QueryFact, tellingOf, wallProgressMs, wishOf } from './ledger.ts'
import { isForgetful, none, type Problems, tally, unless } from './problems.ts'
import type { AttemptRow, DeliveryRow, Rows } from './rows.ts'
import { catalogue, pictureUrl } from './upstream.ts'

export interface QueryView {
  readonly ledger: Ledger
  readonly query: QueryFact
}
export interface PostView {
  readonly ledger: Ledger
  readonly post: PostFact
}
export interface RecordView {
  readonly ledger: Ledger
  readonly port: string
  readonly applied: number
  /** Of the records, those whose lease was the last that had been handed out. */
  readonly heldCount: number
}
export interface RowsView {
  readonly ledger: Ledger
  readonly rows: Rows
  readonly wall: EpochMs
}

/** S1: the outbox is worth nothing if a task can be told of twice, or not at all. */
export function S1_oneEventPerTask({ rows }: RowsView): Problems {
  const counts = tally(taskEventsOf(rows), (event) => event.task_id)
  return rows.tasks.flatMap(({ id, status, event_id }) => {
    const wanted = status === 'pending' || status === 'canceled' ? 0 : 1
    const isNamed = (event_id !== null) === (wanted === 1)
    return unless(
      (counts.get(id) ?? 0) === wanted && isNamed,
      () => `${status} ${id} has ${counts.get(id) ?? 0} events`,
    )
  })
}

/** S2: receivers act on an end at once; one that changes later is a lie. */
export function S2_endsAreForEver({ ledger, rows }: RowsView): Problems {
  const bodies = new Map(rows.events.map((event) => [event.task_id, event.body]))
  return rows.tasks.flatMap((task) => {
    if (task.status === 'pending') {
      return unless(!ledger.firstSeen.has(task.id), () => `${task.id} had ended and is pending again`)
    }
    const text = [task.status, task.event_id, task.settled_at, bodies.get(task.id)].join('|')
    const first = ledger.firstSeen.get(task.id) ?? { text, settledAt: task.settled_at ?? 0 }
    ledger.firstSeen.set(task.id, first)
    return unless(first.text === text, () => `${task.id} had ended as ${first.text} and is now ${text}`)
  })
}

/** S3: a client that was told 2xx never asks again; what it handed over must survive anything. */
export function S3_acknowledgedIsKept({ ledger, rows }: RowsView): Problems {
  const endpoints = new Map(rows.endpoints.map(({ id, url }) => [id as string, url]))
  const kept = new Set(rows.subscriptions.map((row) => `${row.task_id} ${endpoints.get(row.endpoint_id)}`))
  return [...ledger.acks.values()].flatMap((ack) =>
    unless(kept.has(`${ack.id} ${ack.url}`) || mayBeForgotten(ledger, ack.id), () => `${describe(ack)} is lost`),
  )
}

/** S4: an event without its deliveries is an event that somebody is never told of. */
export function S4_endEventAndDeliveriesTogether({ ledger, rows }: RowsView): Problems {
  const made = new Set(rows.deliveries.map((row) => `${row.event_id} ${row.endpoint_id}`))
  const events = new Map(taskEventsOf(rows).map((event) => [event.task_id, event]))
  const deleted = deletedIn(rows)
  return rows.subscriptions.flatMap(({ task_id, endpoint_id }) => {
    const event = events.get(task_id)
    // What ends after the endpoint tells it nothing, and what it did not choose it need not hear.
    if (event === undefined || deleted.has(endpoint_id) || !isChosen(ledger, endpoint_id, event.type)) return none
    return unless(made.has(`${event.id} ${endpoint_id}`), () => `${event.id} has no delivery to ${endpoint_id}`)
  })
}

/** S4, the other way: what an endpoint did not choose is not made for it, let alone sent. */
export function S4_whatWasNotChosenIsNotMade({ ledger, rows }: RowsView): Problems {
  const types = new Map(rows.events.map(({ id, type }) => [id, type]))
  return rows.deliveries.flatMap(({ id, event_id, endpoint_id }) => {
    const isCertain = ledger.choices.get(endpoint_id)?.state === 'certain' && !ledger.seenDeliveries.has(id)
    const type = types.get(event_id) ?? ''
    return unless(
      !isCertain || isChosen(ledger, endpoint_id, type),
      () => `${endpoint_id} did not choose ${type}: ${id}`,
    )
  })
}

/** S5: receivers know an event again by its id and trust it by its signature, on every attempt. */
export function S5_sameIdSameBytesGoodSignature({ ledger, post }: PostView): Problems {
  const { 'webhook-id': id = '', 'webhook-timestamp': timestamp = '', 'webhook-signature': given = '' } = post.headers
  const task = taskTold(post)
  const eventId = (task === null ? null : ledger.eventOf.get(task)) ?? id
  const body = ledger.bodyOf.get(id) ?? post.body
  if (task !== null) ledger.eventOf.set(task, eventId)
  ledger.bodyOf.set(id, body)
  const seconds = Number(timestamp)
  const expected = secretsOf(ledger, post).map((secret) =>
    new Webhook(secret).sign(id, new Date(seconds * SECOND), post.body),
  )
  const signatures = given.split(' ')
  const hasKeyPair = signatures.some((one) => one.startsWith('v1a,'))
  const publicKeys = [publicKeyOf(post.url)]
  const sent = { id, timestamp, signature: given, body: post.body, now: seconds * SECOND }
  const isVerifiedV1a = hasKeyPair && verifyV1a({ ...sent, publicKeys })
  return [
    ...unless(eventId === id, () => `${task} was told of as ${eventId} and as ${id}`),
    ...unless(body === post.body, () => `${id} was sent with other bytes`),
    ...unless(Math.abs(seconds * SECOND - post.wallAt) <= 5 * SECOND, () => `${id} has a stale timestamp ${timestamp}`),
    ...expected.flatMap((one) => unless(signatures.includes(one), () => `${id} is not signed with a live secret`)),
    ...unless(!hasKeyPair || isVerifiedV1a, () => `${id} is signed with another key pair than its receiver's`),
    ...unless(
      !hasKeyPair || 'authorization' in post.headers,
      () => `${id} lacks the header that came with its key pair`,
    ),
  ]
}

/** S6: after a 2xx that is on disk nobody is disturbed again, unless a person asks for it. */
export function S6_noResendAfterCommittedSuccess({ ledger, post }: PostView): Problems {
  const telling = tellingOf(ledger, post.headers['webhook-id'] ?? '', endpointOf(post))
  if (telling.state === 'open') return none
  const last = telling.posts.findLast((earlier) => earlier !== post)
  const leaseMs = ledger.plan.options.deliveryLeaseMs
  // Whose record waits in the store is not forgotten, however long that takes.
  const { recording } = telling
  const workedUntil = recording?.life === post.life ? Math.min(recording.since, post.at) : post.at
  // What a person asked for stands as asked for until its record: that of the one before came too late, or not at all.
  const isSameWish = post.claimed?.isManual === true && last?.claimed?.isManual === true
  const isFenced =
    (telling.state === 'heard' || isSameWish) &&
    last !== undefined &&
    wallProgressMs(ledger, last.at, workedUntil) >= leaseMs
  if (telling.credits > 0) telling.credits -= 1
  else if (!isFenced) return [`${post.headers['webhook-id']} was sent again to ${post.url} after its 2xx`]
  return none
}

/** S7: two attempts at once make every receiver's de-duplication a race; too many make us a flood. */
export function S7_attemptsAtOnce({ ledger, post }: PostView): Problems {
  const { endpointConcurrency, deliveryConcurrency, deliveryLeaseMs } = ledger.plan.options
  const open = ledger.posts.filter((one) => one.life === post.life && one.endedAt === null)
  const isToSame = (one: PostFact) => endpointOf(one) === endpointOf(post)
  const same = open.filter(
    (one) => one !== post && isToSame(one) && one.headers['webhook-id'] === post.headers['webhook-id'],
  )
  const isLeaseLost = same.every((one) => wallProgressMs(ledger, one.at, post.at) >= deliveryLeaseMs)
  const toEndpoint = open.filter(isToSame).length
  return [
    ...unless(isLeaseLost, () => `${post.headers['webhook-id']} has two attempts to ${post.url} under way`),
    ...unless(toEndpoint <= endpointConcurrency, () => `${toEndpoint} attempts to ${post.url} at once`),
    ...unless(open.length <= deliveryConcurrency, () => `${open.length} attempts at once`),
  ]
}

/** S8: asking twice at once, early, or about what has ended wastes a quota that is paid for. */
export function S8_asksOnlyWhatIsDue({ ledger, query }: QueryView): Problems {
  const leaseMs = ledger.plan.options.pollLeaseMs
  const open = ledger.queries.filter((one) => one !== query && one.life === query.life && one.endedAt === null)
  const isAskedNow = (id: string) =>
    open.some((one) => one.tasks.some((task) => task.id === id) && wallProgressMs(ledger, one.at, query.at) < leaseMs)
  return query.tasks.flatMap(({ id }) => {
    const settledAt = ledger.settledAt.get(id)
    const dueAt = ledger.nextPollAt.get(id)
    // Claimed at the instant in which it was canceled: the query had left already.
    const isEnded = settledAt !== undefined && settledAt < query.at
    return [
      ...unless(!isAskedNow(id), () => `${id} is asked about twice at once`),
      ...unless(!isEnded, () => `${id} is asked about after its end`),
      ...unless(dueAt === undefined || query.wallAt >= dueAt, () => `${id} is asked about before it is due`),
    ]
  })
}

/** A claim that has waited longer is refused by the store. */
const CLAIM_WAIT_MS_MAX = 3 * SECOND

/** S8, for credentials: one that is refused is probed once a minute and not asked. */
export function S8_refusedIsProbed({ ledger, query }: QueryView): Problems {
  const since = ledger.refusedSince.get(query.credential)
  if (since === undefined) return none
  const isJumped = ledger.blows.some(({ kind, at }) => kind.startsWith('clock') && at >= since - MINUTE)
  const last = ledger.queries.findLast((one) => one !== query && one.credential === query.credential && one.at > since)
  // A claim that waits for a lock is of the instant at which it began to wait.
  const isSpaced = query.at - (last?.at ?? Number.NEGATIVE_INFINITY) >= MINUTE - CLAIM_WAIT_MS_MAX
  return unless(
    isSpaced || isJumped || query.at === since,
    () => `${query.credential} is refused and asked all the same`,
  )
}

/** S9: the rate is a contract with the upstream, kept over any window and any number of restarts. */
export function S9_rateIsKept({ ledger, query }: QueryView): Problems {
  const { budget } = ledger.plan.options
  const burst = burstMax(budget)
  let count = 0
  for (const one of ledger.queries.toReversed()) {
    if (one.credential !== query.credential) continue
    if (query.at - one.at > MINUTE) break
    count += one.tasks.length
    const windowMs = query.at - one.at
    // A clock that jumps, a claim that waits for a lock: what was granted before and after may leave together.
    const shaken = ledger.blows.filter(({ kind, at }) => SHAKES_RATE.has(kind) && at >= one.at - MINUTE).length
    const allowed = (burst * (1 + shaken) + shaken + (budget.rate * windowMs) / SECOND) * 1.0001
    if (count > allowed + 1e-6)
      return [`${count} queries of ${query.credential} in ${windowMs} ms, ${allowed.toFixed(2)} allowed`]
  }
  return none
}
const SHAKES_RATE: ReadonlySet<string> = new Set(['clock_back', 'clock_forward', 'busy', 'stopped'])

/** S9, for bans: whoever goes on asking when told to wait is banned for longer. */
export function S9_bansAreObeyed({ ledger, query }: QueryView): Problems {
  const ban = ledger.bans.get(query.credential)
  if (ban === undefined || query.at <= ban.since || query.at >= ban.until) return none
  const isJumped = ledger.blows.some(({ kind, at }) => kind.startsWith('clock') && at >= ban.since - MINUTE)
  return unless(
    isJumped,
    () => `${query.credential} is banned from ${ban.since} to ${ban.until} and asked at ${query.at}`,
  )
}

/** S10: an upstream that takes n ids of one kind answers garbage for more, or for two kinds. */
export function S10_oneKindPerQuery({ query }: QueryView): Problems {
  const kinds = new Set(query.tasks.map(({ kind }) => kind))
  const max = catalogue.idsPerQuery(query.tasks[0]!.kind) ?? 0
  const ids = new Set(query.tasks.map(({ id }) => id))
  return unless(
    kinds.size === 1 && query.tasks.length <= max && ids.size === query.tasks.length,
    () => `one query about ${query.tasks.map(({ kind, taskId }) => `${kind}/${taskId}`).join(', ')}`,
  )
}

/** S11: the schedule is promised to receivers; a hole or an early attempt breaks it. */
export function S11_attemptsFollowTheSchedule({ ledger, rows }: RowsView): Problems {
  const { retryScheduleMs } = ledger.plan.options
  const attempts = groupBy(rows.attempts)
  const isJumped = ledger.blows.some(({ kind }) => kind.startsWith('clock'))
  return rows.deliveries.flatMap((delivery) => {
    const made = attempts.get(delivery.id) ?? []
    const rounds = roundsOf(made)
    let scheduledSoFar = 0
    return [
      ...unless(
        made.every((one, index) => one.attempt_number === index + 1),
        () => `${delivery.id} skips an attempt`,
      ),
      ...unless(
        made.length === delivery.attempt_count && isCounted(delivery, rounds),
        () =>
          `${delivery.id} counts ${delivery.attempt_count} and ${delivery.scheduled_attempt_count}, has ${made.length} in rounds of ${rounds}`,
      ),
      ...unless(Math.max(...rounds) <= retryScheduleMs.length, () => `${delivery.id} was attempted ${rounds} times`),
      ...made.flatMap((attempt, index) => {
        scheduledSoFar += isScheduled(attempt) ? 1 : 0
        if (isEnd(attempt)) scheduledSoFar = 0
        if (attempt.next_attempt_at === null) return none
        const waitMs = attempt.next_attempt_at - (attempt.started_at + attempt.duration_ms)
        const wanted = (retryScheduleMs[scheduledSoFar] ?? 0) * (1 - JITTER_SHARE)
        const next = made[index + 1]
        const isEarly = next !== undefined && isScheduled(next) && next.started_at < attempt.next_attempt_at
        return [
          ...unless(
            isJumped || (waitMs >= wanted - 1 && waitMs <= RETRY_AFTER_MAX_MS * (1 + JITTER_SHARE) + HOUR),
            () => `${delivery.id} waits ${waitMs} ms after attempt ${index + 1}, at least ${wanted} are due`,
          ),
          ...unless(isJumped || !isEarly, () => `${delivery.id} was attempted before its time`),
        ]
      }),
    ]
  })
}

/** A schedule that ended may begin again: how many attempts each round took, the last of which may go on. */
function roundsOf(made: readonly AttemptRow[]): readonly number[] {
  const rounds = [0]
  for (const attempt of made) {
    if (isScheduled(attempt)) rounds.push((rounds.pop() ?? 0) + 1)
    // A person's success on what had ended ends nothing once more.
    if (isEnd(attempt) && rounds.at(-1) !== 0) rounds.push(0)
  }
  return rounds
}

/** The round that goes on counts; when none has begun, the last one or, when it was queued anew, none. */
function isCounted({ scheduled_attempt_count: count }: DeliveryRow, rounds: readonly number[]): boolean {
  const going = rounds.at(-1) ?? 0
  return count === going || (going === 0 && count === (rounds.at(-2) ?? 0))
}

function isEnd({ verdict }: AttemptRow): boolean {
  return verdict === 'delivered' || verdict === 'exhausted'
}

/** S12: a result that comes under a lost lease belongs to somebody else's past. */
export function S12_lostLeasesChangeNothing({ port, applied, heldCount }: RecordView): Problems {
  return unless(
    applied <= heldCount,
    () => `${port} applied ${applied} records, and only ${heldCount} leases were held`,
  )
}

/** S13: whoever can name a callback must not be able to aim us at the machine we run on. */
export function S13_nothingReachesDeniedAddresses({ post }: PostView): Problems {
  const { hostname } = new URL(post.url)
  return unless(hostname.endsWith('.example'), () => `a POST left for ${hostname}`)
}

/** S16: numbers that people act on must be the numbers of the rows. */
export function S16_countsAddUp({ ledger, rows }: RowsView): Problems {
  const tasks = tally(rows.tasks, ({ status }) => `tasks.${status}`)
  const actual = new Map([...tasks, ...tally(rows.deliveries, ({ status }) => `deliveries.${status}`)])
  const deleted = deletedIn(rows)
  // Whether what an endpoint did not choose was made before or after it chose is S4's matter.
  const isOwed = (endpointId: string, type: string) => !deleted.has(endpointId) && isChosen(ledger, endpointId, type)
  const events = taskEventsOf(rows)
  const typeOfEvent = new Map(events.map(({ id, type }) => [id, type]))
  const typeOfTask = new Map(events.map(({ task_id, type }) => [task_id, type]))
  const madeCount = rows.deliveries.filter(({ event_id, endpoint_id }) => {
    const type = typeOfEvent.get(event_id)
    return type !== undefined && isOwed(endpoint_id, type)
  }).length
  const owed = rows.subscriptions.filter(({ task_id, endpoint_id }) => {
    const type = typeOfTask.get(task_id)
    return type !== undefined && isOwed(endpoint_id, type)
  }).length
  return [
    ...rows.counts.flatMap(({ name, n }) =>
      unless(n === (actual.get(name) ?? 0), () => `_counts says ${name} = ${n}, the rows ${actual.get(name) ?? 0}`),
    ),
    ...unless(madeCount === owed, () => `${madeCount} deliveries, ${owed} subscriptions to events`),
  ]
}

/** S17: what we did to ourselves must not use up what we owe to others. */
export function S17_ownFaultsCostNothing({ rows }: RowsView): Problems {
  const own = new Set(['shutdown', 'no_file_handles', 'our_dns', 'network_down', 'internal'])
  return rows.attempts.flatMap(({ delivery_id, attempt_number, failure }) =>
    unless(failure === null || !own.has(failure), () => `${delivery_id} paid attempt ${attempt_number} for ${failure}`),
  )
}

/** S18: paused means silence; the backlog waits. Deleted means silence for ever. */
export function S18_closedEndpointsHearNothing({ ledger, post }: PostView): Problems {
  const endpointId = endpointOf(post)
  const deletedAt = ledger.deletedEndpoints.get(endpointId)
  // One that is disabled for failing is tried now and then: S26.
  if (deletedAt === undefined && post.claimed?.isProbe && ledger.probing.has(endpointId)) return none
  const since = deletedAt ?? ledger.closedUrls.get(post.url)
  return unless(since === undefined || post.at <= since, () => `${post.url} is closed since ${since} and was sent to`)
}

/** S19: asking twice must not make two. */
export function S19_oneRowPerTask({ rows }: RowsView): Problems {
  const counts = tally(rows.tasks, ({ kind, task_id }) => `${kind}/${task_id}`)
  return [...counts].flatMap(([key, count]) => unless(count === 1, () => `${key} has ${count} rows`))
}

/** S21: whoever only looks must leave no trace. */
export function S21_looksChangeNothing({
  before,
  after,
}: {
  readonly before: number
  readonly after: number
}): Problems {
  return unless(before === after, () => `${after - before} rows were changed by a look`)
}

/** S22: a clock that is set neither makes anything due nor puts it off (for queries: S8, by the instants that moved along). */
export function S22_noAttemptBeforeItsTrueTime({ ledger, post }: PostView): Problems {
  const dueAt = ledger.retryAt.get(`${post.headers['webhook-id']} ${endpointOf(post)}`)
  const isAsked = post.claimed?.isManual === true || post.claimed?.isProbe === true
  return unless(
    dueAt === undefined || isAsked || post.at >= dueAt - SECOND,
    () => `${post.headers['webhook-id']} was sent to ${post.url} ${(dueAt ?? 0) - post.at} ms before its time`,
  )
}

/** S23: one customer's pictures must never reach another customer's receiver. */
export function S23_onlyWhoAskedIsTold({ ledger, post }: PostView): Problems {
  if (taskTold(post) === null) return ofTheDaemonItself(ledger, post)
  const { data, type, timestamp } = JSON.parse(post.body) as EventBody
  const isWished = ledger.wishes.has(wishOf(data.kind, data.taskId, post.url))
  const isWhole = type === `task.${data.status}` && timestamp === data.settledAt && Array.isArray(data.images)
  const isOwn = data.images.every(({ url }) => url === pictureUrl(data.kind, data.taskId))
  return [
    ...unless(isWished, () => `${post.url} is told of ${data.kind}/${data.taskId}, which it never asked for`),
    ...unless(isWhole, () => `the body is not whole: ${post.body}`),
    ...unless(isOwn, () => `${data.taskId} is told with a picture of another task`),
  ]
}

const OPERATOR_TYPES: ReadonlySet<string> = new Set([
  'endpoint.disabled',
  'endpoint.enabled',
  'delivery.exhausted',
  'upstream.refused',
  'upstream.recovered',
  'disk.low',
])

/** What we tell of ourselves is for the operator alone, and not for whoever it is about. */
function ofTheDaemonItself(ledger: Ledger, post: PostFact): Problems {
  const { type, data } = JSON.parse(post.body) as { type: string; data: Readonly<Record<string, unknown>> }
  const isOperator = new URL(post.url).hostname === `operator-${ledger.plan.operator}.example`
  return [
    ...unless(isOperator, () => `${post.url} is told of the daemon: ${post.body}`),
    ...unless(OPERATOR_TYPES.has(type), () => `the operator is told of ${type}`),
    ...unless(data['endpointId'] !== endpointOf(post), () => `the operator is told of its own trouble: ${post.body}`),
  ]
}

/** S24: after a crash or a restored backup the receiver must know the event again. */
export function S24_eventIdsAreDerived({ rows }: RowsView): Problems {
  const tasks = new Map(rows.tasks.map((task) => [task.id, task]))
  return rows.events.flatMap((event) => {
    const { id, task_id } = event
    const outcome = tasks.get(task_id ?? '')?.status ?? ''
    const { databaseId } = rows
    const expected =
      task_id === null
        ? operatorEventId(event, databaseId)
        : eventIdOf({ databaseId, taskId: task_id as TaskId, outcome })
    return unless(id === expected, () => `${task_id} has event ${id}, not ${expected}`)
  })
}

/** By what it tells, of whom, and when. */
function operatorEventId({ type, body }: Rows['events'][number], databaseId: string): string {
  const { timestamp, data } = JSON.parse(body) as { timestamp: string; data: Record<string, string | null> }
  const upstream = data['kind'] === null ? data['credential'] : `${data['credential']}/${data['kind']}`
  const subject = data['deliveryId'] ?? data['endpointId'] ?? (data['credential'] === undefined ? 'disk' : upstream)
  return operatorEventIdOf({ databaseId, type, subject: subject ?? '', at: epochMs(Date.parse(timestamp)) })
}

interface EventBody {
  readonly type: string
  readonly timestamp: string
  readonly data: {
    readonly id: string
    readonly kind: string
    readonly taskId: string
    readonly status: string
    readonly settledAt: string
    readonly images: readonly { readonly url: string }[]
  }
}

/** T1: what is told is what the upstream said; above all no hiccup kills a task. */
export function T1_outcomesAreTheUpstreams({ ledger, rows }: RowsView): Problems {
  return rows.tasks.flatMap(({ kind, task_id, status, deadline_at, settled_at }) => {
    const { end } = ledger.upstream.fateOf(kind, task_id)
    const told = end === 'finished' || end === 'partial' ? 'succeeded' : end === 'never' ? 'expired' : 'failed'
    if (status === 'pending' || status === 'canceled' || status === told) return none
    const isExpired = status === 'expired' && (settled_at ?? 0) >= deadline_at
    return unless(isExpired, () => `${kind}/${task_id} is told as ${status}; the upstream says ${end}`)
  })
}

/** T2: delivered means that a receiver said so. */
export function T2_deliveredWasReceived({ ledger, rows }: RowsView): Problems {
  return rows.deliveries.flatMap((row) => {
    const state = ledger.tellings.get(`${row.event_id} ${row.endpoint_id}`)?.state ?? 'open'
    return unless(
      row.status !== 'delivered' || state !== 'open',
      () => `${row.id} is delivered, and no receiver said 2xx`,
    )
  })
}

/** T3: giving up is only allowed after everything that was promised has been tried. */
export function T3_exhaustedTriedAll({ ledger, rows }: RowsView): Problems {
  const { length } = ledger.plan.options.retryScheduleMs
  return rows.deliveries.flatMap((row) =>
    unless(
      row.status !== 'exhausted' || row.scheduled_attempt_count === length,
      () => `${row.id} gave up after ${row.scheduled_attempt_count} of ${length}`,
    ),
  )
}

/** T4: what a receiver was told must stand in the database after any crash, or nobody can answer for it. */
export function T4_toldIsOnDisk({ ledger, rows }: RowsView): Problems {
  const known = new Map(rows.events.map((event) => [event.id, event]))
  return [...ledger.eventOf].flatMap(([taskId, eventId]) =>
    unless(
      known.get(eventId)?.task_id === taskId || mayBeForgotten(ledger, taskId),
      () => `a receiver knows ${eventId}, the database does not`,
    ),
  )
}

/** T4, for what is told of the daemon itself. */
export function T4_operatorEventsAreOnDisk({ ledger, rows }: RowsView): Problems {
  if (isForgetful(ledger)) return none
  const known = new Set(rows.events.map(({ id }) => id))
  const ofTasks = new Set(ledger.eventOf.values())
  return [...ledger.bodyOf.keys()].flatMap((id) =>
    unless(known.has(id) || ofTasks.has(id), () => `the operator knows ${id}, the database does not`),
  )
}

/** T5: whoever cancels has been told that nothing will come. */
export function T5_canceledIsSilent({ ledger, post }: PostView): Problems {
  const id = taskTold(post)
  return unless(id === null || !ledger.canceled.has(id), () => `${id} was canceled and is told of`)
}

/** T6: what is signed and sent are the bytes that were frozen when the task ended. */
export function T6_frozenBytesAreSent({ ledger, rows }: RowsView): Problems {
  return rows.events.flatMap(({ id, body }) =>
    unless(
      (ledger.bodyOf.get(id) ?? body) === body,
      () => `${id} was sent as ${ledger.bodyOf.get(id)}, and stands as ${body}`,
    ),
  )
}

/** T7: somebody's shell may hold the lock; what was done in the world meanwhile must still be written down. */
export function T7_locksAreWaitedFor({ port, error }: { readonly port: string; readonly error: unknown }): Problems {
  const { code = '' } = error as { code?: string }
  return unless(!code.startsWith('SQLITE_BUSY'), () => `${port} failed with ${code}`)
}

/** L1: every task ends. */
export function L1_tasksEnd({ rows }: RowsView): Problems {
  return rows.tasks.flatMap(({ id, status, next_poll_at }) =>
    unless(status !== 'pending', () => `${id} is still pending, next poll at ${next_poll_at}`),
  )
}

/** L2 and L8: every delivery to a healthy endpoint is made, a resumed backlog too. */
export function L2_deliveriesEnd({ rows }: RowsView): Problems {
  return rows.deliveries.flatMap(({ id, status, next_attempt_at }) =>
    unless(status !== 'pending', () => `${id} is still pending, next attempt at ${next_attempt_at}`),
  )
}

/** L9: a job that was begun ends. */
export function L9_jobsEnd({ rows }: RowsView): Problems {
  return rows.jobs.flatMap(({ id, status, total_count, queued_count, position, end_position }) =>
    unless(
      status === 'canceled' || (status === 'done' && position === end_position),
      () => `${id} is ${status} at ${position} of ${end_position}, ${queued_count} of ${total_count} are queued`,
    ),
  )
}

/** L6: nothing that is due waits behind what cannot be done; `overdue` is what waits longer than it may. */
export function L6_nothingStarves({
  overdue,
}: {
  readonly overdue: readonly (DeliveryRow | Rows['tasks'][number])[]
}): Problems {
  return overdue.map(({ id }) => `${id} has been due for too long`)
}

/** L7: a supervisor kills what does not stop. */
export function L7_stopsInTime({ tookMs, graceMs }: { readonly tookMs: number; readonly graceMs: number }): Problems {
  return unless(tookMs <= graceMs + 2 * SECOND, () => `stopping took ${tookMs} ms with ${graceMs} ms of grace`)
}

export const ON_QUERY = [S8_asksOnlyWhatIsDue, S8_refusedIsProbed, S9_rateIsKept, S9_bansAreObeyed, S10_oneKindPerQuery]
export const ON_POST = [
  S5_sameIdSameBytesGoodSignature,
  S6_noResendAfterCommittedSuccess,
  S7_attemptsAtOnce,
  S13_nothingReachesDeniedAddresses,
  S18_closedEndpointsHearNothing,
  S22_noAttemptBeforeItsTrueTime,
  S23_onlyWhoAskedIsTold,
  S26_probesGrowApart,
  T5_canceledIsSilent,
]
export const ON_RECORD = [S12_lostLeasesChangeNothing]
export const ON_ROWS = [
  S1_oneEventPerTask,
  S2_endsAreForEver,
  S3_acknowledgedIsKept,
  S4_endEventAndDeliveriesTogether,
  S4_whatWasNotChosenIsNotMade,
  S11_attemptsFollowTheSchedule,
  S16_countsAddUp,
  S17_ownFaultsCostNothing,
  S19_oneRowPerTask,
  S24_eventIdsAreDerived,
  S25_hopelessIsDisabled,
  S27_eachTransitionIsTold,
  T1_outcomesAreTheUpstreams,
  T2_deliveredWasReceived,
  T3_exhaustedTriedAll,
  T4_toldIsOnDisk,
  T4_operatorEventsAreOnDisk,
  T6_frozenBytesAreSent,
]
export const AT_THE_END = [L1_tasksEnd, L2_deliveriesEnd, L9_jobsEnd]

/** Numbers of the catalogue without a function here, and why. */
export const NOT_YET: Readonly<Record<string, string>> = {
  S14: 'log lines are searched for planted secrets by the world itself; all other outputs by the secrets’ own test',
  S15: 'a pair of histories, one receiver good in one and dead in the other: isolation.test.ts',
  S20: 'a property of the file and not of a history: the world checks it at each opening (rows.ts, `faults`, `schema`)',
  L4: 'the rate half is S9, in every history; the 90 % half is outage.test.ts',
  L5: 'memory, sockets and the log’s size belong to real processes',
}

/** An attempt of the delivery's own: neither a person's nor a probe. */
function isScheduled({ is_manual, is_probe }: Rows['attempts'][number]): boolean {
  return is_manual === 0 && is_probe === 0
}

/** The task that a POST tells of; null when it tells of the daemon itself. */
function taskTold({ body }: PostFact): string | null {
  const { type, data } = JSON.parse(body) as { type: string; data: { id: string } }
  return type.startsWith('task.') ? data.id : null
}

/** Whoever never chose hears of all. */
function isChosen({ choices }: Ledger, endpointId: string, type: string): boolean {
  return choices.get(endpointId)?.types.includes(type) ?? true
}

function taskEventsOf({ events }: Rows): readonly (Rows['events'][number] & { readonly task_id: string })[] {
  return events.flatMap((event) => (event.task_id === null ? [] : [{ ...event, task_id: event.task_id }]))
}

function deletedIn({ endpoints }: Rows): ReadonlySet<string> {
  return new Set(endpoints.flatMap(({ id, status }) => (status === 'deleted' ? [id] : [])))
}

function groupBy<T extends { readonly delivery_id: string }>(items: readonly T[]): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) groups.set(item.delivery_id, [...(groups.get(item.delivery_id) ?? []), item])
  return groups
}

/** Ended longer ago than the retention: the janitor may have taken it, also before anybody had looked at the rows. */
function mayBeForgotten(ledger: Ledger, id: string): boolean {
  const settledAt = ledger.firstSeen.get(id)?.settledAt
  // It has ended since it was registered, and nobody saw when.
  if (settledAt === undefined) return isForgetful(ledger) && ledger.hasForgotten
  return settledAt < ledger.wallMax - ledger.plan.options.retentionMs
}

/** Secrets that must have signed a POST: those that were certainly live when it left. */
function secretsOf(ledger: Ledger, { url, at }: PostFact): readonly string[] {
  const own = ledger.secrets.get(url)
  return own === undefined
    ? [SECRET]
    : own.filter(({ from, until }) => at > from && at < until).map(({ secret }) => secret)
}

function describe({ kind, taskId, url }: { kind: string; taskId: string; url: string }): string {
  return `the registration of ${kind}/${taskId} for ${url}`
}
