/** The settings as a command sees them: its flags, the environment and the `.env` file, in this order. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import { flagNameOf, type LoadedConfig, readConfig, type SettingName, settingEntries } from '../config.ts'
import { ConfigError } from '../core/errors.ts'
import type { Setting } from '../setting.ts'
import { addJsonFlag } from './command.ts'
import type { Io } from './io.ts'

/** What a command needs that only talks to a daemon. */
export const CLIENT_SETTINGS: readonly SettingName[] = ['url', 'host', 'port', 'databaseUrl']

/** A flag for each of the settings; secrets have none, because every user of a machine can read its command lines. */
export function addSettingFlags(command: Command, names?: readonly SettingName[]): Command {
  for (const [name, setting] of settingEntries()) {
    const option = optionOf(setting)
    if (option !== null && (names === undefined || names.includes(name))) command.addOption(option)
  }
  return command
}

/** For a command that talks to a daemon and prints what it says. */
export function addClientFlags(command: Command): Command {
  return addSettingFlags(addJsonFlag(command), CLIENT_SETTINGS)
}

function optionOf(setting: Setting<unknown>): Option | null {
  const flagName = flagNameOf(setting)
  if (flagName === null) return null
  const fallback = setting.fallback === '' ? '' : `, default ${setting.fallback}`
  return new Option(`--${flagName} <${setting.placeholder}>`, `${setting.doc} (${setting.env}${fallback})`)
}

/** Throws `ConfigError` with all problems. */
export function loadSettings(io: Pick<Io, 'env' | 'folder'>, command: Command): LoadedConfig {
  return readConfig({ flags: givenFlags(command), env: io.env, dotenv: readDotenv(join(io.folder, '.env')) })
}

function givenFlags(command: Command): Readonly<Record<string, string>> {
  const given = command.opts<Readonly<Record<string, unknown>>>()
  const flags: Record<string, string> = {}
  for (const [, setting] of settingEntries()) {
    const value = given[optionOf(setting)?.attributeName() ?? '']
    if (typeof value === 'string') flags[setting.env] = value
  }
  return flags
}

function readDotenv(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === 'ENOENT') return null
    throw new ConfigError([`.env: cannot read ${path} (${String(code)}): make it readable, or take it away`])
  }
}
