/** docs/delivery.md says what the program does: its tables are those of core, and each rule names tests that are there. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { RETRY_CONTRACT, RETRY_SCHEDULE_MS, type RetryEffect } from '../src/core/retry.ts'
import { formatDuration, HOUR, MINUTE, SECOND } from '../src/core/time.ts'
import { isTestIn, proofsOf } from './support/proofs.ts'

const DOCUMENT = readFileSync(join(import.meta.dirname, '../docs/delivery.md'), 'utf8')

const EFFECTS: Readonly<Record<RetryEffect, string>> = {
  deliver: 'delivered, whatever happens to the rest of the answer',
  retry: 'the next attempt by the schedule',
  retry_no_sooner: 'the next attempt by the schedule, and not before Retry-After',
  retry_and_disable:
    'the endpoint is disabled; the delivery waits until a person resumes it, unless it was its last attempt',
  give_back: 'the attempt does not count',
}

function tableAfter(mark: string): readonly (readonly string[])[] {
  const [, rest = ''] = DOCUMENT.split(`<!-- ${mark}: generated from src/core/retry.ts, compared by a test -->\n`)
  const [table = ''] = rest.split('\n\n')
  const rows = table.split('\n').slice(2)
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** In hours at the most: a person compares it with an outage. */
function span(ms: number): string {
  const parts = [
    [Math.floor(ms / HOUR), 'h'],
    [Math.floor((ms % HOUR) / MINUTE), 'm'],
    [Math.floor((ms % MINUTE) / SECOND), 's'],
  ] as const
  const shown = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`)
  return shown.length === 0 ? '0s' : shown.join(' ')
}

test('the table of what follows an attempt is the contract in core', () => {
  expect(tableAfter('contract')).toEqual(RETRY_CONTRACT.map(({ when, effect }) => [when, EFFECTS[effect]]))
})

test('the table of the waits is the schedule in core', () => {
  let sinceFirstMs = 0
  const rows = RETRY_SCHEDULE_MS.map((waitMs, index) => {
    sinceFirstMs += waitMs
    return [String(index + 1), waitMs === 24 * HOUR ? '24h' : formatDuration(waitMs), span(sinceFirstMs)]
  })
  expect(tableAfter('schedule')).toEqual(rows)
})

const rules = DOCUMENT.split(/^- /m).slice(1)

test.each(rules.map((rule) => [/\*\*(.*?)\*\*/.exec(rule)?.[1], rule]))('%s', (_rule, text) => {
  expect(proofsOf(text).length).toBeGreaterThan(0)
  expect(proofsOf(text).filter((proof) => !isTestIn(proof))).toEqual([])
})

test('there are rules for all that an endpoint can be told', () => {
  expect(rules.length).toBeGreaterThanOrEqual(20)
})
