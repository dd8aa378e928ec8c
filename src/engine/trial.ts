/** Trials: one made-up event to one endpoint, sent as a webhook would be, and what came of it. Nothing of it is kept. */

import { describeResult } from '../core/delivery.ts'
import { unreadableInWords } from '../core/endpoint.ts'
import { AppError } from '../core/errors.ts'
import type { EndpointId } from '../core/ids.ts'
import { remedyFor } from '../core/remedy.ts'
import type { SigningKey } from '../core/signature.ts'
import { after, type EpochMs, MINUTE } from '../core/time.ts'
import { type TrialType, trialBody } from '../core/trial.ts'
import { webhookHeaders } from '../core/webhook-headers.ts'
import type { Clock, Exchange, Log, NewId, Post } from '../ports.ts'
import type { Reach, Store } from '../store/store.ts'
import { withoutEcho } from './echo.ts'
import { createInFlight, type InFlight } from './in-flight.ts'

export interface TrialsDeps {
  readonly store: Pick<Store, 'reachEndpoint'>
  readonly post: Post
  readonly clock: Clock
  readonly newId: NewId
  readonly log: Log
  readonly signingKeys: readonly SigningKey[]
}

export interface Trial {
  readonly exchange: Exchange
  /** One line: `HTTP 204`, `timeout: no answer within 20000 ms`. */
  readonly summary: string
  /** What to do; null after a 2xx. */
  readonly remedy: string | null
}

export interface Trials {
  /** Throws an `AppError`: `not_found`, `conflict` when it cannot be sent to, `throttled` after too many in a minute. */
  run(endpointId: EndpointId, type: TrialType): Promise<Trial>
  drain: InFlight['drain']
}

/** Each may hold a connection for the whole deadline, and whoever can ask for it chooses whom we bother. */
const TRIALS_PER_MINUTE_MAX = 10
const TRIALS_AT_ONCE_MAX = 8

export function createTrials(deps: TrialsDeps, { deadlineMs }: { deadlineMs: number }): Trials {
  const { store, post, clock, newId, log } = deps
  const inFlight = createInFlight(clock)
  /** When each endpoint was tried lately. Forgotten a minute later. */
  const triedAt = new Map<EndpointId, readonly EpochMs[]>()
  let busyCount = 0

  function admit(endpointId: EndpointId, now: EpochMs): void {
    for (const [id, instants] of triedAt) if (instants.every((at) => isOver(at, now))) triedAt.delete(id)
    const lately = (triedAt.get(endpointId) ?? []).filter((at) => !isOver(at, now))
    const oldest = lately[0]
    if (oldest !== undefined && lately.length >= TRIALS_PER_MINUTE_MAX) {
      const text = `${endpointId} was tried ${TRIALS_PER_MINUTE_MAX} times within a minute; wait for Retry-After.`
      throw new AppError('throttled', text, { retryAfterMs: after(oldest, MINUTE) - now })
    }
    if (busyCount >= TRIALS_AT_ONCE_MAX) {
      const text = `${TRIALS_AT_ONCE_MAX} trials are under way already; wait for Retry-After.`
      throw new AppError('throttled', text, { retryAfterMs: deadlineMs })
    }
    triedAt.set(endpointId, [...lately, now])
  }

  function send({ url, signers, headers }: Reachable, type: TrialType): Promise<Exchange> {
    const eventId = newId('evt')
    const sentAt = clock.wall()
    const body = trialBody(type, sentAt)
    const signed = webhookHeaders({ eventId, body, sentAt, signers, daemonKeys: deps.signingKeys })
    return new Promise((resolve, reject) => {
      inFlight.track((signal) =>
        post({ url, headers: { ...headers, ...signed }, body, deadlineMs }, signal)
          .then((exchange) => withoutEcho(exchange, headers))
          .then(resolve, reject),
      )
    })
  }

  return {
    async run(endpointId, type) {
      const now = clock.now()
      const reachable = reachableOf(await store.reachEndpoint({ now, id: endpointId }), endpointId)
      admit(endpointId, now)
      busyCount += 1
      const exchange = await send(reachable, type).finally(() => {
        busyCount -= 1
      })
      const summary = describeResult(exchange.result)
      log.info({ event: 'endpoint.tried', endpointId, type, durationMs: exchange.durationMs }, `${type}: ${summary}`)
      return { exchange, summary, remedy: remedyFor(exchange.result) }
    },
    drain: inFlight.drain,
  }
}

type Reachable = Extract<Reach, { kind: 'reachable' }>

/** A clock that was set back must not make anybody wait for longer. */
function isOver(at: EpochMs, now: EpochMs): boolean {
  return now < at || now >= after(at, MINUTE)
}

function reachableOf(reach: Reach, endpointId: EndpointId): Reachable {
  switch (reach.kind) {
    case 'reachable':
      return reach
    case 'not_found':
      throw new AppError('not_found', `There is no endpoint ${endpointId}; it may have been deleted.`)
    case 'no_url': {
      const remedy = 'Its receiver comes and asks: GET /v1/events.'
      throw new AppError('conflict', `${endpointId} has no URL, so nothing can be sent to it. ${remedy}`)
    }
    case 'unreadable_secret':
      throw new AppError('conflict', unreadableInWords(endpointId))
  }
}
