/** A secret that the daemon makes for itself and keeps beside its database, readable by its owner only. */

import { readFileSync, writeFileSync } from 'node:fs'
import { ConfigError } from './core/errors.ts'

/** Reads the secret, or makes it with `make` when there is none yet. */
export function keepSecret(path: string, make: () => string): string {
  try {
    // `wx` fails when the file is there: two starts at once never end with two secrets.
    const made = make()
    writeFileSync(path, `${made}\n`, { mode: 0o600, flag: 'wx' })
    return made
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new ConfigError([
        `${path} cannot be written (${(error as Error).message}): check the folder's owner and mode`,
      ])
    }
  }
  const kept = readFileSync(path, 'utf8').trim()
  if (kept === '') throw new ConfigError([`${path} is empty: delete it and a new secret is made`])
  return kept
}
