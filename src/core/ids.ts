/** Prefixed ids: sortable by the time of their making, and safe inside a signature's `id.timestamp.body` (no dot). */

import { createHash } from 'node:crypto'
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

/** 48 bits of time, then 80 random bits: new rows go to the end of every index. */
export function encodeId<P extends IdPrefix>(prefix: P, at: EpochMs, entropy: Uint8Array): IdByPrefix[P] {
  return `${prefix}_${encodeTime(at)}${base32(entropy)}` as IdByPrefix[P]
}

/**
 * A pure function of what the event tells, so that a crash after the commit, or a restored backup, repeats the same
 * `webhook-id` and the receiver's own de-duplication keeps working.
 */
export function eventIdOf(params: { databaseId: string; taskId: TaskId; outcome: string }): EventId {
  const digest = createHash('sha256').update(`${params.databaseId}\n${params.taskId}\n${params.outcome}`).digest()
  return `evt_${base32(digest.subarray(0, 20))}`
}

/** The same for what we tell the operator of ourselves: what happened, to whom, and when. */
export function operatorEventIdOf(params: { databaseId: string; type: string; subject: string; at: EpochMs }): EventId {
  const { databaseId, type, subject, at } = params
  const digest = createHash('sha256').update(`${databaseId}\n${type}\n${subject}\n${at}`).digest()
  return `evt_${base32(digest.subarray(0, 20))}`
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
