/** The commands for endpoints, deliveries and jobs: what they ask, what they print, how they end. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type ApiStub, type Asked, aDelivery, aTask, problem, startApiStub, TOKEN } from './api-stub.ts'
import { command, inFolder } from './console.ts'

const folder = inFolder()
let stub: ApiStub | null = null
afterEach(async () => {
  await stub?.close()
  stub = null
})

const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='

async function ask(argv: readonly string[], routes: Parameters<typeof startApiStub>[0], stdin: string[] = []) {
  stub = await startApiStub(routes)
  const ended = await command(argv, { env: { RINGBACK_URL: stub.url, RINGBACK_API_TOKEN: TOKEN }, stdin })
  return { ...ended, asked: stub.asked }
}

const page = (...items: object[]) => ({ status: 200, body: { items, nextCursor: null } })

function anEndpoint(fields: object = {}) {
  return {
    id: 'ep_01a',
    url: 'https://h/x?key=of-the-receiver',
    name: 'shop',
    status: 'enabled',
    disabledReason: null,
    secrets: [{ createdAt: '2026-11-22T10:00:00.000Z', expiresAt: null }],
    createdAt: '2026-11-22T10:00:00.000Z',
    updatedAt: '2026-11-22T10:00:00.000Z',
    ...fields,
  }
}

function aJob(fields: object = {}) {
  return {
    id: 'job_01a',
    status: 'running',
    endpointId: 'ep_01a',
    deliveryStatus: 'exhausted',
    since: '2026-11-22T10:00:00.000Z',
    until: null,
    eventType: null,
    totalCount: 100,
    queuedCount: 40,
    createdAt: '2026-11-22T12:00:00.000Z',
    finishedAt: null,
    ...fields,
  }
}

describe('endpoints add', () => {
  const made = {
    'POST /v1/endpoints': ({ body }: Asked) => ({
      status: 201,
      body: anEndpoint({ ...(body as object), secret: SECRET }),
    }),
  }

  test('asks for what was said, and shows the secret on stdout', async () => {
    const flags = [
      '--name',
      'shop',
      '--event-type',
      'task.failed',
      '--rate',
      '2.5',
      '--concurrency',
      '3',
      '--asymmetric',
    ]
    const { exitCode, stdout, stderr, asked } = await ask(['endpoints', 'add', 'https://h/x', ...flags], made)
    expect(exitCode).toBe(0)
    const limits = { eventTypes: ['task.failed'], rate: 2.5, concurrency: 3, asymmetric: true }
    expect(asked[0]?.body).toEqual({ url: 'https://h/x', name: 'shop', ...limits })
    expect(stdout).toMatch(new RegExp(`^secret +${SECRET}$`, 'm'))
    expect(stderr).toBe('keep the secret now: it is not shown again\n')
  })

  test('without a URL makes one whose receiver comes and asks', async () => {
    const { asked, stdout } = await ask(['endpoints', 'add', '--json'], made)
    expect(asked[0]?.body).toEqual({ url: null })
    expect(JSON.parse(stdout)).toMatchObject({ id: 'ep_01a', secret: SECRET })
  })

  test('takes a secret from a file or stdin, and never as a flag', async () => {
    const path = join(folder(), 'secret')
    writeFileSync(path, `${SECRET}\n`)
    const fromFile = await ask(['endpoints', 'add', 'https://h/x', '--secret-file', path], made)
    expect(fromFile.asked[0]?.body).toMatchObject({ secret: SECRET })
    await stub?.close()
    const fromStdin = await ask(['endpoints', 'add', 'https://h/x', '--secret-file', '-'], made, [`${SECRET}\n`])
    expect(fromStdin.asked[0]?.body).toMatchObject({ secret: SECRET })
    await stub?.close()
    const { exitCode, stderr } = await ask(['endpoints', 'add', 'https://h/x', `--secret=${SECRET}`], made)
    expect(exitCode).toBe(2)
    expect(stderr).not.toContain(SECRET)
  })

  test.each([
    ['--rate', 'fast'],
    ['--concurrency', ''],
  ])('%s %j is exit 2', async (flag, value) => {
    const { exitCode, asked } = await ask(['endpoints', 'add', 'https://h/x', flag, value], made)
    expect([exitCode, asked]).toEqual([2, []])
  })
})

describe('which endpoint', () => {
  const routes = {
    'GET /v1/endpoints': () =>
      page(
        anEndpoint(),
        anEndpoint({ id: 'ep_02b', name: 'twin' }),
        anEndpoint({ id: 'ep_03c', name: 'twin', url: null }),
      ),
    'GET /v1/endpoints/ep_01a': () => ({ status: 200, body: anEndpoint() }),
  }

  test.each(['ep_01a', 'shop'])('is named by %s', async (which) => {
    const { exitCode, stdout } = await ask(['endpoints', 'show', which], routes)
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/^id +ep_01a$/m)
  })

  test('that nobody has is exit 4, and a name that two have is exit 2', async () => {
    expect((await ask(['endpoints', 'show', 'nobody'], routes)).exitCode).toBe(4)
    await stub?.close()
    const { exitCode, stderr } = await ask(['endpoints', 'show', 'twin'], routes)
    expect(exitCode).toBe(2)
    expect(stderr).toContain('ep_02b, ep_03c')
  })

  test('lists never show the query of a URL, which may be a secret', async () => {
    const { stdout } = await ask(['endpoints', 'list'], { 'GET /v1/endpoints': () => page(anEndpoint()) })
    expect(stdout).toContain('https://h/x')
    expect(stdout).not.toContain('of-the-receiver')
  })
})

describe('endpoints test', () => {
  const answers = (body: object) => ({ 'POST /v1/endpoints/ep_01a/test': () => ({ status: 200, body }) })

  test('exit 0 when the receiver answers 2xx, with how long each part took', async () => {
    const timings = { dnsMs: 4, connectMs: 11, tlsMs: null, answerMs: 31 }
    const ok = answers({ ok: true, status: 204, summary: 'HTTP 204', remedy: null, timings })
    const { exitCode, stdout } = await ask(['endpoints', 'test', 'ep_01a'], ok)
    expect(exitCode).toBe(0)
    expect(stdout).toBe('result  ok\nanswer  HTTP 204\ntook    dns 4 ms · connect 11 ms · answer 31 ms\n')
  })

  test('exit 1 when not, with a remedy; and nothing in an answer reaches the terminal as a command', async () => {
    const remedy = 'the receiver may verify parsed JSON'
    const bad = answers({ ok: false, status: 401, summary: 'HTTP 401', remedy, responseExcerpt: '\u001b[2Jno' })
    const { exitCode, stdout } = await ask(['endpoints', 'test', 'ep_01a', '--type', 'task.failed'], bad)
    expect(exitCode).toBe(1)
    expect(stdout).toMatch(/^result +failed$/m)
    expect(stdout).toContain(`remedy  ${remedy}`)
    expect(stdout).not.toContain('\u001b')
    expect(stub?.asked[0]?.body).toEqual({ type: 'task.failed' })
  })

  test('an answer with fewer fields than expected is still told', async () => {
    const { exitCode, stdout } = await ask(['endpoints', 'test', 'ep_01a'], answers({ status: 500 }))
    expect([exitCode, stdout]).toEqual([1, 'result  failed\nanswer  500\n'])
  })
})

describe('trigger', () => {
  test('sends an event of its type to an endpoint, and ends as its receiver answered', async () => {
    for (const [ok, code] of [
      [true, 0],
      [false, 1],
    ] as const) {
      const answer = { ok, summary: 'HTTP 204', timings: {} }
      const { exitCode, asked } = await ask(['trigger', 'task.expired', 'shop'], {
        'GET /v1/endpoints': () => page(anEndpoint()),
        'POST /v1/endpoints/ep_01a/test': () => ({ status: 200, body: answer }),
      })
      expect([exitCode, asked.at(-1)?.body]).toEqual([code, { type: 'task.expired' }])
      await stub?.close()
    }
  })

  test('of a type that there is not names those that there are, and asks nobody', async () => {
    const { exitCode, stderr, asked } = await ask(['trigger', 'task.canceled', 'ep_01a'], {})
    expect([exitCode, asked]).toEqual([2, []])
    expect(stderr).toContain('task.succeeded')
  })
})

test.each(['pause', 'resume'] as const)('endpoints %s', async (verb) => {
  const { exitCode, stdout } = await ask(['endpoints', verb, 'ep_01a', '--json'], {
    [`POST /v1/endpoints/ep_01a/${verb}`]: () => ({ status: 200, body: anEndpoint({ status: verb }) }),
  })
  expect([exitCode, JSON.parse(stdout).status]).toEqual([0, verb])
})

test('endpoints rotate-secret says how long the old one stays', async () => {
  const { asked, stdout } = await ask(['endpoints', 'rotate-secret', 'ep_01a', '--overlap', '1h'], {
    'POST /v1/endpoints/ep_01a/rotate-secret': () => ({ status: 200, body: anEndpoint({ secret: SECRET }) }),
  })
  expect(asked[0]?.body).toEqual({ overlap: '1h' })
  expect(stdout).toContain(SECRET)
})

describe('endpoints recover', () => {
  test('begins a job and says how to follow it', async () => {
    const argv = ['endpoints', 'recover', 'ep_01a', '--since', '24h', '--until', '1h']
    const { exitCode, asked, stdout, stderr } = await ask(argv, {
      'POST /v1/endpoints/ep_01a/recover': () => ({ status: 202, body: aJob() }),
    })
    expect(exitCode).toBe(0)
    expect(asked[0]?.body).toEqual({ since: '24h', until: '1h' })
    expect(stdout).toContain('40 of 100')
    expect(stderr).toContain('ringback jobs show job_01a')
  })

  test('as a dry run prints the count alone', async () => {
    const { asked, stdout } = await ask(['endpoints', 'recover', 'ep_01a', '--since', '24h', '--dry-run'], {
      'POST /v1/endpoints/ep_01a/recover': () => ({ status: 200, body: { dryRun: true, totalCount: 42 } }),
    })
    expect(asked[0]?.body).toEqual({ since: '24h', dryRun: true })
    expect(stdout).toBe('42\n')
  })

  test('without --since is exit 2', async () => {
    expect(await ask(['endpoints', 'recover', 'ep_01a'], {})).toMatchObject({ exitCode: 2, asked: [] })
  })
})

describe('endpoints remove', () => {
  test('deletes it', async () => {
    const routes = { 'DELETE /v1/endpoints/ep_01a': () => ({ status: 204, body: '' }) }
    const { exitCode, stdout, asked } = await ask(['endpoints', 'remove', 'ep_01a', '--drop-backlog', '--json'], routes)
    expect([exitCode, JSON.parse(stdout)]).toEqual([0, { id: 'ep_01a', status: 'deleted' }])
    expect(asked[0]?.query).toEqual({ backlog: 'drop' })
  })

  test('says what is in the way, exit 1', async () => {
    const detail = '3 deliveries are pending for ep_01a.'
    const { exitCode, stderr, asked } = await ask(['endpoints', 'remove', 'ep_01a'], {
      'DELETE /v1/endpoints/ep_01a': () => problem(409, 'conflict', detail),
    })
    expect(exitCode).toBe(1)
    expect(stderr).toContain(detail)
    expect(asked[0]?.query).toEqual({})
  })
})

describe('deliveries', () => {
  test('show prints one with its attempts', async () => {
    const attempt = {
      attemptNumber: 1,
      startedAt: '2026-11-22T10:00:00.000Z',
      durationMs: 12,
      statusCode: 503,
      verdict: 'retry',
    }
    const { stdout } = await ask(['deliveries', 'show', 'dlv_01a'], {
      'GET /v1/deliveries/dlv_01a': () => ({ status: 200, body: aDelivery({ attempts: [attempt] }) }),
    })
    expect(stdout).toMatch(/^id +dlv_01a$/m)
    expect(stdout).toMatch(/^1 +2026-11-22T10:00:00.000Z +12 ms +503 +retry/m)
  })

  test('redeliver with a filter is a job', async () => {
    const filter = ['--status', 'exhausted', '--endpoint', 'ep_01a', '--since', '2h', '--event-type', 'task.failed']
    const { exitCode, asked, stdout } = await ask(['deliveries', 'redeliver', ...filter, '--json'], {
      'POST /v1/deliveries/redeliver': () => ({ status: 202, body: aJob() }),
    })
    expect([exitCode, JSON.parse(stdout).id]).toEqual([0, 'job_01a'])
    expect(asked[0]?.body).toEqual({ status: 'exhausted', endpointId: 'ep_01a', since: '2h', eventType: 'task.failed' })
  })

  test.each([
    [[]],
    [['--since', '2h']],
    [['dlv_01a', '--status', 'exhausted']],
    [['dlv_01a', '--dry-run']],
    [['--status', 'pending']],
  ])('redeliver %j is exit 2 and asks nothing', async (argv) => {
    expect(await ask(['deliveries', 'redeliver', ...argv], {})).toMatchObject({ exitCode: 2, asked: [] })
  })
})

describe('jobs', () => {
  const routes = {
    'GET /v1/jobs': () => page(aJob()),
    'GET /v1/jobs/job_01a': () => ({ status: 200, body: aJob() }),
    'POST /v1/jobs/job_01a/cancel': () => ({ status: 200, body: aJob({ status: 'canceled' }) }),
  }

  test.each([
    [['list', '--status', 'running'], /job_01a +running +40 of 100 +ep_01a +exhausted/],
    [['show', 'job_01a'], /^queuedCount +40$/m],
    [['cancel', 'job_01a'], /job_01a +canceled/],
  ])('%j', async (argv, shown) => {
    const { exitCode, stdout } = await ask(['jobs', ...argv], routes)
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(shown)
    await stub?.close()
    const { stdout: json } = await ask(['jobs', ...argv, '--json'], routes)
    expect(JSON.parse(json)).toMatchObject({ id: 'job_01a' })
  })
})

describe('tasks wait', () => {
  const waiting = (...tasks: Record<string, unknown>[]) => {
    let nth = 0
    return { 'GET /v1/tasks/task_01a': () => ({ status: 200, body: tasks[Math.min(nth++, tasks.length - 1)] }) }
  }

  test('asks again until it has ended: exit 0, however it ended', async () => {
    const { exitCode, stdout, asked } = await ask(
      ['tasks', 'wait', 'task_01a', '--json'],
      waiting(aTask(), aTask(), aTask({ status: 'failed' })),
    )
    expect([exitCode, JSON.parse(stdout).status, asked.length]).toEqual([0, 'failed', 3])
    expect(asked[0]?.query).toEqual({ wait: '25' })
  })

  test('exit 5 when the time is up, with the task as it is', async () => {
    const { exitCode, stdout, asked } = await ask(['tasks', 'wait', 'task_01a', '--timeout', '40s'], waiting(aTask()))
    expect(exitCode).toBe(5)
    expect(stdout).toMatch(/task_01a .*pending/)
    expect(asked.map(({ query }) => query['wait'])).toEqual(['25', '15'])
  })

  test('a timeout that is none is exit 2', async () => {
    expect(await ask(['tasks', 'wait', 'task_01a', '--timeout', 'soon'], {})).toMatchObject({ exitCode: 2, asked: [] })
  })
})

test('tasks poll asks for it to be asked about now', async () => {
  const { exitCode, stdout } = await ask(['tasks', 'poll', 'task_01a', '--json'], {
    'POST /v1/tasks/task_01a/poll': () => ({ status: 202, body: aTask() }),
  })
  expect([exitCode, JSON.parse(stdout).id]).toEqual([0, 'task_01a'])
})
