/**
 * The near side of the store's thread: a store whose steps are done elsewhere, so that neither SQLite nor a flush of the
 * disk holds up what is on the wire.
 *
 * The calls of one turn of the event loop leave in one message: a message costs some ten microseconds on each side, and
 * little more with a hundred calls in it. Steps are done in the order of their calls.
 */

import type { MessagePort } from 'node:worker_threads'
import { assert, DamagedError } from '../../core/errors.ts'
import type { OperatorEvent } from '../../core/operator-event.ts'
import type { Log } from '../../ports.ts'
import type { Store } from '../store.ts'
import { type Answer, type Call, type Notice, type Step, toError } from './messages.ts'

const STEPS: Readonly<Record<Step, true>> = {
  registerTasks: true,
  cancelTask: true,
  pollTask: true,
  claimDueTasks: true,
  claimOverdueTasks: true,
  recordPolls: true,
  claimDueDeliveries: true,
  recordAttempts: true,
  redeliver: true,
  redeliverTask: true,
  createEndpoint: true,
  updateEndpoint: true,
  setEndpointStatus: true,
  rotateSecret: true,
  reachEndpoint: true,
  getEndpoint: true,
  listEndpoints: true,
  pullEvents: true,
  acknowledgeEvents: true,
  getTask: true,
  listTasks: true,
  getEvent: true,
  getDelivery: true,
  listDeliveries: true,
  listAttempts: true,
  listPolls: true,
  listBudgets: true,
  deleteSettledTasks: true,
  moveInstants: true,
  probe: true,
  checkpoint: true,
  close: true,
  countRedeliverable: true,
  createJob: true,
  advanceJob: true,
  cancelJob: true,
  getJob: true,
  listJobs: true,
  listRunningJobs: true,
  deleteEndpoint: true,
  dropBacklogs: true,
  keepOperatorEndpoint: true,
  deleteOperatorEvents: true,
  forgetEndpoints: true,
  listCadences: true,
}

/**
 * They leave at once, with what was called before them: slots stand empty for as long as a claim takes, and the rest of a
 * turn, in which all the sockets that have something to say are heard, may take several milliseconds.
 */
const CLAIMS: ReadonlySet<Step> = new Set(['claimDueTasks', 'claimDueDeliveries'])

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

export interface NearWorld {
  readonly log: Log
  readonly onDamaged: (error: DamagedError) => void
}

/** @throws what opening the store throws over there: ConfigError, LockedError, DamagedError */
export function openStoreBehind(port: MessagePort, { log, onDamaged }: NearWorld): Promise<Store> {
  const calls = createCalls(port)
  const unheard: OperatorEvent[] = []
  let listen = (told: readonly OperatorEvent[]): void => void unheard.push(...told)
  let impediments: readonly string[] = []

  const storeOf = (databaseId: string): Store => ({
    ...calls.steps,
    databaseId,
    impediments: () => impediments,
    onTold(next) {
      listen = next
      if (unheard.length > 0) next(unheard.splice(0))
    },
  })

  return new Promise<Store>((resolve, reject) => {
    port.on('message', (notice: Notice) => {
      switch (notice.kind) {
        case 'opened':
          impediments = notice.impediments
          return resolve(storeOf(notice.databaseId))
        case 'not_opened':
          return reject(toError(notice.error))
        case 'answers':
          impediments = notice.impediments
          return notice.answers.forEach(calls.settle)
        case 'told':
          return listen(notice.told)
        case 'line':
          return log[notice.line.level](notice.line.fields, notice.line.message)
        case 'damaged':
          return onDamaged(new DamagedError(notice.message))
      }
    })
    port.once('close', () => {
      calls.end()
      reject(new Error('the thread of the store ended before it was open'))
    })
  })
}

function createCalls(port: MessagePort) {
  // By their numbers, which are used again: a Map that is entered and left for each call keeps its garbage alive (core/roll.ts).
  const waiting: (Waiting | null)[] = []
  const freeNumbers: number[] = []
  const unsent: Call[] = []
  let hasEnded = false

  function call(step: Step, params: unknown): Promise<unknown> {
    if (hasEnded) return Promise.reject(closedError())
    const number = freeNumbers.pop() ?? waiting.length
    const answered = new Promise((resolve, reject) => {
      waiting[number] = { resolve, reject }
    })
    if (unsent.push({ number, step, params }) === 1) setImmediate(send)
    if (CLAIMS.has(step)) send()
    return answered
  }

  function send(): void {
    if (unsent.length > 0) port.postMessage(unsent.splice(0))
  }

  const stepOf = (step: string) => [step, (params: unknown) => call(step as Step, params)]

  return {
    steps: Object.fromEntries(Object.keys(STEPS).map(stepOf)) as Pick<Store, Step>,
    settle(answer: Answer): void {
      const { number } = answer
      const owner = waiting[number] ?? null
      assert(owner !== null, `call ${number} waits for its answer`)
      waiting[number] = null
      freeNumbers.push(number)
      if (answer.isDone) owner.resolve(answer.value)
      else owner.reject(toError(answer.error))
    },
    /** What was asked for may have been done; nobody will say. */
    end(): void {
      hasEnded = true
      for (const call of waiting.splice(0)) call?.reject(closedError())
    },
  }
}

function closedError(): Error {
  return new Error('the store is closed')
}
