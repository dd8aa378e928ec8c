/** Clocks of people: the change between summer and winter time moves no housekeeping and no due time. */

import cron from 'node-cron'
import { afterEach, describe, expect, test } from 'vitest'
import { startPace } from '../../src/engine/pace.ts'
import type { Log } from '../../src/ports.ts'

const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
const before = process.env['TZ']

afterEach(() => {
  if (before === undefined) delete process.env['TZ']
  else process.env['TZ'] = before
})

describe('F18 housekeeping', () => {
  // Half and quarter hours from UTC, a change by half an hour, changes at other dates.
  test.each(['America/New_York', 'Europe/Vienna', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Asia/Kathmandu'])(
    'in %s runs by UTC, which has no such change',
    async (zone) => {
      process.env['TZ'] = zone
      expect(new Date(1_767_225_600_000).getTimezoneOffset()).not.toBe(0)
      const known = new Set(cron.getTasks().keys())
      const pace = startPace([{ name: 'forget', expression: '17 4 * * *', run: async () => {} }], silentLog)
      const task = [...cron.getTasks().entries()].find(([id]) => !known.has(id))?.[1]
      const next = task?.getNextRun()
      expect([next?.getUTCHours(), next?.getUTCMinutes()]).toEqual([4, 17])
      await pace.stop()
    },
  )
})
