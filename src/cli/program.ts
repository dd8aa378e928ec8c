/** The command line: which commands there are, and how their errors become exit codes. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import type { Cli } from './command.ts'
import { EXIT_CODES, type Exit, endingOf, reportEnding } from './exit.ts'
import type { Io } from './io.ts'

type AddCommand = (program: Command, cli: Cli) => void

/** In the order of the help. Loaded by name: the daemon, which runs for months, holds no command but its own in memory. */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommand>>> = {
  serve: async () => (await import('./serve.ts')).addServe,
  demo: async () => (await import('./demo.ts')).addDemo,
  sandbox: async () => (await import('./sandbox.ts')).addSandbox,
  tasks: async () => (await import('./tasks.ts')).addTasks,
  deliveries: async () => (await import('./deliveries.ts')).addDeliveries,
  endpoints: async () => (await import('./endpoints.ts')).addEndpoints,
  trigger: async () => (await import('./endpoints.ts')).addTrigger,
  jobs: async () => (await import('./jobs.ts')).addJobs,
  config: async () => (await import('./config.ts')).addConfig,
  health: async () => (await import('./health.ts')).addHealth,
}

/** Runs one command line (without the names of node and the program) and returns its exit code. Never throws. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  let exit: Exit = 'ok'
  const end = (how: Exit) => {
    exit = how
  }
  try {
    const program = programOf({ io, version: versionOfPackage(), end }, await loadCommands(argv[0]))
    await program.parseAsync([...argv], { from: 'user' })
    return EXIT_CODES[exit]
  } catch (error) {
    // Commander has said on stderr what was wrong; help and version that were asked for end as 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage
    return reportEnding(io, endingOf(error))
  }
}

/** The one that is named, or all of them: for the help, and for what is similar to a slip of the pen. */
function loadCommands(name: string | undefined): Promise<readonly AddCommand[]> {
  const names = name !== undefined && Object.hasOwn(COMMANDS, name) ? [name] : Object.keys(COMMANDS)
  return Promise.all(names.flatMap((each) => COMMANDS[each]?.() ?? []))
}

function programOf(cli: Cli, commands: readonly AddCommand[]): Command {
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
  for (const add of commands) add(program, cli)
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
