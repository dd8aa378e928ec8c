/** What every command file is given, and what all of them have in common. */

import type { Command } from 'commander'
import type { Exit } from './exit.ts'
import type { Io } from './io.ts'

export interface Cli {
  readonly io: Io
  readonly version: string
  /** Sets how the process will end, for a command that ran without an error and still has bad news. */
  end(exit: Exit): void
}

export function addJsonFlag(command: Command, what = 'print JSON, one object a line'): Command {
  return command.option('--json', what)
}

export function isJson(command: Command): boolean {
  return command.opts<{ json?: boolean }>().json === true
}

/** Said on stderr, where it does not mix with data. */
export function say(io: Pick<Io, 'stderr'>, text: string): void {
  io.stderr.write(`${text}\n`)
}
