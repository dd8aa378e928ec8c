/** What every bench says in the same words: medians with their spread, tables, the machine, goals, one JSON document. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'

/** The value below which `share` (0–1) of the sample lies; NaN of an empty sample. */
export function quantile(sample, share) {
  const sorted = sample.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export const median = (sample) => quantile(sample, 0.5)

/** What a round's repetitions say: `{median, min, max}`. */
export function spread(sample) {
  return { median: median(sample), min: Math.min(...sample), max: Math.max(...sample) }
}

/** `1 234 (1 100–1 300)`; `format` writes one figure. */
export function spreadText({ median: middle, min, max }, format = (value) => String(Math.round(value))) {
  return `${format(middle)} (${format(min)}–${format(max)})`
}

/** Markdown of `columns` (head → text of a row). */
export function table(columns, rows) {
  const heads = Object.keys(columns)
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [
    line(heads),
    line(heads.map(() => '---')),
    ...rows.map((row) => line(heads.map((head) => columns[head](row)))),
  ].join('\n')
}

/** What figures depend on. `loadAverage` tells whether the machine did something else when the bench began. */
export function machine() {
  const [cpu] = cpus()
  return {
    cores: cpus().length,
    cpu: cpu?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    kernel: textOf('uname', ['-sr']),
    loadAverage: loadAverageAtStart,
  }
}

/** Read once, before the bench itself is the load. */
const loadAverageAtStart = readLoadAverage()

function readLoadAverage() {
  try {
    return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0])
  } catch {
    return null
  }
}

function textOf(command, args) {
  try {
    return execFileSync(command, args, { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

/**
 * One line of a claim of design B1–B8. `measured` and `limit` are numbers in the same unit; `bound` says on which side
 * of the limit the goal lies. What could not be measured is `measured: null`, and not met.
 */
export function goal({ id, what, measured, limit, bound }) {
  const isMet = measured !== null && (bound === 'min' ? measured >= limit : measured <= limit)
  return { id, what, measured, goal: `${bound === 'min' ? '≥' : '≤'} ${limit}`, isMet }
}

export function goalTable(goals) {
  const figure = (value) => (value === null ? 'not measured' : String(Number(value.toPrecision(4))))
  return table(
    {
      goal: ({ id }) => id,
      what: ({ what }) => what,
      measured: ({ measured }) => figure(measured),
      wanted: (row) => row.goal,
      '': ({ measured, isMet }) => (isMet ? 'met' : measured === null ? 'open' : 'MISSED'),
    },
    goals,
  )
}

/**
 * The last thing a bench does: `text` and the goals for people, or with `json` one document and nothing else. What else
 * is given are the conditions (`rounds`, `seed`), and is part of the document.
 */
export function report({ name, goals, rows, text, json, ...conditions }) {
  const document = { name, goal: goals, machine: machine(), ...conditions, rows, text }
  process.stdout.write(json ? `${JSON.stringify(document)}\n` : `${text}\n\n${goalTable(goals)}\n`)
}
