/** Runs one command line in this process, as a person or a script would see it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import type { Signal } from '../../src/cli/io.ts'
import { run } from '../../src/cli/program.ts'

export interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly ended: Promise<Ended>
  signal(signal: Signal): void
  /** Resolves with what was written so far, as soon as it matches; rejects when the command ends before that. */
  until(pattern: RegExp): Promise<string>
  /** Codes that the process was to be ended with at once. */
  readonly exitsNow: readonly number[]
}

export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>
  readonly folder?: string
  readonly stdin?: readonly (string | Uint8Array)[]
  readonly isTTY?: boolean
}

export function start(argv: readonly string[], surroundings: Surroundings = {}): Running {
  const { env = {}, folder = '/nonexistent', stdin = [], isTTY = false } = surroundings
  const written = { stdout: '', stderr: '' }
  const exitsNow: number[] = []
  const listeners = new Set<(signal: Signal) => void>()
  const watchers = new Set<() => void>()
  const output = (name: 'stdout' | 'stderr') => ({
    isTTY,
    write(text: string) {
      written[name] += text
      for (const watch of watchers) watch()
    },
  })
  const ended = run(argv, {
    env,
    folder,
    stdin: (async function* () {
      yield* stdin
    })(),
    stdout: output('stdout'),
    stderr: output('stderr'),
    onSignal(listen) {
      listeners.add(listen)
      return () => listeners.delete(listen)
    },
    exitNow: (code) => exitsNow.push(code),
  }).then((exitCode) => ({ exitCode, ...written }))
  return {
    ended,
    exitsNow,
    signal: (signal) => {
      for (const listen of listeners) listen(signal)
    },
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const watch = () => {
          const text = written.stdout + written.stderr
          if (pattern.test(text)) resolve(text)
        }
        watchers.add(watch)
        watch()
        void ended.then(({ stdout, stderr }) => reject(new Error(`ended without ${pattern}: ${stdout}${stderr}`)))
      }),
  }
}

export function command(argv: readonly string[], surroundings: Surroundings = {}): Promise<Ended> {
  return start(argv, surroundings).ended
}

/** A folder of its own for each test of a file. */
export function inFolder(): () => string {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringback-cli-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))
  return () => folder
}
