/** Every door to the world on one page. Adapters stand behind them; `daemon.ts` chooses which. */

import type { AttemptResult } from './core/delivery.ts'
import type { IdByPrefix, IdPrefix } from './core/ids.ts'
import type { Observation } from './core/observation.ts'
import type { DueTask } from './core/task.ts'
import type { EpochMs } from './core/time.ts'

/** Time, and waiting. In the simulation both are virtual. */
export interface Clock {
  /** The daemon's own time: goes on evenly, whatever the machine's clock is set to. All that waits is stored in it. */
  now(): EpochMs
  /** What the machine's clock shows. Only for what others judge by their own: signatures and dates on the wire. */
  wall(): EpochMs
  /** Time that passed while the machine slept counts from now on. Returns how much of it was new. */
  countSleep(): number
  /** From now on `now` is later by `byMs`. Whoever calls it moves what waits along in the same turn (clock-watch.ts). */
  moveBy(byMs: number): void
  /**
   * Calls back once at or after `at`, and in any case within a minute: due times live in the store, a timer is only a
   * wake-up, and a timer further away than 2^31 ms would fire at once. Returns how to call it off.
   */
  wakeAt(at: EpochMs, wake: () => void): () => void
  /** Calls back after everything that is already on its way in this turn of the event loop. */
  soon(run: () => void): void
}

/** In [0, 1). */
export type Random = () => number

export type NewId = <P extends IdPrefix>(prefix: P) => IdByPrefix[P]

/** What the upstream said about one task, with what the timeline and the log want to know of the query. */
export interface Answered {
  readonly task: DueTask
  readonly observation: Observation
  readonly askedAt: EpochMs
  readonly answeredAt: EpochMs
  readonly httpStatus: number | null
  readonly requestId: string | null
}

export interface Upstream {
  /** How many ids one query about this kind can carry; null when no such kind is known. */
  idsPerQuery(kind: string): number | null
  /** The credential that pays for queries about this kind: the unit of rate, throttling and pausing. */
  credentialOf(kind: string): string
  kinds(): readonly string[]
  /**
   * One query about tasks of one kind, at most `idsPerQuery` of them. Answers for each; never throws for anything the
   * world does. `queryCount` is how many requests left, for the budget.
   */
  query(tasks: readonly DueTask[], signal: AbortSignal): Promise<{ answers: readonly Answered[]; queryCount: number }>
}

export interface PostRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** From the first look-up to the last byte read; after it the attempt has ended, whatever the receiver does. */
  readonly deadlineMs: number
}

/** Where the time of one POST went, in whole milliseconds; null where it did not get, or had no need to. */
export interface Timings {
  readonly dnsMs: number | null
  readonly connectMs: number | null
  readonly tlsMs: number | null
  /** From the request being on its way to the status line. */
  readonly answerMs: number | null
}

/** What came of one POST, with what a person wants to see of it later. */
export interface Exchange {
  readonly result: AttemptResult
  readonly durationMs: number
  /** The first 4 KiB of the answer as text; null when none came. */
  readonly responseExcerpt: string | null
  readonly responseTruncated: boolean
  readonly responseHeaders: Readonly<Record<string, string>>
  readonly remoteAddress: string | null
  readonly timings: Timings
}

/** Sends one POST. Never throws and never follows anything. Aborting ends it as our own fault (`shutdown`). */
export type Post = (request: PostRequest, signal: AbortSignal) => Promise<Exchange>

export type UrlVerdict =
  | { readonly isAllowed: true; readonly url: string }
  | { readonly isAllowed: false; readonly code: string; readonly message: string }

/** Decides on a callback URL by its text alone, without asking any name server. */
export type GuardUrl = (text: string) => UrlVerdict

type LogFields = Readonly<Record<string, unknown>> & { readonly event: string }

/** Seals secrets that have to be kept, so that whoever has only the database has none of them. */
export interface Vault {
  /** Which key seals; null when none was given and secrets are kept as they are. */
  readonly keyId: string | null
  /** `context` binds the sealed text to its place: moved elsewhere it does not open. */
  seal(secret: string, context: string): string
  /** Null when it was sealed with another key, for another place, or has been changed. */
  open(sealed: string, keyId: string | null, context: string): string | null
}

/** One wide line per unit of work; `event` is a stable name. */
export interface Log {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}
