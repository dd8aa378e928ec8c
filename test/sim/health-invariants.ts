/** What must be true of endpoints that fail for long, and of what the operator is told: S25 to S27 (see invariants.ts). */

import type { EndpointId } from '../../src/core/ids.ts'
import { DAY, HOUR, SECOND } from '../../src/core/time.ts'
import type { PostView, RowsView } from './invariants.ts'
import { endpointOf, type Ledger, type PostFact } from './ledger.ts'
import { isForgetful, none, type Problems, tally, unless } from './problems.ts'
import type { Rows } from './rows.ts'

/** As docs/delivery.md promises it, whatever the code says. */
const FAILING_MS_MAX = 5 * DAY
const FAILING_EVENTS_MIN = 3

/** S25: a receiver that is cut off loses its webhooks' promptness; it takes five days, three events and no success. */
export function S25_disabledOnlyWhenHopeless({
  ledger,
  endpointId,
  now,
}: {
  readonly ledger: Ledger
  readonly endpointId: EndpointId
  readonly now: number
}): Problems {
  const since = ledger.wellAt.get(endpointId) ?? Number.NEGATIVE_INFINITY
  const failed = ledger.posts.filter(
    (post) => endpointOf(post) === endpointId && (post.endedAt ?? 0) >= since && hasFailed(post.heard),
  )
  const failingMs = now - Math.min(now, ...failed.map(({ at }) => at))
  // A clock that was set forward while nobody ran looks like a long time off.
  const forwardMs = ledger.blows.reduce((sum, { byMs }) => sum + Math.max(0, byMs), 0)
  const eventCount = new Set(failed.map(({ headers }) => headers['webhook-id'])).size
  return unless(
    failingMs >= FAILING_MS_MAX - forwardMs && eventCount >= FAILING_EVENTS_MIN,
    () => `${endpointId} is disabled after ${eventCount} events and ${Math.round(failingMs / HOUR)} h of failures`,
  )
}

/** S25, the other way: whoever is hopeless is disabled, with the attempt that shows it. */
export function S25_hopelessIsDisabled({ ledger, rows }: RowsView): Problems {
  // What has been told stays as the clock showed it then, what counts moves along: the two cannot be compared.
  if (ledger.plan.clockJumps.length > 0) return none
  const endpointOfDelivery = new Map(rows.deliveries.map(({ id, endpoint_id }) => [id, endpoint_id]))
  return rows.endpoints.flatMap(({ id, status, failing_since, failing_events }) => {
    const events = JSON.parse(failing_events ?? '[]') as readonly string[]
    if (status !== 'enabled' || failing_since === null || events.length < FAILING_EVENTS_MIN) return none
    const ends = rows.attempts
      .filter((one) => endpointOfDelivery.get(one.delivery_id) === id && one.verdict !== 'delivered')
      .map(({ started_at, duration_ms }) => started_at + duration_ms)
    const failingMs = Math.max(...ends) - failing_since
    return unless(failingMs <= FAILING_MS_MAX, () => `${id} has failed for ${failingMs} ms and is enabled`)
  })
}

/** S26: one that is disabled for failing is tried at growing gaps, one attempt at a time. */
export function S26_probesGrowApart({ ledger, post }: PostView): Problems {
  if (post.claimed?.isProbe !== true) return none
  const endpointId = endpointOf(post)
  const probing = ledger.probing.get(endpointId)
  const others = ledger.posts.filter(
    (one) => one !== post && one.life === post.life && one.endedAt === null && endpointOf(one) === endpointId,
  )
  const earlyMs = (probing?.dueAt ?? 0) - post.at
  return [
    ...unless(probing !== undefined, () => `${endpointId} is probed, and nobody knows it to be disabled for failing`),
    ...unless(others.length === 0, () => `${endpointId} is probed beside ${others.length} other attempts`),
    ...unless(earlyMs <= SECOND, () => `${endpointId} is probed ${earlyMs} ms before its time`),
  ]
}

/** S27: one event for each transition, never two and never none; people act on them, or do not look at all. */
export function S27_eachTransitionIsTold({ ledger, rows }: RowsView): Problems {
  if (isForgetful(ledger)) return none
  const told = rows.events.flatMap(({ id, task_id, type, body }) =>
    task_id === null ? [{ id, type, data: (JSON.parse(body) as { data: Told }).data }] : [],
  )
  return [
    ...rows.endpoints.flatMap((endpoint) => {
      const ofThis = told.filter(({ type, data }) => type.startsWith('endpoint.') && data.endpointId === endpoint.id)
      return healthTold(endpoint, ofThis, ledger.everPaused.has(endpoint.id))
    }),
    ...exhaustionTold(
      rows,
      told.flatMap(({ type, data }) => (type === 'delivery.exhausted' ? [data.deliveryId] : [])),
    ),
    ...pausesTold(rows, told),
    ...operatorIsOwed(rows, told, ledger.toldBefore),
  ]
}

