/** The built daemon between a fake Aidge and a receiver that know nothing of its code, with settings from the environment only. */

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Webhook } from 'svix'
import { expect, onTestFinished, test } from 'vitest'
import { startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { startReceiver } from '../../src/sandbox/receiver.ts'
import { type DaemonProcess, startDaemonProcess } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='

type Receiving = Parameters<typeof startReceiver>[0]

async function aStage(life = 'ok-300ms', receiving: Receiving = {}) {
  const sandbox = await startAidgeSandbox({ life })
  const receiver = await startReceiver({ ...receiving, secrets: [SECRET] })
  onTestFinished(async () => {
    await sandbox.close()
    await receiver.close()
  })
  const path = join(aDirectory(), 'ringback.db')
  const env = {
    RINGBACK_DATABASE_URL: `file:${path}`,
    RINGBACK_PORT: '0',
    RINGBACK_SIGNING_SECRET: SECRET,
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_POLL_RATE: '2000',
    RINGBACK_POLL_CONCURRENCY: '64',
    RINGBACK_POLL_INTERVAL_MIN: '200ms',
    RINGBACK_POLL_INTERVAL_MAX: '1s',
    RINGBACK_RETRY_SCHEDULE: '0s,300ms,1s,2s',
    AIDGE_BASE_URL: sandbox.url,
    AIDGE_ACCESS_KEY_NAME: sandbox.credentials.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: sandbox.credentials.accessKeySecret,
  }
  return { sandbox, receiver, path, env }
}

interface TaskBody {
  readonly id: string
  readonly status: string
  readonly eventId: string | null
  readonly pollCount: number
  readonly deliveries: readonly { status: string; attempts: readonly { verdict: string }[] }[]
}

async function register(daemon: DaemonProcess, taskId: string, callbackUrl: string): Promise<TaskBody> {
  const { status, body } = await daemon.request('/v1/tasks', { method: 'POST', body: { taskId, callbackUrl } })
  expect([200, 201]).toContain(status)
  return body as TaskBody
}

async function taskOf(daemon: DaemonProcess, id: string): Promise<TaskBody> {
  return (await daemon.request(`/v1/tasks/${id}`)).body as TaskBody
}

test('a registered task id becomes one signed webhook', async () => {
  const { receiver, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  const task = await register(daemon, 'picture-1', `${receiver.url}/hooks`)
  const hook = await receiver.next((one) => one.isVerified, 60_000)
  // The official library verifies it too, by the machine's own clock.
  new Webhook(SECRET).verify(hook.body, hook.headers as Record<string, string>)
  expect(JSON.parse(hook.body)).toMatchObject({
    type: 'task.succeeded',
    data: { id: task.id, taskId: 'picture-1', partial: false },
  })
  expect(hook.headers['user-agent']).toMatch(/^ringback\/\d/)
  const settled = (await daemon.request(`/v1/tasks/${task.id}?wait=5`)).body as TaskBody
  expect(settled).toMatchObject({ status: 'succeeded', eventId: hook.headers['webhook-id'] })
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(daemon.lines.at(-1)).toMatchObject({ event: 'daemon.stopped' })
})

test('a late subscriber hears of the same event at once, and nobody is asked again', async () => {
  const { sandbox, receiver, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  await register(daemon, 'picture-1', `${receiver.url}/early`)
  const early = await receiver.next((one) => one.path === '/early', 60_000)
  const asked = sandbox.stats().queryCount
  await register(daemon, 'picture-1', `${receiver.url}/late`)
  const late = await receiver.next((one) => one.path === '/late', 60_000)
  expect(late.headers['webhook-id']).toBe(early.headers['webhook-id'])
  expect(late.body).toBe(early.body)
  expect(sandbox.stats().queryCount).toBe(asked)
})

test('two thousand registrations with mixed outcomes become two thousand verified webhooks', async () => {
  const { sandbox, receiver, env } = await aStage('ok-500ms', {
    behave: (request, attemptNumber) =>
      request.path === '/flaky' && attemptNumber === 1
        ? { kind: 'answer', status: 503 }
        : { kind: 'answer', status: 204 },
  })
  const daemon = await startDaemonProcess(env)
  const lives = [
    'ok-100ms',
    'ok-1s',
    'fail-200ms',
    'code-1000',
    'partial-300ms',
    'http-500x1-ok',
    'garbagex1-ok',
    'code-704',
  ]
  const expected = (taskId: string) => (/^(fail|code)/.test(taskId) ? 'task.failed' : 'task.succeeded')
  const ids = Array.from({ length: 2_000 }, (_, index) => `${lives[index % lives.length]}-t${index}`)
  for (let from = 0; from < ids.length; from += 1_000) {
    const tasks = ids.slice(from, from + 1_000).map((taskId, index) => {
      return { taskId, callbackUrl: `${receiver.url}${index % 10 === 0 ? '/flaky' : '/hooks'}` }
    })
    const { status, body } = await daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks } })
    expect(status).toBe(200)
    expect((body as { results: { status: number }[] }).results.every((result) => result.status === 201)).toBe(true)
  }
  await receiver.next(() => receiver.eventIds.size === ids.length, 200_000)
  expect(receiver.received.every((one) => one.isVerified)).toBe(true)
  const told = new Map(
    receiver.received.map(({ body }) => {
      const { type, data } = JSON.parse(body) as { type: string; data: { taskId: string } }
      return [data.taskId, type]
    }),
  )
  expect(told).toEqual(new Map(ids.map((taskId) => [taskId, expected(taskId)])))
  expect(receiver.eventIds.size).toBe(2_000)
  expect(sandbox.stats().maxConcurrentQueriesPerTask).toBe(1)
  expect(await daemon.kill('SIGTERM')).toBe(0)
}, 240_000)

