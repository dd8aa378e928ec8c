/** The command line: which commands there are, and how their errors become exit codes. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import type { Cli } from './command.ts'
import { addConfig } from './config.ts'
import { addDeliveries } from './deliveries.ts'
import { addDemo } from './demo.ts'
import { addEndpoints, addTrigger } from './endpoints.ts'
import { EXIT_CODES, type Exit, endingOf, reportEnding } from './exit.ts'
import { addHealth } from './health.ts'
import type { Io } from './io.ts'
import { addJobs } from './jobs.ts'
import { addSandbox } from './sandbox.ts'
import { addServe } from './serve.ts'
import { addTasks } from './tasks.ts'

const COMMANDS: readonly ((program: Command, cli: Cli) => void)[] = [
  addServe,
  addDemo,
  addSandbox,
  addTasks,
  addDeliveries,
  addEndpoints,
  addTrigger,
  addJobs,
  addConfig,
  addHealth,
]

/** Runs one command line (without the names of node and the program) and returns its exit code. Never throws. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  let exit: Exit = 'ok'
  const end = (how: Exit) => {
    exit = how
  }
  try {
    await programOf({ io, version: versionOfPackage(), end }).parseAsync([...argv], { from: 'user' })
    return EXIT_CODES[exit]
  } catch (error) {
    // Commander has said on stderr what was wrong; help and version that were asked for end as 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage
    return reportEnding(io, endingOf(error))
  }
}

function programOf(cli: Cli): Command {
  const program = new Command('ringback')
    .description('Turns a poll-only AI task API into signed webhooks that can be trusted.')
    .version(cli.version)
    .exitOverride()
    .showHelpAfterError('  remedy: add --help to see what is possible')
    .configureOutput({
      writeOut: (text) => cli.io.stdout.write(text),
      writeErr: (text) => cli.io.stderr.write(withoutValue(text)),
    })
    .addHelpText('after', EXAMPLES)
  for (const add of COMMANDS) add(program, cli)
  return program
}

/** Commander quotes an option that it does not know as it was given; `--api-token=…` is one that people try. */
function withoutValue(text: string): string {
  return text.replace(/(unknown option '[^'=]*)=[^\n]*'/, "$1'")
}

const EXAMPLES = `
examples:
  ringback demo                      the whole path on this machine, without an account
  ringback serve                     the daemon
  ringback tasks add 9f2c1e77 --callback-url https://shop.example/hooks`

function versionOfPackage(): string {
  const path = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}