interface Told {
  readonly endpointId?: string
  readonly deliveryId?: string
  readonly reason?: string | null
  readonly credential?: string
  readonly kind?: string | null
}
interface ToldEvent {
  readonly id: string
  readonly type: string
  readonly data: Told
}

/** Pausing one that is disabled, and enabling it again, is nothing that the person who does it is told of. */
function healthTold(
  { id, status, disabled_reason: reason }: Rows['endpoints'][number],
  told: readonly ToldEvent[],
  wasPaused: boolean,
): Problems {
  const last = told.at(-1)
  const isRepeated = told.some((one, index) => {
    const before = told[index - 1]
    if (one.type === 'endpoint.enabled') return before?.type !== 'endpoint.disabled'
    return before?.type === 'endpoint.disabled' && before.data.reason === one.data.reason && !wasPaused
  })
  const isTold = last?.type === 'endpoint.disabled' && last.data.reason === reason
  const isTakenBack = last?.type !== 'endpoint.disabled' || wasPaused
  return [
    ...unless(!isRepeated, () => `${id} is told of as ${told.map(({ type }) => type).join(', ')}`),
    ...unless(status !== 'disabled' || isTold, () => `${id} is disabled (${reason}), and nobody was told`),
    ...unless(
      status !== 'enabled' || isTakenBack,
      () => `${id} is enabled, and the last that was told is ${last?.type}`,
    ),
  ]
}

function exhaustionTold({ attempts }: Rows, told: readonly (string | undefined)[]): Problems {
  const given = tally(
    attempts.filter(({ verdict }) => verdict === 'exhausted'),
    (attempt) => attempt.delivery_id,
  )
  const counts = tally(told, (id) => id ?? '')
  return [...new Set([...given.keys(), ...counts.keys()])].flatMap((id) =>
    unless(
      given.get(id) === counts.get(id),
      () => `${id} was given up ${given.get(id) ?? 0} times, and ${counts.get(id) ?? 0} times that was told`,
    ),
  )
}

/** Of whole credentials. Single products of one are refused and answered in between. */
function pausesTold({ paused }: Rows, told: readonly ToldEvent[]): Problems {
  const ofAll = told.filter(({ type, data }) => type.startsWith('upstream.') && data.kind === null)
  const names = new Set([...ofAll.map(({ data }) => data.credential ?? ''), ...paused.map(({ name }) => name)])
  return [...names].flatMap((name) => {
    const words = ofAll.filter(({ data }) => data.credential === name).map(({ type }) => type)
    const isAlternating = words.every((word, at) => word === (at % 2 === 0 ? 'upstream.refused' : 'upstream.recovered'))
    const isPaused = paused.some((one) => one.name === name)
    return [
      ...unless(isAlternating, () => `${name} is told of as ${words.join(', ')}`),
      ...unless(isPaused === (words.length % 2 === 1), () => `${name}: paused ${isPaused}, told ${words.join(', ')}`),
    ]
  })
}

/**
 * The operator's endpoint is to hear of each, but for its own trouble. On a disk that is full at the very first start that
 * much is told before the endpoint can be kept.
 */
function operatorIsOwed(
  { endpoints, deliveries }: Rows,
  told: readonly ToldEvent[],
  before: Ledger['toldBefore'],
): Problems {
  const operator = endpoints.find(({ is_operator }) => is_operator === 1)
  if (operator === undefined || before === null) return none
  const made = tally(
    deliveries.filter(({ endpoint_id }) => endpoint_id === operator.id),
    ({ event_id }) => event_id,
  )
  return told.flatMap(({ id, type, data }) => {
    if (before.has(id)) return none
    const wanted = data.endpointId === operator.id ? 0 : 1
    return unless(
      (made.get(id) ?? 0) === wanted,
      () => `${type} ${id}: ${made.get(id) ?? 0} deliveries to the operator`,
    )
  })
}

function hasFailed(heard: PostFact['heard']): boolean {
  if (heard === null || heard.kind === 'own_fault') return false
  return heard.kind === 'no_response' || heard.status < 200 || heard.status > 299
}
