/** What cannot start says so in one line with the right exit code; what cannot be registered says what, which and how. */

import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { type DaemonProcess, runProgram, spawnDaemon, startDaemonProcess } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

function settings(
  overrides: Readonly<Record<string, string>> = {},
  directory: string = aDirectory(),
): Record<string, string> {
  return {
    RINGBACK_DATABASE_URL: `file:${join(directory, 'ringback.db')}`,
    RINGBACK_PORT: '0',
    AIDGE_BASE_URL: 'http://127.0.0.1:9',
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: 'not-a-real-secret',
    ...overrides,
  }
}

const linesOf = (text: string) => text.trim().split('\n')

test('a port in use: one line that names it, exit 78', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void taken.close())
  await once(taken, 'listening')
  const port = String((taken.address() as AddressInfo).port)
  const { exitCode, stderr } = await runProgram(['serve'], settings({ RINGBACK_PORT: port }))
  expect(exitCode).toBe(78)
  expect(stderr).toContain(`RINGBACK_PORT`)
  expect(stderr).toContain(port)
  expect(stderr).not.toContain('    at ')
})

test('all bad settings at once, each with what was expected and what was given, exit 78', async () => {
  const { exitCode, stderr } = await runProgram(
    ['serve'],
    settings({ RINGBACK_POLL_RATE: 'fast', RINGBACK_RETENTION: 'soon', RINGBACK_POLL_CONCURENCY: '3' }),
  )
  expect(exitCode).toBe(78)
  for (const part of [
    'RINGBACK_POLL_RATE',
    '"fast"',
    'RINGBACK_RETENTION',
    '"soon"',
    'RINGBACK_POLL_CONCURENCY',
    'RINGBACK_POLL_CONCURRENCY',
  ]) {
    expect(stderr).toContain(part)
  }
})

test('a missing credential is a bad setting', async () => {
  const env = settings()
  delete env['AIDGE_ACCESS_KEY_SECRET']
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(78)
  expect(stderr).toContain('AIDGE_ACCESS_KEY_SECRET')
})

test('a file that is no database, a folder in its place, a missing folder: exit 78', async () => {
  const directory = aDirectory()
  writeFileSync(join(directory, 'junk.db'), 'x'.repeat(5_000))
  mkdirSync(join(directory, 'folder.db'))
  for (const file of ['junk.db', 'folder.db', 'none/ringback.db']) {
    const { exitCode, stderr } = await runProgram(
      ['serve'],
      settings({ RINGBACK_DATABASE_URL: `file:${join(directory, file)}` }),
    )
    expect(exitCode, file).toBe(78)
    expect(linesOf(stderr).length, stderr).toBeLessThanOrEqual(2)
  }
})

test('a newer schema: exit 78 in words', async () => {
  const env = settings()
  const daemon = await startDaemonProcess(env)
  await daemon.kill('SIGTERM')
  const db = new Database(env['RINGBACK_DATABASE_URL']!.slice('file:'.length))
  db.exec(`insert into _migrations (hash, created_at) values ('from the future', 9999999999999)`)
  db.close()
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(78)
  expect(stderr).toContain('newer ringback')
})

test('a second daemon on one database: exit 3 within a second or two, naming the holder', async () => {
  const env = settings()
  const daemon = await startDaemonProcess(env)
  const { exitCode, stderr } = await runProgram(['serve'], env)
  expect(exitCode).toBe(3)
  expect(stderr).toContain(`pid ${daemon.child.pid}`)
  expect((await daemon.request('/readyz')).status).toBe(200)
})

let daemon: DaemonProcess

beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ringback-refusals-'))
  daemon = await spawnDaemon(settings({ RINGBACK_DATABASE_URL: `file:${join(directory, 'ringback.db')}` }, directory))
  return async () => {
    await daemon.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  }
})

test.each<[string, unknown, number, string]>([
  ['an id with spaces', { taskId: 'a b', callbackUrl: 'https://shop.example/' }, 422, '/taskId'],
  ['an id with NUL', { taskId: 'a\0b', callbackUrl: 'https://shop.example/' }, 422, '/taskId'],
  ['an id with an emoji', { taskId: '🐈', callbackUrl: 'https://shop.example/' }, 422, '/taskId'],
  ['an id of 300 characters', { taskId: 'x'.repeat(300), callbackUrl: 'https://shop.example/' }, 422, '/taskId'],
  ['an id that is a number', { taskId: 17, callbackUrl: 'https://shop.example/' }, 422, '/taskId'],
  ['a private callback', { taskId: 'a', callbackUrl: 'https://10.0.0.1/' }, 422, '/callbackUrl'],
  ['a metadata address', { taskId: 'a', callbackUrl: 'http://169.254.169.254/latest' }, 422, '/callbackUrl'],
  ['userinfo', { taskId: 'a', callbackUrl: 'https://me:secret@shop.example/' }, 422, '/callbackUrl'],
  ['ftp', { taskId: 'a', callbackUrl: 'ftp://shop.example/' }, 422, '/callbackUrl'],
  ['an unknown kind', { taskId: 'a', kind: 'virtual-modell', callbackUrl: 'https://shop.example/' }, 422, '/kind'],
  ['an unknown field', { taskId: 'a', callbackUrl: 'https://shop.example/', callback: 'x' }, 422, '/callback'],
])('%s is refused, naming field, value and remedy', async (_what, body, status, pointer) => {
  const answer = await daemon.request('/v1/tasks', { method: 'POST', body })
  expect(answer.status).toBe(status)
  expect(answer.body).toMatchObject({ status, errors: [expect.objectContaining({ pointer })] })
  expect(JSON.stringify(answer.body)).not.toContain('me:secret')
})

test('not JSON, a megabyte, a wrong token, a wrong content type', async () => {
  const post = (body: string, headers: Record<string, string> = {}) =>
    fetch(`${daemon.url}/v1/tasks`, {
      method: 'POST',
      headers: { authorization: 'Bearer test-token-0123456789', 'content-type': 'application/json', ...headers },
      body,
    })
  expect((await post('{')).status).toBe(400)
  expect((await post(JSON.stringify({ taskId: 'x'.repeat(1_000_000) }))).status).toBe(413)
  expect((await post('{}', { authorization: 'Bearer wrong' })).status).toBe(401)
  expect((await post('{}', { 'content-type': 'text/plain' })).status).toBe(415)
  expect((await post('{}')).headers.get('content-type')).toContain('application/problem+json')
})

test('a duplicate and bad items of a bulk call are told; the rest still goes in', async () => {
  const good = { taskId: 'bulk-1', callbackUrl: 'https://shop.example/' }
  const tasks = [
    good,
    { ...good },
    { taskId: 'bulk 2', callbackUrl: 'https://shop.example/' },
    { taskId: 'bulk-3', callbackUrl: 'https://10.1.2.3/' },
    { taskId: 'bulk-4', callbackUrl: 'https://shop.example/' },
  ]
  const { status, body } = await daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks } })
  expect(status).toBe(200)
  expect((body as { results: { status: number }[] }).results.map((result) => result.status)).toEqual([
    201, 422, 422, 422, 201,
  ])
})

test('too few file handles to load the program: exit 78, and how to raise the limit', async () => {
  const starting = spawnDaemon(settings(), undefined, { prelude: 'ulimit -n 64' })
  await expect(starting).rejects.toThrow(/ended with 78: ringback: EMFILE.*remedy: .*ulimit -n/s)
})
