/** The commands that talk to a daemon: what they ask, what they print, how they end. */

import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { urlOf } from '../../src/cli/client.ts'
import { type ApiStub, type Asked, aDelivery, aTask, problem, startApiStub, TOKEN } from './api-stub.ts'
import { command, inFolder } from './console.ts'

const folder = inFolder()
let stub: ApiStub | null = null
afterEach(async () => {
  await stub?.close()
  stub = null
})

type Routes = Parameters<typeof startApiStub>[0]

async function ask(
  argv: readonly string[],
  routes: Routes,
  options: { env?: Record<string, string>; stdin?: string[] } = {},
) {
  stub = await startApiStub(routes)
  const env = { RINGBACK_URL: stub.url, RINGBACK_API_TOKEN: TOKEN, ...options.env }
  const ended = await command(argv, { env, stdin: options.stdin ?? [] })
  return { ...ended, asked: stub.asked }
}

function page(items: readonly object[], nextCursor: string | null = null) {
  return { status: 200, body: { items, nextCursor } }
}

describe('how a command ends', () => {
  test('3 when no daemon can be reached', async () => {
    const { exitCode, stdout, stderr } = await command(['tasks', 'list'], {
      env: { RINGBACK_URL: 'http://127.0.0.1:1' },
    })
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' })
    expect(stderr).toContain('http://127.0.0.1:1 (ECONNREFUSED)')
    expect(stderr).toContain('remedy: start it with `ringback serve`')
  })

  test('3 when something else answers', async () => {
    const server = createServer((_, response) => response.end('<html>hello</html>'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const env = { RINGBACK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
    const { exitCode, stderr } = await command(['health'], { env })
    server.closeAllConnections()
    server.close()
    expect(exitCode).toBe(3)
    expect(stderr).toContain('is not Ringback')
  })

  test('6 with a wrong token', async () => {
    const { exitCode, stderr } = await ask(['tasks', 'list'], {}, { env: { RINGBACK_API_TOKEN: 'wrong' } })
    expect(exitCode).toBe(6)
    expect(stderr).toContain('remedy: set RINGBACK_API_TOKEN to the token of this daemon')
    expect(stderr).not.toContain('wrong"')
  })

  test('4 when there is no such thing', async () => {
    const { exitCode } = await ask(['tasks', 'show', 'task_nope'], {})
    expect(exitCode).toBe(4)
  })

  test.each([
    [409, 'conflict', 1],
    [422, 'invalid', 2],
    [429, 'throttled', 1],
    [500, 'internal', 1],
    [503, 'unavailable', 1],
    [507, 'disk_full', 74],
  ])('%d %s is exit %d', async (status, code, expected) => {
    const { exitCode, stderr } = await ask(['deliveries', 'redeliver', 'dlv_1'], {
      'POST /v1/deliveries/dlv_1/redeliver': () => problem(status, code, 'This is why.'),
    })
    expect(exitCode).toBe(expected)
    expect(stderr).toContain('ringback: This is why.\n')
  })
})

describe('the token', () => {
  test('comes from the file beside the database when none is set', async () => {
    writeFileSync(join(folder(), 'r.db.token'), `${TOKEN}\n`)
    const env = { RINGBACK_API_TOKEN: '', RINGBACK_DATABASE_URL: `file:${join(folder(), 'r.db')}` }
    const { exitCode } = await ask(['tasks', 'list'], { 'GET /v1/tasks': () => page([]) }, { env })
    expect(exitCode).toBe(0)
  })

  test('of this machine’s daemon is not shown to another host', async () => {
    writeFileSync(join(folder(), 'r.db.token'), `${TOKEN}\n`)
    const api = await startApiStub({ 'GET /v1/tasks': () => page([]) })
    // Reaches the same stub, under a name that is not loopback.
    const url = api.url.replace('127.0.0.1', '0.0.0.0')
    const database = `file:${join(folder(), 'r.db')}`
    const { exitCode } = await command(['tasks', 'list'], {
      env: { RINGBACK_URL: url, RINGBACK_DATABASE_URL: database },
    })
    const { asked } = api
    await api.close()
    expect(asked.map(({ authorization }) => authorization)).toEqual([undefined])
    expect(exitCode).toBe(6)
  })

  test('is not sent at all when there is none', async () => {
    const env = { RINGBACK_API_TOKEN: '', RINGBACK_DATABASE_URL: `file:${join(folder(), 'r.db')}` }
    const { exitCode, asked, stderr } = await ask(['tasks', 'list'], {}, { env })
    expect(asked[0]?.authorization).toBeUndefined()
    expect(exitCode).toBe(6)
    expect(stderr).toContain('RINGBACK_DATABASE_URL')
  })
})

test.each([
  [{ url: '', host: '127.0.0.1', port: 7464 }, 'http://127.0.0.1:7464'],
  [{ url: '', host: '0.0.0.0', port: 1 }, 'http://127.0.0.1:1'],
  [{ url: '', host: '::', port: 1 }, 'http://[::1]:1'],
  [{ url: '', host: 'fd00::1', port: 1 }, 'http://[fd00::1]:1'],
  [{ url: 'https://rb.example', host: '::', port: 1 }, 'https://rb.example'],
])('the daemon of %j is looked for at %s', (config, url) => {
  expect(urlOf(config)).toBe(url)
})

describe('tasks add', () => {
  const created = ({ body }: Asked) => ({ status: 201, body: aTask(body as Record<string, unknown>) })

  test('one task is registered with everything that was said of it', async () => {
    const flags = [
      '--callback-url',
      'https://h/x',
      '--kind',
      'virtual-tryon',
      '--metadata',
      '{"order":1180}',
      '--deadline',
      '2h',
    ]
    const more = ['--submitted-at', '2026-11-22T10:00:00Z']
    const { exitCode, stdout, stderr, asked } = await ask(['tasks', 'add', '9f2c', ...flags, ...more], {
      'POST /v1/tasks': created,
    })
    expect(exitCode).toBe(0)
    expect(asked[0]?.body).toEqual({
      taskId: '9f2c',
      callbackUrl: 'https://h/x',
      kind: 'virtual-tryon',
      metadata: { order: 1180 },
      deadline: '2h',
      submittedAt: '2026-11-22T10:00:00Z',
    })
    expect(stdout).toMatch(/task_01a +9f2c +new +pending/)
    expect(stderr).toBe('1 new, 0 known already, 0 refused\n')
  })

  test('one that is refused decides the exit code', async () => {
    const { exitCode, stdout, stderr } = await ask(['tasks', 'add', 'x', '--callback-url', 'ftp://h'], {
      'POST /v1/tasks': () =>
        problem(422, 'invalid', 'callbackUrl: use https', [
          { pointer: '/callbackUrl', code: 'x', message: 'use https' },
        ]),
    })
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toMatch(/^ringback: callbackUrl: use https\n {2}remedy: /)
  })

  test('several go in bulk, and a bad one stops no other', async () => {
    const { exitCode, stdout, stderr, asked } = await ask(['tasks', 'add', 'a', 'b', 'c', '--endpoint', 'ep_1'], {
      'POST /v1/tasks/bulk': () => ({
        status: 200,
        body: {
          results: [
            { status: 201, task: aTask({ taskId: 'a' }) },
            { status: 422, problem: problem(422, 'invalid', 'taskId: no good').body },
            { status: 200, task: aTask({ taskId: 'c' }) },
          ],
        },
      }),
    })
    expect(asked[0]?.body).toEqual({ tasks: ['a', 'b', 'c'].map((taskId) => ({ endpointId: 'ep_1', taskId })) })
    expect(stdout).toMatch(/ a +new /)
    expect(stdout).toMatch(/ c +known /)
    expect(stderr).toBe('ringback: b: taskId: no good\n1 new, 1 known already, 1 refused\n')
    expect(exitCode).toBe(1)
  })

  test('stdin has ids and objects, one a line, and a bad line is told by its number', async () => {
    const stdin = ['b1\n\n{"taskId":"b2","metad', 'ata":{"n":1}}\r\n{oops\n{"taskId":12345678901234567890}\nb3']
    const { exitCode, asked, stderr } = await ask(
      ['tasks', 'add', '-', '--callback-url', 'https://h/x'],
      {
        'POST /v1/tasks/bulk': ({ body }) => ({
          status: 200,
          body: { results: (body as { tasks: object[] }).tasks.map((task) => ({ status: 201, task })) },
        }),
      },
      { stdin },
    )
    const callbackUrl = 'https://h/x'
    expect(asked[0]?.body).toEqual({
      tasks: [
        { callbackUrl, taskId: 'b1' },
        { callbackUrl, taskId: 'b2', metadata: { n: 1 } },
        { callbackUrl, taskId: 'b3' },
      ],
    })
    expect(stderr).toContain('line 4: expected a task id or a JSON object')
    expect(stderr).toContain('line 5: put quotes around the taskId')
    expect(stderr).toContain('3 new, 0 known already, 2 refused')
    expect(exitCode).toBe(1)
  })
})

describe('tasks list', () => {
  test('asks with the filters and prints a row for each', async () => {
    const argv = ['tasks', 'list', '--status', 'pending', '--kind', 'k', '--task-id', 'up-1', '--limit', '2']
    const { exitCode, stdout, stderr, asked } = await ask(argv, {
      'GET /v1/tasks': () => page([aTask(), aTask({ id: 'task_01b', taskId: 'evil\u001b[2J\u009b1m' })], 'next'),
    })
    expect(exitCode).toBe(0)
    expect(asked[0]?.query).toEqual({ status: 'pending', kind: 'k', taskId: 'up-1', limit: '2' })
    expect(stdout.split('\n')).toHaveLength(4)
    expect(stdout).toMatch(/^TASK +TASK ID +KIND +STATUS/)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: their absence is the point
    expect(stdout).not.toMatch(/[\u001b\u009b]/)
    expect(stderr).toContain('--all shows the rest too')
  })

  test('--all follows the pages, with one title', async () => {
    const { stdout, asked } = await ask(['tasks', 'list', '--all'], {
      'GET /v1/tasks': ({ query }) =>
        query['cursor'] === undefined ? page([aTask({ id: 'task_1' })], 'c2') : page([aTask({ id: 'task_2' })]),
    })
    expect(asked.map(({ query }) => query['cursor'])).toEqual([undefined, 'c2'])
    expect(stdout.match(/TASK ID/g)).toHaveLength(1)
    expect(stdout).toMatch(/task_1[^\n]*\ntask_2/)
  })

  test('--json is one object a line, and nothing a terminal could act on', async () => {
    const tasks = [aTask(), aTask({ taskId: 'x\u009b2J' })]
    const { stdout } = await ask(['tasks', 'list', '--json'], { 'GET /v1/tasks': () => page(tasks) })
    expect(stdout).not.toContain('\u009b')
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(tasks)
  })

  test('nothing is an empty stdout and a word on stderr', async () => {
    const { exitCode, stdout, stderr } = await ask(['tasks', 'list'], { 'GET /v1/tasks': () => page([]) })
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: '', stderr: 'nothing matches\n' })
  })
})

describe('tasks show', () => {
  const settled = aTask({
    status: 'succeeded',
    outcome: { partial: true, images: [{ url: 'http://i/1.png?sign=x' }], error: null },
    deliveries: [
      aDelivery({
        attempts: [{ attemptNumber: 1, startedAt: 't', durationMs: 12.4, statusCode: 503, verdict: 'retry' }],
      }),
    ],
  })

  test('by our id', async () => {
    const { stdout, asked } = await ask(['tasks', 'show', 'task_01a'], {
      'GET /v1/tasks/task_01a': () => ({ status: 200, body: settled }),
    })
    expect(asked).toHaveLength(1)
    expect(stdout).toMatch(/^id +task_01a\n/)
    expect(stdout).toContain('http://i/1.png?sign=x')
    expect(stdout).toMatch(/1 +t +12 ms +503 +retry +-/)
  })

  test("by Aidge's id, and --json gives what came, digit for digit", async () => {
    const text = '{"id":"task_01a","metadata":{"n":12345678901234567890}}'
    const { stdout, asked } = await ask(['tasks', 'show', 'up-1', '--json'], {
      'GET /v1/tasks': () => page([aTask()]),
      'GET /v1/tasks/task_01a': () => ({ status: 200, body: text }),
    })
    expect(asked[0]?.query).toEqual({ taskId: 'up-1' })
    expect(stdout).toBe(`${text}\n`)
  })

  test('4 when Aidge’s id is not known, 2 when several kinds use it', async () => {
    expect((await ask(['tasks', 'show', 'up-1'], { 'GET /v1/tasks': () => page([]) })).exitCode).toBe(4)
    await stub?.close()
    const twice = page([aTask(), aTask({ id: 'task_01b', kind: 'virtual-tryon' })])
    const { exitCode, stderr } = await ask(['tasks', 'show', 'up-1'], { 'GET /v1/tasks': () => twice })
    expect(exitCode).toBe(2)
    expect(stderr).toContain('virtual-model-generation, virtual-tryon')
  })
})

test('tasks cancel finds the task and cancels it', async () => {
  const { exitCode, stdout, asked } = await ask(['tasks', 'cancel', 'up-1', '--kind', 'k'], {
    'GET /v1/tasks': () => page([aTask()]),
    'POST /v1/tasks/task_01a/cancel': () => ({ status: 200, body: aTask({ status: 'canceled' }) }),
  })
  expect(exitCode).toBe(0)
  expect(asked[0]?.query).toEqual({ taskId: 'up-1', kind: 'k' })
  expect(stdout).toContain('canceled')
})

describe('deliveries', () => {
  test('list asks with the filters and leaves out the query of a callback', async () => {
    const argv = ['deliveries', 'list', '--status', 'exhausted', '--endpoint', 'ep_1', '--task', 'task_01a']
    const { exitCode, stdout, asked } = await ask(argv, { 'GET /v1/deliveries': () => page([aDelivery()]) })
    expect(exitCode).toBe(0)
    expect(asked[0]?.query).toEqual({ status: 'exhausted', endpointId: 'ep_1', taskId: 'task_01a', limit: '50' })
    expect(stdout).toMatch(/dlv_01a +task\.succeeded +task_01a +https:\/\/h\/x +exhausted +10 +503 +-/)
    expect(stdout).not.toContain('of-the-receiver')
  })

  test('redeliver queues one attempt', async () => {
    const { exitCode, stdout, stderr } = await ask(['deliveries', 'redeliver', 'dlv_01a'], {
      'POST /v1/deliveries/dlv_01a/redeliver': () => ({ status: 202, body: aDelivery({ status: 'pending' }) }),
    })
    expect(exitCode).toBe(0)
    expect(stdout).toContain('pending')
    expect(stderr).toContain('queued')
  })
})

describe('health', () => {
  test('0 when the daemon is ready, without a token', async () => {
    const { exitCode, stdout, stderr } = await ask(
      ['health'],
      { 'GET /readyz': () => ({ status: 200, body: { status: 'ok', version: '1' } }) },
      { env: { RINGBACK_API_TOKEN: '', RINGBACK_DATABASE_URL: `file:${folder()}/r.db` } },
    )
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: 'ok\n', stderr: '' })
  })

  test('1 when it is not, with the reason; --json still prints what came', async () => {
    const { exitCode, stdout, stderr } = await ask(['health', '--json'], {
      'GET /readyz': () => problem(503, 'unavailable', 'the disk is full.'),
    })
    expect(exitCode).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ status: 503 })
    expect(stderr).toContain('not ready: the disk is full.')
  })
})
