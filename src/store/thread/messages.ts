/** What the two sides of the store's thread say to one another: nothing but what the structured clone algorithm copies. */

import { AppError, ConfigError, DamagedError, LockedError } from '../../core/errors.ts'
import type { OperatorEvent } from '../../core/operator-event.ts'
import type { Log } from '../../ports.ts'
import type { Store } from '../store.ts'

/** The methods that do a step and answer. The others tell by themselves. */
export type Step = Exclude<keyof Store, 'databaseId' | 'onTold' | 'impediments'>

export interface Call {
  readonly number: number
  readonly step: Step
  readonly params: unknown
}

export type Answer =
  | { readonly number: number; readonly isDone: true; readonly value: unknown }
  | { readonly number: number; readonly isDone: false; readonly error: CopiedError }

export interface Line {
  readonly level: keyof Log
  readonly fields: Parameters<Log['info']>[0]
  readonly message: string
}

export type Notice =
  | { readonly kind: 'opened'; readonly databaseId: string; readonly impediments: readonly string[] }
  | { readonly kind: 'not_opened'; readonly error: CopiedError }
  | { readonly kind: 'answers'; readonly answers: readonly Answer[]; readonly impediments: readonly string[] }
  | { readonly kind: 'told'; readonly told: readonly OperatorEvent[] }
  | { readonly kind: 'line'; readonly line: Line }
  | { readonly kind: 'damaged'; readonly message: string }

/** The algorithm leaves of an error nothing but its text, and callers go by what kind it is. */
export interface CopiedError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly fields: Readonly<Record<string, unknown>>
}

export function copyError(error: unknown): CopiedError {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), stack: undefined, fields: {} }
  // SQLite's codes, and what our own errors carry.
  const { name, message, stack, cause: _cause, ...fields } = error
  return { name, message, stack, fields }
}

export function toError(copied: CopiedError): Error {
  const error = ofItsKind(copied)
  if (copied.stack !== undefined) error.stack = copied.stack
  return error
}

function ofItsKind({ name, message, fields }: CopiedError): Error {
  switch (name) {
    case 'AppError': {
      const { code, faults, retryAfterMs } = fields as unknown as AppError
      return new AppError(code, message, retryAfterMs === null ? { faults } : { faults, retryAfterMs })
    }
    case 'ConfigError':
      return new ConfigError((fields as unknown as ConfigError).problems)
    case 'LockedError':
      return new LockedError(message)
    case 'DamagedError':
      return new DamagedError(message)
    default:
      return Object.assign(new Error(message), fields, { name })
  }
}
