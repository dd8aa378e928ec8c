#!/usr/bin/env node
/** Argv and environment in, exit code out. Nothing is imported before the version of Node is known to be enough. */

import type { Signal } from './cli/io.ts'

const NODE_MAJOR_MIN = 20
const NODE_MINOR_MIN = 19
/** As in cli/exit.ts, which cannot be imported yet. */
const EXIT_INTERNAL = 70
const EXIT_IO = 74
const EXIT_CONFIG = 78

/** Whatever still holds the event loop this long after a command has ended was forgotten, and must not hold it for ever. */
const LEFTOVERS_MS = 2_000

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < NODE_MAJOR_MIN || (major === NODE_MAJOR_MIN && minor < NODE_MINOR_MIN)) {
  const wanted = `${NODE_MAJOR_MIN}.${NODE_MINOR_MIN}`
  process.stderr.write(
    `ringback: needs Node ${wanted} or later, and this is ${process.versions.node}: install a newer one\n`,
  )
  process.exitCode = EXIT_CONFIG
} else {
  process.stdout.on('error', endWithoutReader)
  // Nobody hears what is said, which changes nothing about what is done.
  process.stderr.on('error', () => undefined)
  process.on('uncaughtException', (error) => {
    // A daemon may die at any line and loses nothing by it; going on in an unknown state might.
    // Node opens all modules of a program at once: with few handles it does not get as far as the command.
    const code = error instanceof Error && 'code' in error ? error.code : null
    const hasNoHandles = code === 'EMFILE' || code === 'ENFILE'
    const remedy = hasNoHandles
      ? 'raise the limit of open files (ulimit -n) to 1024 or more'
      : 'this is a fault in ringback: please report it with the text above'
    const text = error instanceof Error ? ((hasNoHandles ? null : error.stack) ?? error.message) : String(error)
    process.stderr.write(`ringback: ${text}\n  remedy: ${remedy}\n`)
    process.exit(hasNoHandles ? EXIT_CONFIG : EXIT_INTERNAL)
  })
  const { run } = await import('./cli/program.ts')
  const exitCode = await run(process.argv.slice(2), {
    env: process.env,
    folder: process.cwd(),
    // Looked at only by who reads it: a closed stdin must not matter to the others.
    get stdin() {
      return process.stdin
    },
    stdout: process.stdout,
    stderr: process.stderr,
    onSignal,
    exitNow: (code) => process.exit(code),
  })
  process.exitCode = exitCode
  setTimeout(() => process.exit(exitCode), LEFTOVERS_MS).unref()
}

/** `ringback tasks list | head` is no error: the reader has seen enough. */
function endWithoutReader(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0)
  process.stderr.write(`ringback: stdout cannot be written to (${error.code ?? error.message})\n`)
  process.stderr.write('  remedy: check where it leads to, and whether that disk is full\n')
  process.exit(EXIT_IO)
}

function onSignal(listen: (signal: Signal) => void): () => void {
  const onInterrupt = () => listen('SIGINT')
  const onTerminate = () => listen('SIGTERM')
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onTerminate)
  return () => {
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onTerminate)
  }
}
