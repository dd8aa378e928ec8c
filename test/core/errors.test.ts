/** The mistakes that a caller can make, and the promises of our own code. */

import { expect, test } from 'vitest'
import { AppError, assert, ConfigError, DamagedError, LockedError } from '../../src/core/errors.ts'

test('an error without details has none', () => {
  const error = new AppError('not_found', 'no task "task_1"')
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({ name: 'AppError', code: 'not_found', message: 'no task "task_1"' })
  expect(error.faults).toEqual([])
  expect(error.retryAfterMs).toBeNull()
  expect('cause' in error).toBe(false)
})

test('an error keeps its faults, its wait and its cause', () => {
  const faults = [{ pointer: '/taskId', code: 'too_long', message: 'at most 256 characters' }]
  const cause = new Error('SQLITE_FULL')
  const error = new AppError('invalid', 'wrong', { faults, retryAfterMs: 0, cause })
  expect(error).toMatchObject({ faults, retryAfterMs: 0, cause })
})

test('a wrong configuration tells all its problems at once, one a line', () => {
  const error = new ConfigError(['RINGBACK_PORT: not a port', 'RINGBACK_HOST: empty'])
  expect(error).toMatchObject({ name: 'ConfigError', problems: ['RINGBACK_PORT: not a port', 'RINGBACK_HOST: empty'] })
  expect(error.message).toBe('RINGBACK_PORT: not a port\nRINGBACK_HOST: empty')
})

test('an assertion passes what holds and names what does not', () => {
  expect(() => assert(true, 'one event per task')).not.toThrow()
  expect(() => assert(false, 'one event per task')).toThrow('assertion failed: one event per task')
})

test('what ends the process says with which exit code', () => {
  expect(new LockedError('held by 4711')).toMatchObject({ name: 'LockedError', message: 'held by 4711', exitCode: 3 })
  expect(new DamagedError('not a database')).toMatchObject({ name: 'DamagedError', exitCode: 74 })
})
