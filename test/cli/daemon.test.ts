/** The commands that run something: serve, sandbox and demo, from their start to their signal. */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { command, inFolder, start } from './console.ts'

const folder = inFolder()

function linesOf(stdout: string): readonly Record<string, unknown>[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

describe('ringback serve', () => {
  const environment = () => ({
    RINGBACK_DATABASE_URL: `file:${join(folder(), 'r.db')}`,
    RINGBACK_PORT: '0',
    AIDGE_BASE_URL: 'http://127.0.0.1:1',
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: 'planted-key-secret',
  })

  test('serves the other commands until a signal, logs JSON, and never its secrets', async () => {
    const env = environment()
    const running = start(['serve'], { env })
    const started = await running.until(/daemon\.started/)
    const url = /listening on (http:\/\/[\d.:]+)/.exec(started)?.[1] ?? ''
    const add = ['tasks', 'add', 'up-1', '--callback-url', 'https://receiver.example/h']
    expect((await command(['health'], { env: { RINGBACK_URL: url } })).exitCode).toBe(0)
    const client = { RINGBACK_URL: url, RINGBACK_DATABASE_URL: env.RINGBACK_DATABASE_URL }
    expect(await command(add, { env: client })).toMatchObject({
      exitCode: 0,
      stderr: '1 new, 0 known already, 0 refused\n',
    })
    expect((await command(add, { env: client })).stderr).toBe('0 new, 1 known already, 0 refused\n')
    expect((await command(['tasks', 'cancel', 'up-1'], { env: client })).exitCode).toBe(0)

    running.signal('SIGTERM')
    const { exitCode, stdout, stderr } = await running.ended
    expect(exitCode).toBe(0)
    expect(stderr).toBe('')
    const events = linesOf(stdout).map(({ event }) => event)
    expect(events[0]).toBe('daemon.starting')
    expect(events.at(-1)).toBe('daemon.stopped')
    const token = readFileSync(join(folder(), 'r.db.token'), 'utf8').trim()
    for (const secret of ['planted-key-secret', token]) expect(stdout).not.toContain(secret)
  })

  test('a second daemon on the same database is exit 3, and leaves the first alone', async () => {
    const running = start(['serve'], { env: environment() })
    await running.until(/daemon\.started/)
    const second = await command(['serve'], { env: environment() })
    expect(second.exitCode).toBe(3)
    expect(second.stderr).toContain(String(process.pid))
    running.signal('SIGINT')
    expect((await running.ended).exitCode).toBe(0)
  })

  test('a second signal ends at once', async () => {
    const running = start(['serve'], { env: environment() })
    await running.until(/daemon\.started/)
    running.signal('SIGINT')
    running.signal('SIGINT')
    expect(running.exitsNow).toEqual([130])
    await running.ended
  })

  test('a signal during the start is not lost', async () => {
    const running = start(['serve'], { env: environment() })
    await running.until(/daemon\.starting/)
    running.signal('SIGTERM')
    const { exitCode, stdout } = await running.ended
    expect(exitCode).toBe(0)
    expect(stdout).toContain('daemon.stopped')
  })

  test('a port in use is exit 78, and what to do is said', async () => {
    const holder = createServer()
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
    const port = String((holder.address() as AddressInfo).port)
    const { exitCode, stderr } = await command(['serve', '--port', port], { env: environment() })
    holder.close()
    expect(exitCode).toBe(78)
    expect(stderr).toContain(port)
    expect(stderr).toContain('RINGBACK_PORT')
  })

  test('a file that is no database is exit 78', async () => {
    writeFileSync(join(folder(), 'r.db'), 'this is a letter to my grandmother, not a database'.repeat(100))
    const { exitCode, stderr } = await command(['serve'], { env: environment() })
    expect(exitCode).toBe(78)
    expect(stderr).toContain('RINGBACK_DATABASE_URL')
  })

  test('people on a terminal are told where things are', async () => {
    const running = start(['serve', '--log-level', 'error'], { env: environment(), isTTY: true })
    await running.until(/Ctrl-C stops it/)
    running.signal('SIGINT')
    const { stdout, stderr } = await running.ended
    expect(stdout).toBe('')
    expect(stderr).toMatch(/ringback listens on http:\/\/127\.0\.0\.1:\d+\n {2}API token +\S+r\.db\.token\n/)
  })
})

describe('ringback sandbox', () => {
  test('prints settings to paste on stdout, the grammar on stderr, and ends with a signal', async () => {
    const running = start(['sandbox', '--port', '0', '--key-name', '77'])
    await running.until(/slow-TIME/)
    running.signal('SIGINT')
    const { exitCode, stdout, stderr } = await running.ended
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(
      /^AIDGE_BASE_URL=http:\/\/127\.0\.0\.1:\d+\nAIDGE_ACCESS_KEY_NAME=77\nAIDGE_ACCESS_KEY_SECRET=\S+\n$/,
    )
    expect(stderr).toContain('code-N[xTIMES]')
    expect(
      (
        await command(['config'], {
          env: Object.fromEntries(
            stdout
              .trimEnd()
              .split('\n')
              .map((line) => line.split('=') as [string, string]),
          ),
        })
      ).exitCode,
    ).toBe(0)
  })

  test('a port in use is exit 78', async () => {
    const holder = createServer()
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
    const { exitCode } = await command(['sandbox', '--port', String((holder.address() as AddressInfo).port)])
    holder.close()
    expect(exitCode).toBe(78)
  })
})

function demoFolders(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('ringback-demo-'))
}

