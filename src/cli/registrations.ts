/** The tasks that a person wants watched, from arguments and from the lines of stdin, in batches that fit one call. */

import type { Row } from './client.ts'

export interface RegistrationBatch {
  readonly registrations: readonly Row[]
  /** Lines that are neither an id nor an object, each with its number. */
  readonly problems: readonly string[]
}

/** The API takes 1000 tasks and 8 MiB in one call; the last one of a batch may be a large one. */
const BATCH_COUNT_MAX = 1000
const BATCH_BYTES_MAX = 4 * 1024 * 1024

/** What stands in a line goes before what is shared by all. `-` stands for the lines of stdin. */
export async function* registrationsFrom(
  ids: readonly string[],
  stdin: AsyncIterable<string | Uint8Array>,
  shared: Row,
): AsyncGenerator<RegistrationBatch> {
  let batch = newBatch()
  for await (const item of itemsFrom(ids, stdin)) {
    if (isFull(batch)) {
      yield batch
      batch = newBatch()
    }
    if ('problem' in item) batch.problems.push(item.problem)
    else {
      const registration = { ...shared, ...item.fields }
      batch.registrations.push(registration)
      batch.byteCount += Buffer.byteLength(JSON.stringify(registration))
    }
  }
  if (batch.registrations.length + batch.problems.length > 0) yield batch
}

interface GrowingBatch {
  readonly registrations: Row[]
  readonly problems: string[]
  byteCount: number
}

function newBatch(): GrowingBatch {
  return { registrations: [], problems: [], byteCount: 0 }
}

function isFull({ registrations, problems, byteCount }: GrowingBatch): boolean {
  return registrations.length + problems.length >= BATCH_COUNT_MAX || byteCount >= BATCH_BYTES_MAX
}

type Item = { readonly fields: Row } | { readonly problem: string }

async function* itemsFrom(ids: readonly string[], stdin: AsyncIterable<string | Uint8Array>): AsyncGenerator<Item> {
  for (const id of ids) {
    if (id === '-') yield* itemsFromLines(stdin)
    else yield { fields: { taskId: id } }
  }
}

async function* itemsFromLines(stdin: AsyncIterable<string | Uint8Array>): AsyncGenerator<Item> {
  let lineNumber = 0
  for await (const line of linesOf(stdin)) {
    lineNumber += 1
    const text = line.trim()
    if (text !== '') yield readLine(text, lineNumber)
  }
}

function readLine(text: string, lineNumber: number): Item {
  if (!text.startsWith('{')) return { fields: { taskId: text } }
  try {
    const fields = JSON.parse(text) as Row
    // A number beyond 2^53 has been rounded by now, and would be another task.
    if (typeof fields['taskId'] === 'number') return { problem: `line ${lineNumber}: put quotes around the taskId` }
    return { fields }
  } catch {
    return { problem: `line ${lineNumber}: expected a task id or a JSON object on one line` }
  }
}

async function* linesOf(stdin: AsyncIterable<string | Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stdin) {
    const lines = (rest + (typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }))).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
  yield rest + decoder.decode()
}
