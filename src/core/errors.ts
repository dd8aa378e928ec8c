/** The mistakes that a caller can make. What the world does is a value (see observation.ts, delivery.ts), not an error. */

export type ErrorCode =
  | 'invalid'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'too_large'
  | 'unsupported_media'
  | 'unreadable'
  | 'throttled'
  | 'unavailable'
  | 'disk_full'
  | 'internal'

/** One thing wrong with an input: where (RFC 6901 pointer into the body), which rule, and what to do in words. */
export interface Fault {
  readonly pointer: string
  readonly code: string
  readonly message: string
}

/** Carries a code that the edges translate (HTTP status, exit code) and a text that a caller may read. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly faults: readonly Fault[]
  readonly retryAfterMs: number | null

  constructor(
    code: ErrorCode,
    message: string,
    options: { faults?: readonly Fault[]; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.faults = options.faults ?? []
    this.retryAfterMs = options.retryAfterMs ?? null
  }
}

/** What a person configured wrongly, or a machine that cannot run us. Ends the process with exit code 78. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

/** A broken promise inside our own code: never caught to be ignored, only to fail the one unit of work. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`)
}

/** Another daemon has the database. Names who. */
export class LockedError extends Error {
  override readonly name = 'LockedError'
  readonly exitCode = 3
}

/** The database cannot be read or written any more: going on would make it worse. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError'
  readonly exitCode = 74
}
