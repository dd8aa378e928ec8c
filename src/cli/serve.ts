/** `ringback serve`: the daemon, until a signal stops it. */

import type { Command } from 'commander'
import { configLogFields } from '../config.ts'
import type { Daemon } from '../daemon.ts'
import { createLog } from '../log.ts'
import type { Log } from '../ports.ts'
import { addJsonFlag, type Cli, isJson, say } from './command.ts'
import { EXIT_CODES } from './exit.ts'
import { isForEyes } from './io.ts'
import { addSettingFlags, loadSettings } from './settings.ts'

export function addServe(program: Command, cli: Cli): void {
  const serve = program.command('serve').description('run the daemon; its log goes to stdout, one JSON object a line')
  addSettingFlags(addJsonFlag(serve, 'nothing but the log, which is JSON in any case')).action(
    async (_: unknown, command: Command) => {
      const { config, warnings } = loadSettings(cli.io, command)
      const log = createLog({ level: config.logLevel, destination: cli.io.stdout })
      log.info({ event: 'daemon.starting', version: cli.version, settings: configLogFields(config) }, 'starting')
      for (const warning of warnings) log.warn({ event: 'config.warning' }, warning)
      await runUntilStopped(cli, log, async () => {
        // Loaded late: only this command needs the database driver.
        const { startDaemon } = await import('../daemon.ts')
        const daemon = await startDaemon(config, { log, version: cli.version })
        if (isForEyes(cli.io.stderr, cli.io.env) && !isJson(command)) greet(cli, daemon)
        return daemon
      })
    },
  )
}

/** The first signal stops in order, also in the middle of the start; the second one ends at once. */
async function runUntilStopped(cli: Cli, log: Log, start: () => Promise<Daemon>): Promise<void> {
  let isStopping = false
  let daemon: Daemon | null = null
  const stop = () => {
    daemon?.stop().catch((error: unknown) => {
      log.error(
        { event: 'daemon.stop_failed', error },
        'could not stop in order; nothing that was acknowledged is lost',
      )
      cli.io.exitNow(EXIT_CODES.internal)
    })
  }
  const stopListening = cli.io.onSignal((signal) => {
    if (isStopping) return cli.io.exitNow(EXIT_CODES.interrupted)
    isStopping = true
    log.info({ event: 'daemon.stopping', signal }, 'stopping; a second signal ends at once')
    stop()
  })
  try {
    daemon = await start()
    if (isStopping) stop()
    const { exitCode } = await daemon.stopped
    // A daemon that cannot trust its disk must not go on for the time that an orderly end takes.
    if (exitCode !== EXIT_CODES.ok) cli.io.exitNow(exitCode)
  } finally {
    stopListening()
  }
}

function greet({ io }: Cli, { url, tokenPath, signingSecretPath }: Daemon): void {
  say(io, `ringback listens on ${url}`)
  say(io, `  API token       ${tokenPath ?? 'as set by RINGBACK_API_TOKEN'}`)
  say(io, `  signing secret  ${signingSecretPath ?? 'as set by RINGBACK_SIGNING_SECRET'}`)
  say(io, '  Ctrl-C stops it')
}
