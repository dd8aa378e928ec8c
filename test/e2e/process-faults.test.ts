/**
 * The built daemon on a machine that fails: full and damaged disks, held locks, files that vanish, limits of the system,
 * signals at the wrong moment, faults of its own. It goes on, or ends with the exit code that says why; what it has
 * acknowledged survives either way, and receivers hear of nothing twice without a reason.
 */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, onTestFinished, test } from 'vitest'
import type { Receiver, ReceiverOptions } from '../../src/sandbox/receiver.ts'
import {
  aSmallDisk,
  aStage,
  eventually,
  fillDisk,
  holdWriteLock,
  remainsAt,
  seededRandom,
  untilRandomInstant,
} from '../support/chaos.ts'
import { type DaemonProcess, PROGRAM, runProgram, spawnDaemon, startDaemonProcess } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

const SLOW: ReceiverOptions = {
  behave: () => ({ kind: 'delay', delayMs: 1_000, next: { kind: 'answer', status: 204 } }),
}

/** None of its answers comes before time has passed for the daemon, however busy the machine is. */
const VERY_SLOW: ReceiverOptions = {
  behave: () => ({ kind: 'delay', delayMs: 5_000, next: { kind: 'answer', status: 204 } }),
}

async function register(
  daemon: DaemonProcess,
  taskId: string,
  callbackUrl: string,
): Promise<{ status: number; id: string }> {
  const { status, body } = await daemon.request('/v1/tasks', { method: 'POST', body: { taskId, callbackUrl } })
  return { status, id: (body as { id: string }).id }
}

async function registerMany(daemon: DaemonProcess, prefix: string, count: number, callbackUrl: string): Promise<void> {
  const tasks = Array.from({ length: count }, (_, index) => ({ taskId: `${prefix}-${index}`, callbackUrl }))
  const { status } = await daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks } })
  expect(status).toBe(200)
}

async function readiness(daemon: DaemonProcess): Promise<string> {
  const { status, body } = await daemon.request('/readyz')
  return status === 200 ? 'ready' : (body as { detail: string }).detail
}

const untilReadiness = (daemon: DaemonProcess, words: RegExp, timeoutMs?: number) =>
  eventually(async () => (words.test(await readiness(daemon)) ? true : null), timeoutMs)

const toldTasks = (receiver: Receiver) =>
  new Set(receiver.received.map(({ body }) => (JSON.parse(body) as { data: { taskId: string } }).data.taskId))

test('a full disk: nothing new is taken or sent, what is under way is recorded, and room brings all of it back', async ({
  skip,
}) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const { sandbox, receiver, path, env } = await aStage({ directory, receiving: SLOW })
  const daemon = await startDaemonProcess(env)
  await eventually(() => (existsSync(`${path}.ballast`) ? true : null))
  // Polled for ever, and so written about for ever.
  await registerMany(daemon, 'never', 200, `${receiver.url}/hooks`)
  await registerMany(daemon, 'ok', 40, `${receiver.url}/hooks`)
  await receiver.next(() => true)
  const free = fillDisk(directory)
  await daemon.logged('disk.full')

  const refused = await register(daemon, 'too-late', `${receiver.url}/hooks`)
  expect(refused.status).toBe(507)
  await untilReadiness(daemon, /disk .* is full/)
  expect((await daemon.request('/livez')).status).toBe(200)
  expect((await daemon.request('/v1/tasks?limit=3')).status).toBe(200)
  expect(existsSync(`${path}.ballast`)).toBe(false)
  // What was in the air has landed and was written into the room of the ballast: nothing is left to send twice.
  await untilStill(() => sandbox.stats().queryCount + receiver.received.length)
  const { queryCount } = sandbox.stats()
  const postCount = receiver.received.length
  // A look at the disk, and many ticks of every loop.
  const probes = daemon.lines.length
  await eventually(() => (Date.now() - fullSince(daemon) > 7_000 ? true : null), 15_000)
  expect(sandbox.stats().queryCount).toBe(queryCount)
  expect(receiver.received.length).toBe(postCount)
  expect(daemon.lines.length - probes, 'a full disk fills the log as well').toBeLessThan(20)

  free()
  await untilReadiness(daemon, /^ready$/)
  expect(existsSync(`${path}.ballast`)).toBe(true)
  expect((await register(daemon, 'ok-after', `${receiver.url}/hooks`)).status).toBe(201)
  await receiver.next(() => toldTasks(receiver).size === 41, 60_000)
  const marks = daemon.lines.map(({ mark }) => mark)
  expect(marks).toEqual(expect.arrayContaining(['disk_full_degraded', 'ballast_released']))
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(receiver.received.length, 'POSTs of 41 deliveries').toBe(41)
})

