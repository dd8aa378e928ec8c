/** `ringback demo`: the whole path on this machine — a fake Aidge, the daemon and a receiver that verifies. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { type Config, readConfig } from '../config.ts'
import { SECOND } from '../core/time.ts'
import type { Daemon } from '../daemon.ts'
import { createLog } from '../log.ts'
import type { AidgeSandbox } from '../sandbox/aidge.ts'
import type { Receiver } from '../sandbox/receiver.ts'
import { type Arrivals, createArrivals } from './arrivals.ts'
import { connect, rowsOf } from './client.ts'
import { addJsonFlag, type Cli, isJson, say } from './command.ts'
import { CommandError } from './exit.ts'
import { type FatedTask, fatedTasks } from './fates.ts'
import type { Signal } from './io.ts'
import { untilSignal } from './sandbox.ts'
import { printJsonLines } from './table.ts'

interface DemoOptions {
  readonly tasks: number
  readonly once?: boolean
  readonly keep?: boolean
}

const TASK_COUNT_MAX = 10_000
const ROUND_TIMEOUT_MS = 120 * SECOND
const BULK_COUNT_MAX = 1000

export function addDemo(program: Command, cli: Cli): void {
  const demo = program
    .command('demo')
    .description('a fake Aidge, the daemon and a verifying receiver on this machine; needs no account')
    .option('--tasks <number>', 'how many tasks to register', readCount, 12)
    .option('--once', 'end when every webhook has arrived: exit 0, or 1 when some did not')
    .option('--keep', 'keep the database')
  addJsonFlag(demo).action(async (options: DemoOptions, command: Command) => {
    const folder = mkdtempSync(join(tmpdir(), 'ringback-demo-'))
    try {
      await runDemo(cli, options, { folder, asJson: isJson(command) })
    } finally {
      if (options.keep === true) say(cli.io, `the database is kept in ${folder}`)
      else rmSync(folder, { recursive: true, force: true })
    }
  })
}

function readCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > TASK_COUNT_MAX) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${TASK_COUNT_MAX}.`)
  }
  return count
}

async function runDemo(
  cli: Cli,
  { tasks: count, once }: DemoOptions,
  { folder, asJson }: { folder: string; asJson: boolean },
): Promise<void> {
  const signal = untilSignal(cli)
  const arrivals = createArrivals(cli.io, asJson)
  const closers: Closer[] = []
  const sumUp = () => {
    arrivals.clearProgress()
    summarize(cli, { arrivedCount: arrivals.arrivedCount(), count, asJson })
  }
  let ending: RoundEnding
  try {
    const stage = await setStage(cli, arrivals, { folder, count, closers })
    introduce(cli, stage)
    const tasks = fatedTasks(count)
    arrivals.expect(tasks)
    await register(stage, tasks)
    ending = await Promise.race([arrivals.complete.then(() => 'complete' as const), signal, roundTimeout()])
    if (once !== true) {
      sumUp()
      if (ending === 'complete' || ending === 'timeout') await stayUp(cli, stage, signal)
    }
  } finally {
    for (const close of closers.reverse()) await close()
  }
  if (once !== true) return
  // Summed up when nothing can arrive any more, so that it is the last line in any case.
  sumUp()
  if (ending === 'SIGINT' || ending === 'SIGTERM') cli.end('interrupted')
  else if (arrivals.arrivedCount() < count) cli.end('failed')
}

type RoundEnding = 'complete' | 'timeout' | Signal

type Closer = () => Promise<void>

interface Stage {
  readonly sandbox: AidgeSandbox
  readonly receiver: Receiver
  readonly daemon: Daemon
}

async function setStage(
  cli: Cli,
  arrivals: Arrivals,
  { folder, count, closers }: { folder: string; count: number; closers: Closer[] },
): Promise<Stage> {
  // Loaded late: no other command should wait for these.
  const [{ startAidgeSandbox }, { startReceiver }, { startDaemon }] = await Promise.all([
    import('../sandbox/aidge.ts'),
    import('../sandbox/receiver.ts'),
    import('../daemon.ts'),
  ])
  const sandbox = await startAidgeSandbox()
  closers.push(sandbox.close)
  const receiver = await startReceiver({
    behave(request, attemptNumber) {
      const isRefused = request.isVerified && request.path === '/flaky' && attemptNumber === 1
      arrivals.arrive(request, isRefused)
      return isRefused ? { kind: 'answer', status: 503 } : null
    },
  })
  closers.push(receiver.close)
  const config = demoConfig(folder, sandbox, count)
  const log = createLog({ level: config.logLevel, destination: cli.io.stderr })
  const daemon = await startDaemon(config, { log, version: cli.version })
  closers.push(daemon.stop)
  receiver.trust(daemon.signingSecret)
  return { sandbox, receiver, daemon }
}

/** Faster than anyone would treat a real upstream, so that nobody has to wait; nothing of the environment is read. */
function demoConfig(folder: string, { url, credentials }: AidgeSandbox, count: number): Config {
  const env = {
    RINGBACK_DATABASE_URL: `file:${join(folder, 'ringback.db')}`,
    RINGBACK_PORT: '0',
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_POLL_RATE: String(Math.min(Math.max(200, count), 2000)),
    RINGBACK_POLL_CONCURRENCY: '64',
    RINGBACK_POLL_INTERVAL_MIN: '200ms',
    RINGBACK_POLL_INTERVAL_MAX: '2s',
    RINGBACK_RETRY_SCHEDULE: '0s,1s,2s,5s,10s',
    RINGBACK_ENDPOINT_CONCURRENCY: '32',
    RINGBACK_SHUTDOWN_GRACE: '2s',
    RINGBACK_LOG_LEVEL: 'error',
    AIDGE_BASE_URL: url,
    AIDGE_ACCESS_KEY_NAME: credentials.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: credentials.accessKeySecret,
  }
  return readConfig({ flags: {}, env, dotenv: null }).config
}

