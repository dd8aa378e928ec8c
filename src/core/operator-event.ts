/**
 * What we tell the operator of ourselves: one event per transition, in the form of every other event.
 *
 * Its id is derived from what it tells and from the instant of the transition, so that telling it again after a lost
 * commit is the same event.
 */

import type { Budget, BudgetEffect } from './budget.ts'
import type { DisabledReason } from './endpoint.ts'
import { type DeliveryId, type EndpointId, type EventId, operatorEventIdOf, type TaskId } from './ids.ts'
import { type EpochMs, toIso } from './time.ts'

/** The path and the query of its URL may be a secret of its owner: the host is what people know it by. */
export interface EndpointSubject {
  readonly endpointId: EndpointId
  readonly name: string | null
  readonly host: string | null
}

export type OperatorFact =
  | (EndpointSubject & {
      readonly type: 'endpoint.disabled'
      readonly reason: DisabledReason
      readonly failingSince: EpochMs | null
    })
  | (EndpointSubject & {
      readonly type: 'endpoint.enabled'
      /** Why it was disabled until now. */
      readonly reason: DisabledReason | null
      /** `itself`: an attempt succeeded; `key`: the daemon was started with the key that its secret was sealed with. */
      readonly by: 'itself' | 'person' | 'key'
    })
  | (EndpointSubject & {
      readonly type: 'delivery.exhausted'
      readonly deliveryId: DeliveryId
      readonly eventId: EventId
      readonly eventType: string
      /** Null when it was one of ours. */
      readonly taskId: TaskId | null
      readonly attemptCount: number
      readonly statusCode: number | null
      readonly failure: string | null
    })
  | {
      readonly type: 'upstream.refused'
      readonly credential: string
      /** Null: all that it asks about. Otherwise this product alone, while others are answered. */
      readonly kind: string | null
      readonly code: string
      readonly detail: string
    }
  | {
      readonly type: 'upstream.recovered'
      readonly credential: string
      readonly kind: string | null
    }
  | { readonly type: 'disk.low'; readonly freeBytes: number; readonly isFull: boolean }

export type OperatorEventType = OperatorFact['type']

export interface OperatorEvent {
  readonly id: EventId
  readonly fact: OperatorFact
  readonly at: EpochMs
  /** `{type, timestamp, data}`, the bytes that every attempt sends. */
  readonly body: string
}

export function operatorEvent(databaseId: string, fact: OperatorFact, at: EpochMs): OperatorEvent {
  const { type } = fact
  const id = operatorEventIdOf({ databaseId, type, subject: subjectOf(fact), at })
  return { id, fact, at, body: JSON.stringify({ type, timestamp: toIso(at), data: dataOf(fact) }) }
}

/** What the transition is of: the same one cannot happen to it twice at one instant. */
function subjectOf(fact: OperatorFact): string {
  switch (fact.type) {
    case 'endpoint.disabled':
    case 'endpoint.enabled':
      return fact.endpointId
    case 'delivery.exhausted':
      return fact.deliveryId
    case 'upstream.refused':
    case 'upstream.recovered':
      return fact.kind === null ? fact.credential : `${fact.credential}/${fact.kind}`
    case 'disk.low':
      return 'disk'
  }
}

function dataOf(fact: OperatorFact): object {
  const { type: _, ...data } = fact
  if (!('failingSince' in data)) return data
  return { ...data, failingSince: data.failingSince === null ? null : toIso(data.failingSince) }
}

/** What is told when a credential, or one product of it, begins or ceases to be refused; nothing of the probes between. */
export function upstreamFact(
  credential: string,
  before: Budget,
  now: Budget,
  effect: BudgetEffect,
): OperatorFact | null {
  if (effect.kind !== 'refused' && effect.kind !== 'accepted') return null
  const wasRefused = isRefused(before, effect.taskKind)
  if (effect.kind === 'refused') {
    const isNews = before.pause === null && (now.pause !== null || !wasRefused)
    const kind = now.pause === null ? effect.taskKind : null
    return isNews ? { type: 'upstream.refused', credential, kind, code: effect.code, detail: effect.detail } : null
  }
  if (before.pause !== null) return now.pause === null ? { type: 'upstream.recovered', credential, kind: null } : null
  return wasRefused ? { type: 'upstream.recovered', credential, kind: effect.taskKind } : null
}

function isRefused({ kinds }: Budget, kind: string): boolean {
  return Object.hasOwn(kinds, kind) && kinds[kind]?.isRefused === true
}

/** The endpoint whose own trouble it tells of: to that one it is not sent, or each failure would make the next event. */
export function troubledEndpoint(fact: OperatorFact): EndpointId | null {
  return 'endpointId' in fact ? fact.endpointId : null
}

/** One line for people. */
export function inWords(fact: OperatorFact): string {
  switch (fact.type) {
    case 'endpoint.disabled':
      return `${fact.endpointId} (${fact.host}) is disabled: ${REASON_IN_WORDS[fact.reason]}`
    case 'endpoint.enabled':
      return `${fact.endpointId} (${fact.host}) is enabled again: its backlog is sent`
    case 'delivery.exhausted':
      return `${fact.deliveryId} to ${fact.host} is exhausted after ${fact.attemptCount} attempts, the last: ${lastOf(fact)}`
    case 'upstream.refused':
      return `the upstream refuses ${refusedIn(fact)} (${fact.detail}): an operator has to act`
    case 'upstream.recovered':
      return `the upstream answers ${refusedIn(fact)} again`
    case 'disk.low':
      return `the disk of the database is ${fact.isFull ? 'full' : 'nearly full'}`
  }
}

const REASON_IN_WORDS: Readonly<Record<DisabledReason, string>> = {
  gone: 'it answered 410 Gone; nothing is sent to it until it is resumed',
  failing: 'nothing but failures for five days; its backlog is kept, and it is tried again from time to time',
  secret_unreadable:
    'its secret was sealed with another key than RINGBACK_SECRET_KEY; give the old key, or replace it with an overlap of 0s',
}

function refusedIn({ credential, kind }: { credential: string; kind: string | null }): string {
  return kind === null ? `the credential ${credential}` : `the credential ${credential} about ${kind}`
}

function lastOf({ statusCode, failure }: { statusCode: number | null; failure: string | null }): string {
  return statusCode === null ? (failure ?? 'unknown') : `HTTP ${statusCode}`
}
