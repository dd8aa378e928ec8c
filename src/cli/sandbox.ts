/** `ringback sandbox`: a fake Aidge on this machine, for trying things out without an account. */

import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../core/time.ts'
import { addJsonFlag, type Cli, isJson, say } from './command.ts'
import { CommandError, EXIT_CODES } from './exit.ts'
import type { Signal } from './io.ts'
import { printJsonLines, printTable } from './table.ts'

interface SandboxOptions {
  readonly host: string
  readonly port: number
  readonly keyName?: string
  readonly keySecret?: string
  readonly finishAfter: string
  readonly tlsCert?: string
  readonly tlsKey?: string
}

export function addSandbox(program: Command, cli: Cli): void {
  const sandbox = program
    .command('sandbox')
    .description('a fake Aidge: checks signatures, and tasks do what their ids say')
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .option('--port <number>', 'where to listen; 0 takes a free port', readPort, 7465)
    // A sandbox's secret opens nothing but the sandbox, so it may stand in a command line.
    .option('--key-name <text>', 'name of the access key (default: one that is printed)')
    .option('--key-secret <text>', 'secret of the access key (default: one that is printed)')
    .option('--finish-after <duration>', 'when a task finishes whose id says nothing', readDuration, '3s')
    .option('--tls-cert <file>', 'PEM certificate; with --tls-key it speaks https')
    .option('--tls-key <file>', 'PEM key')
  addJsonFlag(sandbox, 'print one JSON object').action(async (options: SandboxOptions, command: Command) => {
    const { startAidgeSandbox, SANDBOX_CREDENTIALS, LIFE_GRAMMAR } = await import('../sandbox/aidge.ts')
    const tls = readTls(options)
    const running = await startAidgeSandbox({
      host: options.host,
      port: options.port,
      life: `ok-${options.finishAfter}`,
      credentials: {
        accessKeyName: options.keyName ?? SANDBOX_CREDENTIALS.accessKeyName,
        accessKeySecret: options.keySecret ?? SANDBOX_CREDENTIALS.accessKeySecret,
      },
      ...(tls === null ? {} : { tls }),
    })
    const { url, credentials } = running
    if (isJson(command)) printJsonLines(cli.io, [{ url, ...credentials }])
    else printEnvironment(cli, url, credentials)
    if (!isJson(command)) explainLives(cli, Object.values(LIFE_GRAMMAR))
    await untilSignal(cli)
    await running.close()
  })
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : -1
  if (port < 0 || port > 65_535) throw new InvalidArgumentError('expected a port from 0 to 65535.')
  return port
}

function readDuration(text: string): string {
  if (parseDuration(text) === null) throw new InvalidArgumentError('expected a duration such as 500ms, 3s or 2m.')
  return text
}

function readTls({ tlsCert, tlsKey }: SandboxOptions): { readonly cert: string; readonly key: string } | null {
  if (tlsCert === undefined && tlsKey === undefined) return null
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new CommandError('usage', '--tls-cert and --tls-key go together', 'give both, or none for plain http')
  }
  return { cert: readFileSync(tlsCert, 'utf8'), key: readFileSync(tlsKey, 'utf8') }
}

/** Data, so that `eval` and `>> .env` can take it. */
function printEnvironment({ io }: Cli, url: string, key: { accessKeyName: string; accessKeySecret: string }): void {
  say(io, `a fake Aidge listens on ${url}; Ctrl-C stops it\n`)
  io.stdout.write(`AIDGE_BASE_URL=${url}\n`)
  io.stdout.write(`AIDGE_ACCESS_KEY_NAME=${key.accessKeyName}\n`)
  io.stdout.write(`AIDGE_ACCESS_KEY_SECRET=${key.accessKeySecret}\n`)
}

interface GrammarRow {
  readonly form: string
  readonly example: string
  readonly meaning: string
}

function explainLives({ io }: Cli, rows: readonly GrammarRow[]): void {
  say(io, '\nWhat a task does is written in its id, read from the left; -anything behind it makes the id unique:\n')
  printTable(
    { stdout: io.stderr },
    [
      { title: 'form', value: ({ form }) => form },
      { title: 'example', value: ({ example }) => example },
      { title: 'what it does', value: ({ meaning }) => meaning },
    ],
    rows,
  )
}

/** Resolves with the first signal; the second one ends the process at once. */
export function untilSignal({ io }: Pick<Cli, 'io'>): Promise<Signal> {
  return new Promise((resolve) => {
    let hasCome = false
    io.onSignal((signal) => {
      if (hasCome) io.exitNow(EXIT_CODES.interrupted)
      hasCome = true
      resolve(signal)
    })
  })
}
