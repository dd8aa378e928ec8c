/** Prefixed ids: sortable by the time of their making (an event's by that of its task), and safe inside a signature's `id.timestamp.body` (no dot). */

import { hash } from 'node:crypto'
import type { EpochMs } from './time.ts'

export type TaskId = `task_${string}`
export type EventId = `evt_${string}`
export type EndpointId = `ep_${string}`
export type DeliveryId = `dlv_${string}`
export type AttemptId = `att_${string}`
export type JobId = `job_${string}`
export type LeaseToken = `lse_${string}`

export interface IdByPrefix {
  readonly task: TaskId
  readonly evt: EventId
  readonly ep: EndpointId
  readonly dlv: DeliveryId
  readonly att: AttemptId
  readonly job: JobId
  readonly lse: LeaseToken
}
export type IdPrefix = keyof IdByPrefix

/** Crockford's base32 in lower case: no i, l, o, u, so an id survives being read aloud. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const TIME_CHARS = 10
export const ENTROPY_BYTES = 10
const DIGEST_BYTES = 15

/** 48 bits of time, then 80 random bits: new rows go to the end of every index. */
export function encodeId<P extends IdPrefix>(prefix: P, at: EpochMs, entropy: Uint8Array): IdByPrefix[P] {
  return `${prefix}_${encodeTime(at)}${base32(entropy)}` as IdByPrefix[P]
}

/**
 * A pure function of what the event tells, so that a crash after the commit, or a restored backup, repeats the same
 * `webhook-id` and the receiver's own de-duplication keeps working. It begins with the time of the task's own id: ids that
 * are chance from the first character on dirty a page of their own in each index, for each event.
 */
export function eventIdOf(params: { databaseId: string; taskId: TaskId; outcome: string }): EventId {
  const { databaseId, taskId, outcome } = params
  return derivedEventId(timeOf(taskId), [databaseId, taskId, outcome])
}

/** The same for what we tell the operator of ourselves: what happened, to whom, and when. */
export function operatorEventIdOf(params: { databaseId: string; type: string; subject: string; at: EpochMs }): EventId {
  const { databaseId, type, subject, at } = params
  return derivedEventId(encodeTime(at), [databaseId, type, subject, String(at)])
}

function derivedEventId(time: string, facts: readonly string[]): EventId {
  const digest = hash('sha256', facts.join('\n'), 'buffer')
  return `evt_${time}${base32(digest.subarray(0, DIGEST_BYTES))}`
}

function timeOf(id: TaskId): string {
  const start = id.indexOf('_') + 1
  return id.slice(start, start + TIME_CHARS)
}

/** Whether the text has the form of one of our ids; says nothing about its existence. */
export function isId<P extends IdPrefix>(prefix: P, text: string): text is IdByPrefix[P] {
  return text.startsWith(`${prefix}_`) && /^[0-9a-z]{1,64}$/.test(text.slice(prefix.length + 1))
}

function encodeTime(at: EpochMs): string {
  let rest = Math.max(0, at)
  let text = ''
  for (let index = 0; index < TIME_CHARS; index += 1) {
    text = ALPHABET.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET.charAt((value >>> bits) & 31)
    }
    value &= (1 << bits) - 1
  }
  return bits > 0 ? text + ALPHABET.charAt((value << (5 - bits)) & 31) : text
}