function fullSince({ lines }: DaemonProcess): number {
  return Date.parse(String(lines.find(({ event }) => event === 'disk.full')?.['time']))
}

test('a disk that is nearly full: registrations get 507, and what was taken before is asked and told', async ({
  skip,
}) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const { receiver, env } = await aStage({ directory, life: 'ok-3s' })
  const daemon = await startDaemonProcess(env)
  expect((await register(daemon, 'early', `${receiver.url}/hooks`)).status).toBe(201)
  const free = fillDisk(directory, 1024 * 1024)
  await daemon.logged('disk.low')
  expect(await readiness(daemon)).toMatch(/the disk of the database has .* left/i)
  expect((await register(daemon, 'late', `${receiver.url}/hooks`)).status).toBe(507)
  await receiver.next(() => toldTasks(receiver).has('early'))
  free()
  await untilReadiness(daemon, /^ready$/)
  expect((await register(daemon, 'late', `${receiver.url}/hooks`)).status).toBe(201)
  expect(daemon.lines.map(({ event }) => event)).not.toContain('disk.full')
})

test('on a full disk a daemon starts by giving up its ballast; without one it says in one line what to do, exit 74', async ({
  skip,
}) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const { path, env } = await aStage({ directory })
  const first = await startDaemonProcess(env)
  await eventually(() => (existsSync(`${path}.ballast`) ? true : null))
  await first.kill('SIGKILL')
  fillDisk(directory)
  const second = await startDaemonProcess(env)
  await untilReadiness(second, /disk/)
  await second.kill('SIGKILL')
  rmSync(join(directory, 'somebody-elses-file'))
  fillDisk(directory)
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(74)
  expect(stderr).toMatch(/disk is full.*free some space/)
  expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2)
})

test('a full disk at SIGTERM: the end comes all the same', async ({ skip }) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const { receiver, env } = await aStage({ directory, life: 'never' })
  const daemon = await startDaemonProcess({ ...env, RINGBACK_SHUTDOWN_GRACE: '500ms' })
  await registerMany(daemon, 'never', 300, `${receiver.url}/hooks`)
  fillDisk(directory)
  await daemon.logged('disk.full')
  const before = performance.now()
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(performance.now() - before).toBeLessThan(15_000)
})

test('a foreign writer holds the lock: nobody is held up, callers are told to come again, and nothing is lost', async () => {
  const { receiver, path, env } = await aStage({ receiving: SLOW })
  const daemon = await startDaemonProcess({ ...env, RINGBACK_SHUTDOWN_GRACE: '500ms' })
  await registerMany(daemon, 'ok', 20, `${receiver.url}/hooks`)
  await receiver.next(() => true)
  const commit = holdWriteLock(path)
  const waiting = register(daemon, 'waits', `${receiver.url}/hooks`)
  // Every answer comes from the one event loop, so the slowest is the longest that the loop stood still.
  const waitsMs: number[] = []
  const isRefused = waiting.then(({ status }) => status)
  for (let status: number | null = null; status === null; ) {
    const before = performance.now()
    expect((await daemon.request('/livez')).status).toBe(200)
    waitsMs.push(performance.now() - before)
    status = await Promise.race([isRefused, new Promise<null>((resolve) => setImmediate(resolve, null))])
  }
  expect(await isRefused).toBe(503)
  waitsMs.sort((a, b) => a - b)
  expect(waitsMs[Math.floor(waitsMs.length * 0.9)]).toBeLessThan(1_000)
  // Those few that a busy machine held up itself. A wait for the lock inside SQLite would be five seconds long.
  expect(waitsMs.at(-1)).toBeLessThan(4_000)
  expect(daemon.lines.map(({ mark }) => mark)).toContain('busy_retry')
  commit()
  expect((await register(daemon, 'waits', `${receiver.url}/hooks`)).status).toBe(201)
  await receiver.next(() => toldTasks(receiver).size === 21)
  const commitAgain = holdWriteLock(path)
  const last = register(daemon, 'last', `${receiver.url}/hooks`).catch(() => null)
  expect(await daemon.kill('SIGTERM'), 'the lock does not keep it from ending').toBe(0)
  commitAgain()
  expect((await last)?.status ?? 503).toBe(503)
  // One POST each: the attempts that ended under the lock were recorded after it.
  expect(receiver.received.length).toBe(21)
})