test('kill -9 in the middle loses nothing: every acknowledged task is told, under one webhook-id each', async () => {
  const { receiver, path, env } = await aStage('ok-400ms', {
    behave: () => ({ kind: 'delay', delayMs: 30, next: { kind: 'answer', status: 204 } }),
  })
  const acknowledged: string[] = []
  for (let life = 0; life < 4; life += 1) {
    const daemon = await startDaemonProcess(env)
    for (let index = 0; index < 100; index += 1) {
      acknowledged.push((await register(daemon, `t-${life}-${index}`, `${receiver.url}/hooks`)).id)
    }
    // While polls and deliveries of this life and the last are under way.
    await receiver.next(() => true, 60_000)
    expect(await daemon.kill('SIGKILL')).toBe('SIGKILL')
    const db = new Database(path)
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok')
    db.close()
  }
  const daemon = await startDaemonProcess(env)
  const told = () => new Set(receiver.received.map((one) => (JSON.parse(one.body) as { data: { id: string } }).data.id))
  await receiver.next(() => told().size === acknowledged.length, 60_000)
  expect(told()).toEqual(new Set(acknowledged))
  expect(receiver.eventIds.size).toBe(acknowledged.length)
  const bodies = new Map<string, string>()
  for (const { headers, body } of receiver.received) {
    const id = String(headers['webhook-id'])
    expect(bodies.get(id) ?? body).toBe(body)
    bodies.set(id, body)
  }
  expect((await taskOf(daemon, acknowledged[0]!)).deliveries[0]?.status).toBe('delivered')
  expect(await daemon.kill('SIGTERM')).toBe(0)
})

test('SIGTERM gives back what a slow receiver holds, without costing it an attempt', async () => {
  const { receiver, env } = await aStage('ok', { behave: () => ({ kind: 'hang' }) })
  const settings = { RINGBACK_SHUTDOWN_GRACE: '500ms', RINGBACK_ENDPOINT_CONCURRENCY: '64' }
  const daemon = await startDaemonProcess({ ...env, ...settings })
  const ids: string[] = []
  for (let index = 0; index < 50; index += 1) {
    ids.push((await register(daemon, `picture-${index}`, `${receiver.url}/hooks`)).id)
  }
  await receiver.next(() => receiver.received.length === ids.length, 60_000)
  const before = Date.now()
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(Date.now() - before).toBeLessThan(10_000)
  const again = await startDaemonProcess(env)
  for (const id of ids) {
    const { deliveries } = await taskOf(again, id)
    expect(deliveries).toEqual([expect.objectContaining({ status: 'pending', attempts: [] })])
  }
})

test('a second signal ends at once', async () => {
  const { receiver, env } = await aStage('ok', { behave: () => ({ kind: 'hang' }) })
  const daemon = await startDaemonProcess({ ...env, RINGBACK_SHUTDOWN_GRACE: '30s' })
  await register(daemon, 'picture-1', `${receiver.url}/hooks`)
  await receiver.next(() => true, 60_000)
  const before = Date.now()
  daemon.child.kill('SIGTERM')
  await daemon.logged('daemon.stopping')
  expect(await daemon.kill('SIGTERM')).not.toBe(0)
  expect(Date.now() - before).toBeLessThan(15_000)
})

test('a stranger reads the state with the sqlite3 shell while the daemon runs', async ({ skip }) => {
  try {
    execFileSync('sqlite3', ['--version'])
  } catch {
    skip('no sqlite3 on this machine')
  }
  const { receiver, path, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  await register(daemon, 'picture-1', `${receiver.url}/hooks`)
  await receiver.next((one) => one.isVerified, 60_000)
  const query = 'select t.status, d.attempt_count from tasks t join deliveries d on d.task_id = t.task_id'
  expect(execFileSync('sqlite3', ['-readonly', path, query], { encoding: 'utf8' }).trim()).toMatch(/^succeeded\|[01]$/)
})
