/** How a command ends: one table of exit codes, and which error means which. */

import { AppError, ConfigError, type ErrorCode } from '../core/errors.ts'
import type { Io } from './io.ts'
import { printable } from './printable.ts'

export const EXIT_CODES = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** The daemon cannot be reached, or another one holds the database. */
  unreachable: 3,
  not_found: 4,
  timed_out: 5,
  unauthorized: 6,
  internal: 70,
  /** The disk failed, is full, or what is on it is damaged. */
  io: 74,
  config: 78,
  interrupted: 130,
} as const satisfies Record<string, number>

export type Exit = keyof typeof EXIT_CODES

const EXIT_OF_APP_ERROR = {
  invalid: 'usage',
  unauthorized: 'unauthorized',
  forbidden: 'unauthorized',
  not_found: 'not_found',
  conflict: 'failed',
  too_large: 'usage',
  unsupported_media: 'usage',
  unreadable: 'usage',
  throttled: 'failed',
  unavailable: 'failed',
  disk_full: 'io',
  internal: 'internal',
} as const satisfies Record<ErrorCode, Exit>

/** A command that cannot do what it was asked for: what failed, and what to do about it. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exit: Exit
  readonly remedy: string

  constructor(exit: Exit, message: string, remedy: string) {
    super(message)
    this.exit = exit
    this.remedy = remedy
  }
}

export interface Ending {
  readonly code: number
  readonly messages: readonly string[]
  readonly remedy: string
}

const SYSTEM_ERRORS: Readonly<Record<string, { readonly exit: Exit; readonly remedy: string }>> = {
  EADDRINUSE: {
    exit: 'config',
    remedy: 'choose another port with RINGBACK_PORT, or stop the program that has this one',
  },
  EADDRNOTAVAIL: { exit: 'config', remedy: 'set RINGBACK_HOST to an address that this machine has' },
  EACCES: { exit: 'io', remedy: 'give the user that runs this the right to do so' },
  EPERM: { exit: 'io', remedy: 'give the user that runs this the right to do so' },
  ENOENT: { exit: 'io', remedy: 'check that the path exists' },
  ENOSPC: { exit: 'io', remedy: 'free some space on the disk' },
  EDQUOT: { exit: 'io', remedy: 'free some space on the disk' },
  EROFS: { exit: 'io', remedy: 'use a disk that can be written to' },
  EMFILE: { exit: 'config', remedy: 'raise the limit of open files of this process (ulimit -n) to 1024 or more' },
  ENFILE: { exit: 'config', remedy: 'raise the limit of open files of this machine (fs.file-max)' },
  EIO: { exit: 'io', remedy: 'check the disk: it fails to read or write' },
}

const OUR_FAULT = 'this is a fault in ringback: please report it with the text above'

/** What an error means for the one who runs the command. */
export function endingOf(error: unknown): Ending {
  if (error instanceof CommandError) {
    return { code: EXIT_CODES[error.exit], messages: [error.message], remedy: error.remedy }
  }
  if (error instanceof ConfigError) {
    const remedy = 'correct the settings above; `ringback config` shows those in force'
    return { code: EXIT_CODES.config, messages: error.problems, remedy }
  }
  if (error instanceof AppError) {
    const faults = error.faults.map(({ pointer, message }) => `${pointer}: ${message}`)
    const remedy = error.code === 'internal' ? OUR_FAULT : 'correct what is named above and run it again'
    return { code: EXIT_CODES[EXIT_OF_APP_ERROR[error.code]], messages: [error.message, ...faults], remedy }
  }
  if (!(error instanceof Error)) return { code: EXIT_CODES.internal, messages: [String(error)], remedy: OUR_FAULT }
  return endingOfForeignError(error)
}

function endingOfForeignError(error: Error): Ending {
  const messages = [error.message]
  if ('exitCode' in error && isExitCode(error.exitCode)) {
    return { code: error.exitCode, messages, remedy: remedyOfExitCode(error.exitCode) }
  }
  const systemCode = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const known = SYSTEM_ERRORS[systemCode]
  if (known !== undefined) return { code: EXIT_CODES[known.exit], messages, remedy: known.remedy }
  if (systemCode.startsWith('SQLITE_')) {
    return { code: EXIT_CODES.io, messages, remedy: 'check the disk and the database file; restore it from a backup' }
  }
  return { code: EXIT_CODES.internal, messages: [error.stack ?? error.message], remedy: OUR_FAULT }
}

function isExitCode(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 255
}

function remedyOfExitCode(code: number): string {
  if (code === EXIT_CODES.unreachable)
    return 'stop the other daemon first, or set RINGBACK_DATABASE_URL to another file'
  if (code === EXIT_CODES.io) return 'keep the file as it is, and start from the latest backup'
  return 'run it again when this is put right'
}

/** Says on stderr what an error means, and returns the exit code. */
export function reportEnding(io: Pick<Io, 'stderr'>, { code, messages, remedy }: Ending): number {
  for (const message of messages) io.stderr.write(`ringback: ${printable(message, { keepLines: true })}\n`)
  io.stderr.write(`  remedy: ${printable(remedy)}\n`)
  return code
}
