/** Webhooks in the demo: what is counted, and what is shown. */

import { describe, expect, test } from 'vitest'
import { createArrivals } from '../../src/cli/arrivals.ts'
import { fatedTasks } from '../../src/cli/fates.ts'
import type { Received } from '../../src/sandbox/receiver.ts'

const AT = Date.parse('2026-11-22T10:00:00.250Z')

function received(taskId: string, fields: Partial<Received> & { type?: string; error?: object } = {}): Received {
  const { type = 'task.succeeded', error = null, ...rest } = fields
  const data = { taskId, images: error === null ? [{ url: 'http://i/1.png' }] : [], error, partial: false }
  return {
    method: 'POST',
    path: '/hooks',
    headers: {},
    body: JSON.stringify({ type, timestamp: '2026-11-22T10:00:00.200Z', data }),
    isVerified: true,
    rejection: null,
    webhookId: 'evt_1',
    attemptNumber: 1,
    at: AT,
    ...rest,
  }
}

function setUp({ isTTY = false, env = {} as Record<string, string> } = {}) {
  const written = { stdout: '', stderr: '' }
  const output = (name: 'stdout' | 'stderr') => ({ isTTY, write: (text: string) => (written[name] += text) })
  const arrivals = createArrivals({ stdout: output('stdout'), stderr: output('stderr'), env }, false)
  const tasks = fatedTasks(2)
  arrivals.expect(tasks)
  const [first, second] = tasks.map(({ taskId }) => taskId) as [string, string]
  return { arrivals, written, first, second }
}

describe('a webhook', () => {
  test('counts once, however often it comes', async () => {
    const { arrivals, first, second } = setUp()
    arrivals.arrive(received(first), false)
    arrivals.arrive(received(first, { attemptNumber: 2 }), false)
    expect(arrivals.arrivedCount()).toBe(1)
    arrivals.arrive(received(second), false)
    await arrivals.complete
    expect(arrivals.arrivedCount()).toBe(2)
  })

  test.each<[string, Partial<Received> & { type?: string }, boolean]>([
    ['with a wrong signature', { isVerified: false, rejection: 'no_matching_signature' }, false],
    ['that was refused to show a retry', {}, true],
    ['that tells another end', { type: 'task.failed' }, false],
    ['that cannot be read', { body: 'x' }, false],
  ])('does not count %s', (_, fields, isRefused) => {
    const { arrivals, first } = setUp()
    arrivals.arrive(received(first, fields), isRefused)
    expect(arrivals.arrivedCount()).toBe(0)
  })

  test('of a task that somebody else registered is shown and not counted', () => {
    const { arrivals, written } = setUp()
    arrivals.arrive(received('mine'), false)
    expect(arrivals.arrivedCount()).toBe(0)
    expect(written.stdout).toContain('mine')
  })

  test('is one line: when, whether genuine, what, which task, how late, with what', () => {
    const { arrivals, written, first } = setUp()
    arrivals.arrive(received(first), false)
    expect(written.stdout).toMatch(
      /^10:00:00\.250 {2}✓ verified {2}task\.succeeded {2}ok-400ms-demo-001 +50 ms {2}1 image\n$/,
    )
    const error = { code: 'content_rejected', message: 'no\u001b[2J' }
    arrivals.arrive(received('x', { type: 'task.failed', error, isVerified: false, rejection: 'too_old' }), false)
    expect(written.stdout).toMatch(/✗ not verified .*content_rejected: no {2}\(signature refused \(too_old\)\)\n$/)
    expect(written.stdout).not.toContain('\u001b')
  })
})

describe('progress', () => {
  test('is one line that is written over, on a terminal only', () => {
    const onTerminal = setUp({ isTTY: true })
    onTerminal.arrivals.arrive(received(onTerminal.first), false)
    expect(onTerminal.written.stderr).toBe(
      '\r\u001b[K0 of 2 webhooks have arrived\r\u001b[K\r\u001b[K1 of 2 webhooks have arrived',
    )
    expect(onTerminal.written.stdout).toContain('\u001b[32m')
    const elsewhere = setUp()
    elsewhere.arrivals.arrive(received(elsewhere.first), false)
    expect(elsewhere.written.stderr).toBe('')
  })

  test('without colours where they are not wanted', () => {
    const plain = setUp({ isTTY: true, env: { NO_COLOR: '1' } })
    plain.arrivals.arrive(received(plain.first), false)
    expect(plain.written.stdout).not.toContain('\u001b')
  })
})

test('every fated task has an id of its own, and at most one is throttled', () => {
  const tasks = fatedTasks(1000)
  expect(new Set(tasks.map(({ taskId }) => taskId)).size).toBe(1000)
  expect(tasks.filter(({ life }) => life.startsWith('gateway'))).toHaveLength(1)
  expect(tasks.every(({ taskId }) => /^[\x21-\x7e]{1,256}$/.test(taskId))).toBe(true)
})
