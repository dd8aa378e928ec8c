/** The built daemon tells its operator of itself: a signed webhook that the official library verifies. */

import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Webhook } from 'standardwebhooks'
import { expect, onTestFinished, test } from 'vitest'
import { startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { startReceiver } from '../../src/sandbox/receiver.ts'
import { runProgram, startDaemonProcess } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='

async function aStage() {
  const sandbox = await startAidgeSandbox({ life: 'ok-100ms' })
  const receiver = await startReceiver({
    secrets: [SECRET],
    behave: ({ path }) => ({ kind: 'answer', status: path === '/gone' ? 410 : 204 }),
  })
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
    RINGBACK_POLL_INTERVAL_MIN: '200ms',
    RINGBACK_OPERATOR_URL: `${receiver.url}/operator?key=canary`,
    AIDGE_BASE_URL: sandbox.url,
    AIDGE_ACCESS_KEY_NAME: sandbox.credentials.accessKeyName,
    AIDGE_ACCESS_KEY_SECRET: sandbox.credentials.accessKeySecret,
  }
  return { receiver, path, env }
}

test('a 410 reaches the operator as a signed endpoint.disabled, and shows in the log, the API and the views', async () => {
  const { receiver, path, env } = await aStage()
  const daemon = await startDaemonProcess(env)
  const body = { taskId: 'picture-1', callbackUrl: `${receiver.url}/gone` }
  await daemon.request('/v1/tasks', { method: 'POST', body })
  const hook = await receiver.next((one) => one.path.startsWith('/operator'), 60_000)
  new Webhook(SECRET).verify(hook.body, hook.headers as Record<string, string>)
  expect(JSON.parse(hook.body)).toMatchObject({ type: 'endpoint.disabled', data: { reason: 'gone', name: null } })

  await daemon.logged('endpoint.disabled')
  expect(daemon.lines.filter(({ event }) => event === 'endpoint.disabled')).toHaveLength(1)
  expect(JSON.stringify(daemon.lines)).not.toContain('canary')
  const id = String(hook.headers['webhook-id'])
  expect((await daemon.request(`/v1/events/${id}`)).body).toMatchObject({
    id,
    taskId: null,
    body: JSON.parse(hook.body),
  })
  const { items } = (await daemon.request('/v1/endpoints')).body as { items: Record<string, unknown>[] }
  expect(items.map(({ isOperator, status }) => ({ isOperator, status }))).toEqual(
    expect.arrayContaining([
      { isOperator: true, status: 'enabled' },
      { isOperator: false, status: 'disabled' },
    ]),
  )
  const db = new Database(path, { readonly: true })
  onTestFinished(() => void db.close())
  expect(db.prepare('select type from events where task is null').pluck().all()).toEqual(['endpoint.disabled'])
  expect(db.prepare('select sum(is_operator) from endpoint_health').pluck().get()).toBe(1)
  expect(await daemon.kill('SIGTERM')).toBe(0)

  // Without the setting there is no operator any more.
  const again = await startDaemonProcess({ ...env, RINGBACK_OPERATOR_URL: '' })
  const after = (await again.request('/v1/endpoints')).body as { items: Record<string, unknown>[] }
  expect(after.items.every(({ isOperator }) => isOperator === false)).toBe(true)
})

test('an operator URL that no callback may have is a bad setting: exit 78, and the URL is not shown', async () => {
  const { env } = await aStage()
  for (const url of ['http://169.254.169.254/?key=canary', 'https://user:canary@hooks.example/', 'not a url canary']) {
    const { exitCode, stderr, stdout } = await runProgram(['serve'], { ...env, RINGBACK_OPERATOR_URL: url })
    expect(exitCode).toBe(78)
    expect(stderr).toContain('RINGBACK_OPERATOR_URL')
    expect(stderr + stdout).not.toContain('canary')
  }
})