test('a second daemon, also by way of a link: exit 3 at once, naming the first, which is not disturbed', async () => {
  const { path, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  const link = join(aDirectory(), 'link.db')
  symlinkSync(path, link)
  for (const name of [path, link]) {
    const { exitCode, stderr } = await runProgram(['serve'], { ...env, RINGBACK_DATABASE_URL: `file:${name}` })
    expect(exitCode).toBe(3)
    expect(stderr).toMatch(new RegExp(`pid ${daemon.child.pid} on \\S+, started 20`))
  }
  expect((await register(daemon, 'one', 'https://shop.example/')).status).toBe(201)
})

test.each<[string, (path: string) => void]>([
  ['the database is moved away', (path) => renameSync(path, `${path}.moved`)],
  ['the database is deleted', (path) => rmSync(path)],
  [
    'the database is replaced by a copy',
    (path) => {
      writeFileSync(`${path}.copy`, readFileSync(path))
      renameSync(`${path}.copy`, path)
    },
  ],
  ['its log is deleted', (path) => rmSync(`${path}-wal`)],
  ['its lock is deleted', (path) => rmSync(`${path}.lock`)],
])('%s while it is in use: nothing more is acknowledged, exit 74', async (_what, harm) => {
  const { receiver, path, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  expect((await register(daemon, 'before', `${receiver.url}/hooks`)).status).toBe(201)
  harm(path)
  const after = await register(daemon, 'after', `${receiver.url}/hooks`).catch(() => null)
  expect(after?.status ?? 0).not.toBe(201)
  expect(await daemon.exited).toBe(74)
  expect(daemon.lines.find(({ event }) => event === 'store.damaged')?.['msg']).toMatch(/while it was in use/)
})

test('nobody asks for anything, and the file is gone: noticed within seconds, exit 74', async () => {
  const { path, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  rmSync(path)
  expect(await daemon.exited).toBe(74)
})

test('a page is damaged underneath: exit 74, and 74 again at each start, with what to do', async () => {
  const { receiver, path, env } = await aStage({ life: 'never' })
  const daemon = await startDaemonProcess(env)
  await registerMany(daemon, 'never', 200, `${receiver.url}/hooks`)
  // Another program's commit makes the daemon read the pages again.
  const other = new Database(path)
  other.pragma('wal_checkpoint(truncate)')
  const pageCount = Number(other.pragma('page_count', { simple: true }))
  const fd = openSync(path, 'r+')
  for (let page = 1; page < pageCount; page += 1) writeSync(fd, Buffer.alloc(4_000, 0xa5), 0, 4_000, page * 4_096)
  closeSync(fd)
  try {
    other.exec(`insert or replace into _meta (key, value) values ('touched', 'x')`)
  } catch {
    // It has read the damage itself.
  }
  other.close()
  await register(daemon, 'one-more', `${receiver.url}/hooks`).catch(() => null)
  expect(await daemon.exited).toBe(74)
  expect(daemon.lines.map(({ event }) => event)).toContain('store.damaged')
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(74)
  expect(stderr).toMatch(/damaged.*restore a backup/s)
  expect(stderr).not.toContain('    at ')
})

test('the disk refuses a write in the middle: exit 74, and the next daemon finds all that was acknowledged', async () => {
  const { receiver, path, env } = await aStage({ life: 'never' })
  // Files of this process may not grow beyond 2 MiB, which SQLite meets as an input/output error.
  const daemon = await startDaemonProcess(env, undefined, { prelude: 'ulimit -f 2048' })
  const acknowledged = new Set<string>()
  for (let index = 0; ; index += 1) {
    const answer = await register(daemon, `never-${index}`, `${receiver.url}/hooks`).catch(() => null)
    if (answer?.status !== 201) break
    acknowledged.add(answer.id)
  }
  expect(await daemon.exited).toBe(74)
  const { taskIds, integrity } = remainsAt(path)
  expect(integrity).toBe('ok')
  expect([...acknowledged].filter((id) => !taskIds.has(id))).toEqual([])
  const next = await startDaemonProcess(env)
  expect(await readiness(next)).toBe('ready')
})

test('a folder that cannot be written: one line, exit 78', async ({ skip }) => {
  const directory = aSmallDisk(16)
  if (directory === null) return skip('no tmpfs')
  const { env } = await aStage({ directory })
  const remount = (mode: string) => execFileSync('mount', ['-o', `remount,${mode}`, directory])
  remount('ro')
  expect((await runProgram(['serve'], env)).exitCode).toBe(78)
  remount('rw')
  const daemon = await startDaemonProcess(env)
  await daemon.kill('SIGTERM')
  remount('ro')
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(78)
  expect(stderr).toMatch(/cannot be written/)
  expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2)
})

test('whoever read the log has gone: the daemon works on', async () => {
  const { receiver, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  daemon.child.stdout?.destroy()
  daemon.child.stderr?.destroy()
  await registerMany(daemon, 'ok', 30, `${receiver.url}/hooks`)
  await receiver.next(() => toldTasks(receiver).size === 30)
  expect(await daemon.kill('SIGTERM')).toBe(0)
})

test('whoever read the output of a command has gone: it ends quietly', async () => {
  const { env } = await aStage()
  const child = spawn(process.execPath, [PROGRAM, 'config'], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  child.stdout.destroy()
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const [code] = (await once(child, 'close')) as [number | null]
  expect([code, errors]).toEqual([0, ''])
})

test('no file handles left: no attempt is used up by it, and everything arrives', async ({ skip }) => {
  const { receiver, path, env } = await aStage({
    receiving: SLOW,
  })
  // Queries keep their few connections; the handles run out among the deliveries.
  const concurrency = { RINGBACK_ENDPOINT_CONCURRENCY: '64', RINGBACK_POLL_CONCURRENCY: '3' }
  const daemon = await startDaemonProcess({ ...env, ...concurrency })
  if (!limitHandles(daemon.child.pid!, 24)) return skip('no prlimit')
  await registerMany(daemon, 'ok', 40, `${receiver.url}/hooks`)
  await receiver.next(() => toldTasks(receiver).size === 40, 40_000)
  await eventually(() => (remainsAt(path).deliveredEventIds.size === 40 ? true : null))
  const starved = daemon.lines.filter(({ verdict }) => verdict === 'give_back')
  expect(starved.length, 'attempts that found no handle').toBeGreaterThan(0)
  const db = new Database(path, { readonly: true })
  expect(db.prepare('select count(*) from _attempts where verdict <> ?').pluck().get('delivered')).toBe(0)
  expect(db.prepare('select max(attempt_count) from _deliveries').pluck().get()).toBe(1)
  db.close()
  expect(await daemon.kill('SIGTERM')).toBe(0)
})

/** So many more than the process has now: Node itself needs a hundred only to load its modules. */
function limitHandles(pid: number, spareCount: number): boolean {
  const count = readdirSync(`/proc/${pid}/fd`).length + spareCount
  try {
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${count}:${count}`], { stdio: 'pipe' })
    return true
  } catch {
    console.warn('\n!!! NOT TESTED: no file handles left. There is no prlimit here.\n')
    return false
  }
}

test('SIGTERM in the middle of the start: it ends at once, and the next start finds everything', async () => {
  const { receiver, path, env } = await aStage()
  const random = seededRandom(20_260_101)
  for (let round = 0; round < 8; round += 1) {
    const child = spawn(process.execPath, [PROGRAM, 'serve'], {
      env: { PATH: process.env['PATH'], ...env },
      stdio: 'ignore',
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const exited = once(child, 'exit')
    await untilRandomInstant(random, 450)
    child.kill('SIGTERM')
    const [code, signal] = (await exited) as [number | null, string | null]
    // Before the program has read its arguments nobody listens for signals yet, and Node ends by itself.
    expect([0, 'SIGTERM']).toContain(code ?? signal)
  }
  const daemon = await startDaemonProcess(env)
  expect((await register(daemon, 'ok', `${receiver.url}/hooks`)).status).toBe(201)
  await receiver.next(() => true)
  expect(remainsAt(path).integrity).toBe('ok')
})

/** Loaded into the process before the program: there is no switch for it in what we ship. */
function sabotage(code: string): { NODE_OPTIONS: string } {
  const path = join(aDirectory(), 'sabotage.mjs')
  writeFileSync(path, code)
  return { NODE_OPTIONS: `--import=${path}` }
}

test.each([
  ['an exception outside of any work', `setTimeout(() => { throw new Error('sabotaged') }, 10)`],
  ['a promise that nobody awaits', `Promise.reject(new Error('sabotaged'))`],
])('%s ends the process with exit 70, and the next daemon goes on with what was under way', async (_what, harm) => {
  const { receiver, env } = await aStage({ receiving: SLOW })
  const daemon = await spawnDaemon({ ...env, ...sabotage(`process.on('SIGUSR2', () => { ${harm} })`) })
  await registerMany(daemon, 'ok', 10, `${receiver.url}/hooks`)
  await receiver.next(() => true)
  expect(await daemon.kill('SIGUSR2')).toBe(70)
  await startDaemonProcess(env)
  await receiver.next(() => toldTasks(receiver).size === 10)
})

test('the loops fall silent: /livez says so, then exit 70, and the next daemon goes on', async () => {
  const { receiver, env } = await aStage()
  // Nothing that is to run "soon" ever runs: no step is written, no tick ends. Long waits are cut to a twentieth.
  const code = `
    const wait = globalThis.setTimeout
    globalThis.setTimeout = (run, ms, ...rest) => wait(run, ms >= 4_000 && ms <= 60_000 ? ms / 20 : ms, ...rest)
    process.on('SIGUSR2', () => { globalThis.setImmediate = () => ({}) })`
  const daemon = await startDaemonProcess({ ...env, ...sabotage(code) })
  await register(daemon, 'ok', `${receiver.url}/hooks`)
  await receiver.next(() => true)
  daemon.child.kill('SIGUSR2')
  await eventually(async () => ((await daemon.request('/livez')).status === 503 ? true : null))
  expect(await daemon.exited).toBe(70)
  const stalled = daemon.lines.find(({ event }) => event === 'watchdog.stalled')
  expect(stalled?.['silentLoops']).toEqual(expect.arrayContaining(['scheduler', 'dispatcher']))
  const next = await startDaemonProcess(env)
  expect((await register(next, 'ok-2', `${receiver.url}/hooks`)).status).toBe(201)
  await receiver.next(() => toldTasks(receiver).size === 2)
})

/** Two minutes in one instant, by all of its clocks: as after a halt, but nobody has to wait for it. */
const TIME_PASSES = `
  const { now: wall } = Date
  const steady = performance.now.bind(performance)
  process.on('SIGUSR2', () => {
    Date.now = () => wall() + 120_000
    performance.now = () => steady() + 120_000
  })`

test('halted for longer than its leases: what comes late is not recorded beside what came after, and nothing is lost', async () => {
  const { receiver, path, env } = await aStage({ receiving: VERY_SLOW })
  // Room for all of them twice: whatever seems to be free is taken at once.
  const daemon = await startDaemonProcess({ ...env, RINGBACK_ENDPOINT_CONCURRENCY: '64', ...sabotage(TIME_PASSES) })
  await registerMany(daemon, 'ok', 16, `${receiver.url}/hooks`)
  await receiver.next(() => receiver.received.length === 16)
  daemon.child.kill('SIGSTOP')
  daemon.child.kill('SIGUSR2')
  onTestFinished(() => void daemon.child.kill('SIGCONT'))
  daemon.child.kill('SIGCONT')
  await eventually(() => (remainsAt(path).deliveredEventIds.size === 16 ? true : null), 60_000)
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(toldTasks(receiver).size).toBe(16)
  // Those whose leases had ended were sent again, under the same ids; one attempt each was recorded.
  expect(receiver.received.length).toBeGreaterThan(16)
  expect(receiver.received.length).toBeLessThanOrEqual(32)
  expect(new Set(receiver.received.map(({ webhookId }) => webhookId)).size).toBe(16)
  expect(daemon.lines.filter(({ isRecorded }) => isRecorded === false).length).toBeGreaterThan(0)
  const db = new Database(path, { readonly: true })
  expect(db.prepare('select count(*) from _attempts').pluck().get()).toBe(16)
  expect(db.prepare('select max(attempt_count) from _deliveries').pluck().get()).toBe(1)
  db.close()
})

const STILL_MS = 1_000

/** Resolves when `count` has not changed for a second. */
async function untilStill(count: () => number): Promise<void> {
  let last = { count: count(), at: Date.now() }
  await eventually(() => {
    if (count() !== last.count) last = { count: count(), at: Date.now() }
    return Date.now() - last.at > STILL_MS ? true : null
  })
}

test('what stays beside the database is for its owner alone', async ({ skip }) => {
  const directory = aSmallDisk(24)
  if (directory === null) return skip('no tmpfs')
  const { path, env } = await aStage({ directory })
  await startDaemonProcess(env)
  await eventually(() => (existsSync(`${path}.ballast`) ? true : null))
  for (const suffix of ['', '-wal', '-shm', '.ballast']) expect(statSync(`${path}${suffix}`).mode & 0o777).toBe(0o600)
})
