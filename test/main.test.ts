/** The program itself, as it is built: what it does when nobody reads it, when a disk is full, and when it fails. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { PROGRAM } from './support/daemon-process.ts'

/** `$RINGBACK` stands for the program; bash, for the redirections. */
async function shell(script: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawn('bash', ['-c', script], {
    env: { PATH: process.env['PATH'], RINGBACK: `${process.execPath} ${PROGRAM}`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  onTestFinished(() => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  })
  const [stdout, stderr, [exitCode]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { stdout, stderr, exitCode }
}

/** Runs in the program before its own first line. */
const first = (code: string) => ({ NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(code)}` })

const hasFullDevice = existsSync('/dev/full')

test('a reader who has seen enough is no error', async () => {
  const { stderr, exitCode } = await shell('set -o pipefail; $RINGBACK --help | true')
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
})

test.skipIf(!hasFullDevice)('a disk that is full behind its output is exit 74, with what to do', async () => {
  const { stderr, exitCode } = await shell('$RINGBACK --help > /dev/full')
  expect(exitCode).toBe(74)
  expect(stderr).toMatch(/stdout cannot be written to \(ENOSPC\)\n {2}remedy: /)
})

test.skipIf(!hasFullDevice)('what is said to nobody changes nothing about what is done', async () => {
  const { stdout, exitCode } = await shell('$RINGBACK tasks nonsense 2> /dev/full')
  expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
})

test('an error that nobody caught ends it with 70 and asks for a report', async () => {
  const { stderr, exitCode } = await shell(
    '$RINGBACK sandbox --port 0',
    first('setTimeout(() => { throw new Error("planted") }, 1000)'),
  )
  expect(exitCode).toBe(70)
  expect(stderr).toMatch(/ringback: Error: planted[\s\S]*remedy: this is a fault in ringback/)
})

test('what a command has forgotten to close does not keep it from ending', async () => {
  const { stdout, exitCode } = await shell('$RINGBACK --version', first('setInterval(() => {}, 1000)'))
  expect(stdout).toMatch(/^\d+\.\d+\.\d+/)
  expect(exitCode).toBe(0)
})
