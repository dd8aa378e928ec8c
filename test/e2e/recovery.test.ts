/**
 * The built daemon recovers an endpoint with tens of thousands of exhausted deliveries: fast, in order, without holding up
 * others, and over a kill -9 in the middle, after which none has been queued twice and none left out.
 *
 * `RECOVER_COUNT=100000` recovers more, and `RECOVER_REPORT=1` prints how long it took.
 */

import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { makeBacklog } from '../support/backlog.ts'
import { aStage, eventually, type Stage } from '../support/chaos.ts'
import { type DaemonProcess, runProgram, startDaemonProcess, TOKEN } from '../support/daemon-process.ts'

const COUNT = Number(process.env['RECOVER_COUNT'] ?? 20_000)
/** For a hundred thousand on two cores that are not busy with other tests; a tenth of it is usual. */
const QUEUED_MS_MAX = 10_000
/** As many may be sent once more after each kill. */
const UNDER_WAY_MAX = 32

interface Job {
  readonly id: string
  readonly status: string
  readonly totalCount: number
  readonly queuedCount: number
}

function spread(waits: readonly number[]): string {
  const sorted = waits.toSorted((a, b) => a - b)
  const [median, longest] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((ms) => ms?.toFixed(1))
  return `${median} ms, at most ${longest} ms (${waits.length})`
}

/** A daemon's database in which everything was told in vain. */
async function aStageOfFailures(count: number): Promise<Stage & { endpointId: string }> {
  const stage = await aStage({ receiving: { receivedMax: 10_000_000 } })
  await makeBacklog({ path: stage.path, count, of: 'deliveries', callbackUrls: [`${stage.receiver.url}/hooks`] })
  const db = new Database(stage.path)
  db.exec(`update _deliveries set status = 'exhausted', next_attempt_at = null, settled_at = created_at, attempt_count = 10,
    scheduled_attempt_count = 10`)
  const endpointId = db.prepare('select id from _endpoints').pluck().get() as string
  db.close()
  return { ...stage, endpointId }
}

async function recover(daemon: DaemonProcess, endpointId: string, more: object = {}) {
  return daemon.request(`/v1/endpoints/${endpointId}/recover`, { method: 'POST', body: { since: '7d', ...more } })
}

async function jobOf(daemon: DaemonProcess, id: string): Promise<Job> {
  return (await daemon.request(`/v1/jobs/${id}`)).body as Job
}

test('everything is queued within seconds, oldest first, while others are answered', { timeout: 300_000 }, async () => {
  const { env, endpointId, receiver, path } = await aStageOfFailures(COUNT)
  const daemon = await startDaemonProcess({ ...env, RINGBACK_ENDPOINT_CONCURRENCY: '1' })
  expect(await recover(daemon, endpointId, { dryRun: true })).toEqual({
    status: 200,
    body: { dryRun: true, totalCount: COUNT },
  })
  const waitOf = async (taskId: string) => {
    const askedAt = performance.now()
    const asked = { taskId, callbackUrl: `${receiver.url}/other` }
    expect((await daemon.request('/v1/tasks', { method: 'POST', body: asked })).status).toBe(201)
    return performance.now() - askedAt
  }
  const waitsBefore: number[] = []
  for (let index = 0; index < 20; index += 1) waitsBefore.push(await waitOf(`ok-before-${index}`))
  const startedAt = Date.now()
  const { status, body } = await recover(daemon, endpointId)
  expect(status).toBe(202)
  const { id } = body as Job
  expect(await recover(daemon, endpointId)).toMatchObject({
    status: 409,
    body: { detail: expect.stringContaining(id) },
  })
  const waits: number[] = []
  const job = await eventually(async () => {
    waits.push(await waitOf(`ok-meanwhile-${waits.length}`))
    const found = await jobOf(daemon, id)
    return found.status === 'running' ? null : found
  }, 120_000)
  const tookMs = Date.now() - startedAt
  expect(job).toMatchObject({ status: 'done', totalCount: COUNT, queuedCount: COUNT })
  expect(tookMs).toBeLessThan(QUEUED_MS_MAX)
  if (process.env['RECOVER_REPORT'] !== undefined) {
    console.log(`${COUNT} queued in ${tookMs} ms; registrations took ${spread(waits)}, before ${spread(waitsBefore)}`)
  }
  await daemon.kill('SIGKILL')
  const heard = receiver.received.filter((one) => one.path === '/hooks').map((one) => one.headers['webhook-id'])
  const db = new Database(path, { readonly: true })
  const inOrder = db
    .prepare<[number], string>(
      `select event_id from _deliveries d join _endpoints p on p.id = d.endpoint_id
       where p.url like '%/hooks' order by d.seq limit ?`,
    )
    .pluck()
    .all(heard.length)
  db.close()
  expect(heard.length).toBeGreaterThan(0)
  // The last may be that of an attempt that died with the daemon.
  expect(heard).toEqual(inOrder)
})