describe('ringback demo', () => {
  test('--once ends when every webhook has arrived and was verified, and leaves nothing behind', async () => {
    const before = demoFolders()
    const { exitCode, stdout } = await command(['demo', '--once', '--tasks', '9'])
    const lines = stdout.trimEnd().split('\n')
    expect(lines.at(-1)).toBe('9 of 9 webhooks delivered and verified')
    expect(exitCode).toBe(0)
    expect(lines.filter((line) => line.includes('✓ verified')).length).toBeGreaterThanOrEqual(9)
    expect(stdout).toContain('content_rejected')
    expect(stdout).toContain('refused with 503 to show a retry')
    expect(demoFolders()).toEqual(before)
  })

  test('--once that is interrupted is exit 130, with an honest count', async () => {
    const running = start(['demo', '--once', '--tasks', '10', '--json'])
    await running.until(/"isVerified":true/)
    running.signal('SIGINT')
    const { exitCode, stdout } = await running.ended
    const last = linesOf(stdout).at(-1)
    expect(exitCode).toBe(130)
    expect(last).toMatchObject({ taskCount: 10 })
    expect(Number(last?.['deliveredCount'])).toBeLessThan(10)
  })

  test('otherwise it stays up, takes more tasks, and ends with a signal', async () => {
    const running = start(['demo', '--tasks', '1', '--keep'])
    const text = await running.until(/Ctrl-C ends the demo/)
    const [, url = '', token = '', callbackUrl = ''] =
      /curl -s (http:\S+)\/v1\/tasks[\s\S]*Bearer (\S+)'[\s\S]*"callbackUrl":"(\S+)"/.exec(text) ?? []
    const env = { RINGBACK_URL: url, RINGBACK_API_TOKEN: token }
    await command(['tasks', 'add', 'ok-mine', '--callback-url', callbackUrl], { env })
    await running.until(/✓ verified {2}task\.succeeded {2}ok-mine/)
    running.signal('SIGINT')
    const { exitCode, stderr } = await running.ended
    expect(exitCode).toBe(0)
    const kept = /the database is kept in (\S+)/.exec(stderr)?.[1] ?? ''
    expect(existsSync(join(kept, 'ringback.db'))).toBe(true)
    rmSync(kept, { recursive: true })
  })
})
