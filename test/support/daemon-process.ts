/** The built daemon as a process of its own: started with settings from the environment, and killed in any way. */

import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export const PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

export interface DaemonProcess {
  readonly child: ChildProcess
  readonly url: string
  readonly lines: readonly Record<string, unknown>[]
  /** Rejects when the daemon ends without an answer, and with a `TimeoutError` when it lives and gives none. */
  request(
    path: string,
    init?: { method?: string; body?: unknown; token?: string },
  ): Promise<{ status: number; body: unknown }>
  /** Resolves when a line with this event name has been logged. */
  logged(event: string): Promise<void>
  /** Resolves with the exit code, or the name of the signal that ended it, whatever the reason. */
  readonly exited: Promise<number | NodeJS.Signals>
  /** Sends the signal and waits for the end. */
  kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>
}

/** Above the longest that the API lets anybody wait. */
const ANSWER_MS_MAX = 60_000

export const TOKEN = 'test-token-0123456789'

export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Runs the program to its end. Nothing of this process's environment reaches it but what finds `node`. */
export async function runProgram(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd?: string,
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { env: { PATH: process.env['PATH'], ...env }, cwd })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const [exitCode] = (await once(child, 'close')) as [number | null]
  return { exitCode, stdout, stderr }
}

export interface SpawnOptions {
  /** Ends it with SIGKILL, also while it is starting. */
  readonly death?: AbortSignal
  /** Runs in the same process before the program, for limits that it inherits: `ulimit -n 64`. */
  readonly prelude?: string
}

/** Ends with the test, whatever becomes of it. */
export async function startDaemonProcess(
  env: Readonly<Record<string, string>>,
  cwd?: string,
  options?: SpawnOptions,
): Promise<DaemonProcess> {
  const death = new AbortController()
  onTestFinished(() => death.abort())
  return await spawnDaemon(env, cwd, { death: death.signal, ...options })
}

/** Outlives the test: whoever starts it ends it. */
export async function spawnDaemon(
  env: Readonly<Record<string, string>>,
  cwd?: string,
  { death, prelude }: SpawnOptions = {},
): Promise<DaemonProcess> {
  if (!existsSync(PROGRAM)) throw new Error('dist/ is missing: run npm run build')
  const command = [process.execPath, PROGRAM, 'serve']
  const [file = '', ...args] =
    prelude === undefined ? command : ['bash', '-c', `${prelude}; exec "$0" "$@"`, ...command]
  const child = spawn(file, args, {
    env: { PATH: process.env['PATH'], RINGBACK_API_TOKEN: TOKEN, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd,
  })
  death?.addEventListener('abort', () => void child.kill('SIGKILL'))
  const exited = (once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>).then(
    ([code, name]) => code ?? name ?? 'SIGKILL',
  )
  // A connection that was made but not yet taken when the daemon died is not always told: fetch would wait for minutes.
  const life = new AbortController()
  void exited.then(() => life.abort(new Error('the daemon has ended')))
  const lines: Record<string, unknown>[] = []
  const logs = new EventEmitter()
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const url = await new Promise<string>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the daemon ended with ${code}: ${errors}`)))
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = parseLine(text)
      if (line === null) return
      lines.push(line)
      logs.emit(String(line['event']))
      if (line['event'] === 'daemon.started') resolve(String(line['url']))
    })
  })
  return {
    child,
    url,
    lines,
    async request(path, { method = 'GET', body, token = TOKEN } = {}) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([life.signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
      })
      const text = await response.text()
      return { status: response.status, body: text === '' ? null : JSON.parse(text) }
    },
    async logged(event) {
      if (!lines.some((line) => line['event'] === event)) await once(logs, event)
    },
    exited,
    kill(signal) {
      child.kill(signal)
      return exited
    },
  }
}

/** The last line of a killed process may be half a line. */
function parseLine(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return null
  }
}