test('killed in the middle, again and again: none is queued twice, none left out', { timeout: 300_000 }, async () => {
  const { env, endpointId, receiver, path } = await aStageOfFailures(COUNT)
  const settings = { ...env, RINGBACK_ENDPOINT_CONCURRENCY: String(UNDER_WAY_MAX) }
  let daemon = await startDaemonProcess(settings)
  const { id } = (await recover(daemon, endpointId)).body as Job
  const places: number[] = []
  for (let kills = 0; kills < 3; kills += 1) {
    const past = places.at(-1) ?? 0
    const job = await eventually(async () => {
      const found = await jobOf(daemon, id)
      return found.queuedCount > past || found.status !== 'running' ? found : null
    })
    await daemon.kill('SIGKILL')
    places.push(job.queuedCount)
    daemon = await startDaemonProcess(settings)
  }
  expect(places[0], 'it was killed in the middle').toBeLessThan(COUNT)
  await eventually(async () => ((await jobOf(daemon, id)).status === 'done' ? true : null), 60_000)
  await eventually(() => (receiver.received.length >= COUNT ? true : null), 120_000)
  await eventually(() => (undelivered(path) === 0 ? true : null), 60_000)
  expect(await jobOf(daemon, id)).toMatchObject({ status: 'done', totalCount: COUNT, queuedCount: COUNT })
  const heard = receiver.received.map((one) => String(one.headers['webhook-id']))
  expect(new Set(heard).size).toBe(COUNT)
  expect(heard.length - COUNT, 'sent twice').toBeLessThanOrEqual(3 * UNDER_WAY_MAX)
  expect(receiver.received.every((one) => one.isVerified)).toBe(true)
  expect(await daemon.kill('SIGTERM')).toBe(0)
})

function undelivered(path: string): number {
  const db = new Database(path, { readonly: true })
  const count = db.prepare(`select count(*) from _deliveries where status <> 'delivered'`).pluck().get()
  db.close()
  return Number(count)
}

test('from the command line: add, list, pause, recover, follow, remove', { timeout: 240_000 }, async () => {
  const stage = await aStageOfFailures(300)
  const daemon = await startDaemonProcess(stage.env)
  const ringback = (...args: string[]) => runProgram(args, { RINGBACK_URL: daemon.url, RINGBACK_API_TOKEN: TOKEN })
  const rows = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))

  const added = await ringback('endpoints', 'add', `${stage.receiver.url}/mine`, '--name', 'mine', '--json')
  expect(added.exitCode, added.stderr).toBe(0)
  expect(rows(added.stdout)).toMatchObject([{ name: 'mine', secret: expect.stringMatching(/^whsec_/) }])
  expect(rows((await ringback('endpoints', 'list', '--json')).stdout)).toHaveLength(2)
  expect((await ringback('endpoints', 'pause', 'mine')).exitCode).toBe(0)
  const refused = await ringback('endpoints', 'recover', 'mine', '--since', '1h')
  expect(refused).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/is paused.*\/resume/) })
  expect((await ringback('endpoints', 'resume', 'mine')).exitCode).toBe(0)
  expect((await ringback('endpoints', 'recover', 'mine', '--since', '2100-01-01T00:00:00Z')).exitCode).toBe(2)

  const all = ['deliveries', 'redeliver', '--status', 'exhausted', '--since', '7d']
  expect(await ringback(...all, '--dry-run')).toMatchObject({ exitCode: 0, stdout: '300\n' })
  const [job] = rows((await ringback(...all, '--json')).stdout)
  const done = await eventually(async () => {
    const [found] = rows((await ringback('jobs', 'show', job.id, '--json')).stdout)
    return found.status === 'done' ? found : null
  })
  expect(done).toMatchObject({ totalCount: 300, queuedCount: 300 })
  expect((await ringback('jobs', 'cancel', job.id)).exitCode).toBe(1)

  const add = ['tasks', 'add', 'ok-100ms-cli', '--callback-url', `${stage.receiver.url}/mine`]
  expect((await ringback(...add)).exitCode).toBe(0)
  expect((await ringback('tasks', 'wait', 'ok-100ms-cli', '--timeout', '30s')).exitCode).toBe(0)
  expect((await ringback('tasks', 'poll', 'ok-100ms-cli')).exitCode).toBe(1)
  expect((await ringback('tasks', 'add', 'never-cli', '--endpoint', rows(added.stdout)[0].id)).exitCode).toBe(0)
  expect((await ringback('tasks', 'poll', 'never-cli')).exitCode).toBe(0)
  expect((await ringback('tasks', 'wait', 'never-cli', '--timeout', '1s')).exitCode).toBe(5)
  const removed = await ringback('endpoints', 'remove', 'mine', '--drop-backlog')
  expect(removed.exitCode, removed.stderr).toBe(0)
  expect((await ringback('endpoints', 'show', 'mine')).exitCode).toBe(4)
  expect((await ringback('endpoints', 'show', rows(added.stdout)[0].id)).exitCode).toBe(4)
  expect(await daemon.kill('SIGTERM')).toBe(0)
})
