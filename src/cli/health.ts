/** `ringback health`: whether the daemon is ready, as an exit code for supervisors and container health checks. */

import type { Command } from 'commander'
import { problemText, textOf, textsOf, withApi } from './client.ts'
import { addJsonFlag, type Cli, isJson, say } from './command.ts'
import { CommandError } from './exit.ts'
import { printable } from './printable.ts'
import { addSettingFlags, CLIENT_SETTINGS } from './settings.ts'
import { printJsonText } from './table.ts'

export function addHealth(program: Command, cli: Cli): void {
  const health = program
    .command('health')
    .description('exit 0 when the daemon is ready, 1 when not, 3 when there is none')
  addSettingFlags(addJsonFlag(health), CLIENT_SETTINGS).action(async (_: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.probe('/readyz')
      if (isJson(command)) printJsonText(cli.io, answer.text)
      if (answer.status !== 200) {
        const reason = problemText(answer.body, `it answered ${answer.status}`)
        throw new CommandError('failed', `the daemon at ${api.url} is not ready: ${reason}`, 'its log says why')
      }
      if (!isJson(command)) cli.io.stdout.write(`${textOf(answer.body, 'status') || 'ready'}\n`)
      for (const warning of textsOf(answer.body, 'warnings')) say(cli.io, `warning: ${printable(warning)}`)
    })
  })
}