async function register({ daemon, receiver }: Stage, tasks: readonly FatedTask[]): Promise<void> {
  const { Agent } = await import('undici')
  const agent = new Agent()
  try {
    const api = connect(agent, daemon.url, daemon.apiToken)
    for (let from = 0; from < tasks.length; from += BULK_COUNT_MAX) {
      const registrations = tasks
        .slice(from, from + BULK_COUNT_MAX)
        .map(({ taskId, path }) => ({ taskId, callbackUrl: `${receiver.url}${path}`, metadata: { from: 'demo' } }))
      const { body } = await api.post('/v1/tasks/bulk', { tasks: registrations })
      const refused = rowsOf(body, 'results').find(({ status }) => Number(status) >= 400)
      if (refused !== undefined) throw new CommandError('failed', JSON.stringify(refused['problem']), 'report this')
    }
  } finally {
    await agent.destroy()
  }
}

function roundTimeout(): Promise<'timeout'> {
  return new Promise((resolve) => {
    // Does not hold the process when the round ends before it.
    setTimeout(() => resolve('timeout'), ROUND_TIMEOUT_MS).unref()
  })
}

function introduce({ io }: Cli, { sandbox, daemon, receiver }: Stage): void {
  say(io, `fake Aidge  ${sandbox.url}`)
  say(io, `Ringback    ${daemon.url}`)
  say(io, `receiver    ${receiver.url}\n`)
}

function summarize({ io }: Cli, round: { arrivedCount: number; count: number; asJson: boolean }): void {
  const text = `${round.arrivedCount} of ${round.count} webhooks delivered and verified`
  if (round.asJson) printJsonLines(io, [{ deliveredCount: round.arrivedCount, taskCount: round.count }])
  else io.stdout.write(`${text}\n`)
}

async function stayUp({ io }: Cli, { daemon, receiver }: Stage, signal: Promise<unknown>): Promise<void> {
  say(io, '\nRegister more; the id says what becomes of the task (`ringback sandbox` lists what there is to say):\n')
  say(io, `  curl -s ${daemon.url}/v1/tasks \\`)
  say(io, `    -H 'authorization: Bearer ${daemon.apiToken}' -H 'content-type: application/json' \\`)
  say(io, `    -d '{"taskId":"ok-2s-mine","callbackUrl":"${receiver.url}/hooks"}'`)
  say(io, '\nCtrl-C ends the demo')
  await signal
}
