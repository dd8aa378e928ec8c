/** `ringback config`: the settings in force, where each comes from, and everything that is wrong with them. */

import type { Command } from 'commander'
import { type ShownSetting, shownSettings } from '../config.ts'
import { ConfigError } from '../core/errors.ts'
import { addJsonFlag, type Cli, isJson, say } from './command.ts'
import { addSettingFlags, loadSettings } from './settings.ts'
import { type Column, printJsonLines, printTable } from './table.ts'

const COLUMNS: readonly Column<ShownSetting>[] = [
  { title: 'setting', value: ({ env }) => env },
  { title: 'value', value: ({ value }) => value || '-' },
  { title: 'from', value: ({ origin }) => origin },
]

export function addConfig(program: Command, cli: Cli): void {
  const config = program.command('config').description('the settings in force and where each comes from')
  addSettingFlags(addJsonFlag(config)).action(async (_: unknown, command: Command) => {
    const loaded = loadSettings(cli.io, command)
    // Loaded late: no other command should wait for the parts of the daemon.
    const { adapterProblems } = await import('../daemon.ts')
    const problems = adapterProblems(loaded.config)
    if (problems.length > 0) throw new ConfigError(problems)
    const shown = shownSettings(loaded)
    if (isJson(command)) printJsonLines(cli.io, shown)
    else printTable(cli.io, COLUMNS, shown)
    for (const warning of loaded.warnings) say(cli.io, `warning: ${warning}`)
  })
}
