/** Child processes of a bench: they speak in lines of JSON, and are ended by their handles, at the latest with the bench. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'

const running = new Set()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

/**
 * A Node process running `args`, with nothing of this one's environment but what is given: `{pid, line, say, ended, end}`.
 * What it says while nobody waits for a line is dropped: a daemon's log is long.
 */
export function startNode(args, env = {}) {
  return startChild(process.execPath, args, { env: { PATH: process.env.PATH, ...env } })
}

export function startChild(command, args, { env = process.env, endSignal = 'SIGTERM', ...options } = {}) {
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'], ...options })
  running.add(child)
  let wanted = null
  const what = `${command} ${args.join(' ')}`
  const failed = once(child, 'error').then(([error]) => wanted?.reject(error))
  const exited = once(child, 'exit').then(() => wanted?.reject(new Error(`${what} ended without a word`)))
  const ended = Promise.race([exited, failed]).finally(() => running.delete(child))
  ended.catch(() => {})
  // It may end before it has read what was said to it.
  child.stdin.on('error', () => {})
  createInterface({ input: child.stdout }).on('line', (text) => {
    if (wanted === null) return
    const said = parsed(text)
    if (wanted.matches(said)) wanted.resolve(said)
  })
  return {
    pid: child.pid,
    /** The next line that `matches`, as what it says: a value if it is JSON, else the text. */
    async line(matches = () => true) {
      if (child.exitCode !== null) throw new Error(`${what} has ended`)
      try {
        return await new Promise((resolve, reject) => {
          wanted = { matches, resolve, reject }
        })
      } finally {
        wanted = null
      }
    },
    say: (value) => void child.stdin.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`),
    /** Resolves when it has ended, however. */
    ended,
    async end() {
      child.kill(endSignal)
      await ended
    },
  }
}

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** What the kernel has counted: in /proc, as so many hundredths of a second. */
const TICK_MS = 10

/** CPU time that a process has used so far, in milliseconds; null where there is no /proc, and when it has ended. */
export function cpuMs(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may contain anything, spaces too; utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  } catch {
    return null
  }
}

/** A port of loopback that nobody listens on at the moment. */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}
