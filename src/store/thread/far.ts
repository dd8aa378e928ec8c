/** The far side of the store's thread: does the steps that the near side asks for. */

import type { MessagePort } from 'node:worker_threads'
import type { DamagedError } from '../../core/errors.ts'
import type { Log } from '../../ports.ts'
import type { Store } from '../store.ts'
import { type Answer, type Call, copyError, type Line, type Notice } from './messages.ts'

/** What a store here needs of the near side: its log and its alarm. */
export interface FarWorld {
  readonly log: Log
  readonly onDamaged: (error: DamagedError) => void
}

/** Opens a store and serves it until it is closed. What one group of steps did is answered in one message. */
export function serveStore(port: MessagePort, open: (world: FarWorld) => Store): void {
  const say = (notice: Notice) => port.postMessage(notice)
  let store: Store
  try {
    store = open({ log: logTo(say), onDamaged: ({ message }) => say({ kind: 'damaged', message }) })
  } catch (error) {
    say({ kind: 'not_opened', error: copyError(error) })
    return port.close()
  }
  const answers: Answer[] = []

  function answer(one: Answer): void {
    // After what else resolves now, and before the next group of steps: whoever waits goes on while it is written.
    if (answers.push(one) === 1) process.nextTick(sayAnswers)
  }

  function sayAnswers(): void {
    say({ kind: 'answers', answers: answers.splice(0), impediments: store.impediments() })
  }

  async function take({ number, step, params }: Call): Promise<void> {
    try {
      answer({ number, isDone: true, value: await doStep(store, step, params) })
    } catch (error) {
      answer({ number, isDone: false, error: copyError(error) })
    }
    // After its answer, which leaves first.
    if (step === 'close') setImmediate(() => port.close())
  }

  port.on('message', (calls: readonly Call[]) => {
    for (const call of calls) void take(call)
  })
  say({ kind: 'opened', databaseId: store.databaseId, impediments: store.impediments() })
  store.onTold((told) => say({ kind: 'told', told }))
}

function doStep(store: Store, step: Call['step'], params: unknown): Promise<unknown> {
  const method: (params: never) => Promise<unknown> = store[step]
  return method(params as never)
}

function logTo(say: (notice: Notice) => void): Log {
  const line =
    (level: Line['level']) =>
    ({ error, ...rest }: Line['fields'], message: string) => {
      const fields = error === undefined ? rest : { ...rest, error: copyError(error) }
      say({ kind: 'line', line: { level, fields, message } })
    }
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}
