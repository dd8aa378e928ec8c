/** Webhooks as they arrive in the demo: each is shown, and counted once when it is genuine and tells what was expected. */

import { parseIso } from '../core/time.ts'
import type { Received } from '../sandbox/receiver.ts'
import { type Row, rowOf, rowsOf, textOf } from './client.ts'
import type { FatedTask } from './fates.ts'
import { hasColor, type Io, isForEyes } from './io.ts'
import { printable } from './printable.ts'
import { printJsonLines } from './table.ts'

export interface Arrivals {
  /** Shows one request. `isRefused`: the receiver pretended to be down, and it will come again. */
  arrive(request: Received, isRefused: boolean): void
  expect(tasks: readonly FatedTask[]): void
  arrivedCount(): number
  /** Resolves when every expected webhook has arrived. */
  readonly complete: Promise<void>
  /** Takes the progress line away, so that something else can be written. */
  clearProgress(): void
}

interface Arrival {
  readonly at: string
  readonly isVerified: boolean
  readonly type: string
  readonly taskId: string
  readonly attemptNumber: number
  /** What the task came to, in words. */
  readonly result: string
  /** From the answer of the upstream to the arrival; null for what cannot be read. */
  readonly latencyMs: number | null
  readonly note: string
}

export function createArrivals(io: Pick<Io, 'stdout' | 'stderr' | 'env'>, asJson: boolean): Arrivals {
  const expected = new Map<string, FatedTask>()
  const arrived = new Set<string>()
  const progress = createProgressLine(io)
  let resolveComplete = () => {}
  const complete = new Promise<void>((resolve) => {
    resolveComplete = resolve
  })

  function arrive(request: Received, isRefused: boolean): void {
    const arrival = arrivalOf(request, isRefused, expected)
    const isWanted = arrival.isVerified && !isRefused && expected.get(arrival.taskId)?.expectedType === arrival.type
    if (isWanted) arrived.add(arrival.taskId)
    progress.clear()
    if (asJson) printJsonLines(io, [arrival])
    else io.stdout.write(`${lineOf(arrival, hasColor(io.stdout, io.env))}\n`)
    if (arrived.size < expected.size) progress.draw(`${arrived.size} of ${expected.size} webhooks have arrived`)
    else resolveComplete()
  }

  return {
    arrive,
    expect(tasks) {
      for (const task of tasks) expected.set(task.taskId, task)
      progress.draw(`0 of ${expected.size} webhooks have arrived`)
    },
    arrivedCount: () => arrived.size,
    complete,
    clearProgress: progress.clear,
  }
}

function arrivalOf(request: Received, isRefused: boolean, expected: ReadonlyMap<string, FatedTask>): Arrival {
  const body = readBody(request.body)
  const data = rowOf(body, 'data')
  const [taskId, type] = [textOf(data, 'taskId'), textOf(body, 'type')]
  const settledAt = parseIso(textOf(body, 'timestamp'))
  return {
    at: new Date(request.at).toISOString(),
    isVerified: request.isVerified,
    type,
    taskId,
    attemptNumber: request.attemptNumber,
    result: resultOf(data),
    latencyMs: settledAt === null ? null : Math.max(0, request.at - settledAt),
    note: noteOf(request, isRefused, expected.get(taskId)?.expectedType ?? type, type),
  }
}

function readBody(text: string): Row {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Row) : {}
  } catch {
    return {}
  }
}

function resultOf(data: Row): string {
  const error = rowOf(data, 'error')
  if (textOf(error, 'code') !== '') return `${textOf(error, 'code')}: ${textOf(error, 'message')}`
  const count = rowsOf(data, 'images').length
  return `${count} ${count === 1 ? 'image' : 'images'}${data['partial'] === true ? ', some items failed' : ''}`
}

function noteOf(request: Received, isRefused: boolean, expectedType: string, type: string): string {
  if (!request.isVerified) return `signature refused (${request.rejection ?? 'unknown'})`
  if (isRefused) return 'refused with 503 to show a retry'
  if (type !== expectedType) return `expected ${expectedType}`
  return request.attemptNumber > 1 ? `attempt ${request.attemptNumber}` : ''
}

const GREEN = '\u001b[32m'
const RED = '\u001b[31m'
const PLAIN = '\u001b[0m'

function lineOf(arrival: Arrival, isColored: boolean): string {
  const { isVerified, at, type, taskId, result, latencyMs, note } = arrival
  const mark = isVerified ? '✓ verified' : '✗ not verified'
  const colored = isColored ? `${isVerified ? GREEN : RED}${mark}${PLAIN}` : mark
  const latency = latencyMs === null ? '' : `${latencyMs} ms`
  const text = `${type.padEnd(14)}  ${taskId.padEnd(38)}  ${latency.padStart(7)}  ${result}${note === '' ? '' : `  (${note})`}`
  return `${at.slice(11, 23)}  ${colored}  ${printable(text)}`
}

interface ProgressLine {
  draw(text: string): void
  clear(): void
}

/** One line on a terminal that is written over; nothing anywhere else. */
function createProgressLine({ stderr, env }: Pick<Io, 'stderr' | 'env'>): ProgressLine {
  if (!isForEyes(stderr, env)) return { draw: () => undefined, clear: () => undefined }
  return {
    draw: (text) => stderr.write(`\r\u001b[K${text}`),
    clear: () => stderr.write('\r\u001b[K'),
  }
}
