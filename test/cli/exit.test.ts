/** Exit codes: which error ends a command how. */

import { describe, expect, test } from 'vitest'
import { CommandError, EXIT_CODES, endingOf, reportEnding } from '../../src/cli/exit.ts'
import { AppError, ConfigError, DamagedError, LockedError } from '../../src/core/errors.ts'

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: failed`), { code })
}

describe('an error ends the command', () => {
  test.each<[string, unknown, number]>([
    ['a command error of its own kind', new CommandError('timed_out', 'm', 'r'), 5],
    ['wrong settings', new ConfigError(['a', 'b']), 78],
    ['another daemon on the database', new LockedError('pid 1'), 3],
    ['a damaged database', new DamagedError('page 7'), 74],
    ['invalid input', new AppError('invalid', 'm'), 2],
    ['a wrong token', new AppError('unauthorized', 'm'), 6],
    ['nothing found', new AppError('not_found', 'm'), 4],
    ['a state that does not allow it', new AppError('conflict', 'm'), 1],
    ['a full disk', new AppError('disk_full', 'm'), 74],
    ['our own fault, said so', new AppError('internal', 'm'), 70],
    ['a port in use', systemError('EADDRINUSE'), 78],
    ['an address of another machine', systemError('EADDRNOTAVAIL'), 78],
    ['a file without the right to it', systemError('EACCES'), 74],
    ['no space', systemError('ENOSPC'), 74],
    ['no file handles', systemError('EMFILE'), 78],
    ['no file handles on the machine', systemError('ENFILE'), 78],
    ['SQLite that cannot read', systemError('SQLITE_IOERR_READ'), 74],
    ['a bug', new TypeError('x is not a function'), 70],
    ['something that is no error', 'text', 70],
    ['an exit code that is none', Object.assign(new Error('x'), { exitCode: 'many' }), 70],
  ])('for %s', (_, error, code) => {
    const ending = endingOf(error)
    expect(ending.code).toBe(code)
    expect(ending.remedy).not.toBe('')
  })

  test('with every problem of the settings', () => {
    expect(endingOf(new ConfigError(['first', 'second'])).messages).toEqual(['first', 'second'])
  })

  test('with every fault of an input', () => {
    const faults = [{ pointer: '/taskId', code: 'x', message: 'too long' }]
    expect(endingOf(new AppError('invalid', 'wrong', { faults })).messages).toEqual(['wrong', '/taskId: too long'])
  })

  test('and the stack only when it is a bug', () => {
    expect(endingOf(new TypeError('x')).messages[0]).toContain('exit.test.ts')
    expect(endingOf(systemError('EADDRINUSE')).messages[0]).not.toContain('exit.test.ts')
  })
})

test('what is said ends with one remedy, and nothing in it reaches the terminal as a command', () => {
  let said = ''
  const io = { stderr: { write: (text: string) => (said += text) } }
  const code = reportEnding(io, { code: 4, messages: ['no task \u001b[2J\u0007"a\rb"'], remedy: 'look again' })
  expect(code).toBe(4)
  expect(said).toBe('ringback: no task "a b"\n  remedy: look again\n')
})

test('the codes are those of the public contract', () => {
  expect(EXIT_CODES).toEqual({
    ok: 0,
    failed: 1,
    usage: 2,
    unreachable: 3,
    not_found: 4,
    timed_out: 5,
    unauthorized: 6,
    internal: 70,
    io: 74,
    config: 78,
    interrupted: 130,
  })
})
