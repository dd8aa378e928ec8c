/** The fake tasks and what was asked about them: the sandbox's memory, without HTTP. */

import { DEFAULT_LIFE, type Life, parseLife, type Reply, replyOf } from './lives.ts'

export interface QueryRecord {
  readonly taskId: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly kind: string
}

export interface SandboxStats {
  readonly submitCount: number
  /** Signed queries with a task id, whatever they were answered. */
  readonly queryCount: number
  /** Calls that the gateway refused, for a bad signature or an unknown path. */
  readonly refusedCount: number
  /** Queries that were answered 501 because of `faults.queriesPerSecondMax`. */
  readonly throttledCount: number
  /** Grows as the sandbox is asked. */
  readonly queriesByTask: ReadonlyMap<string, number>
  /** In order of arrival; the older half goes when there are more than `historyMax`. */
  readonly queries: readonly QueryRecord[]
  /** Above 1, some task was asked about while an earlier question about it was still unanswered. */
  readonly maxConcurrentQueriesPerTask: number
  readonly maxConcurrentQueries: number
}

/** What ails the whole server, beside the lives of single tasks. Submits are spared. */
export interface Faults {
  /** Above so many queries within one second, 501. Null: no limit. */
  readonly queriesPerSecondMax: number | null
  /** Which share of queries fails, 0 to 1: half of them with HTTP 500, half with service code 500. */
  readonly serverErrorRatio: number
  /** What every query hears instead of its task's life: an outage. */
  readonly everyQuery: Reply | null
}

export const NO_FAULTS: Faults = { queriesPerSecondMax: null, serverErrorRatio: 0, everyQuery: null }

interface FakeTask {
  readonly seenAt: number
  life: Life
  answerCount: number
  openCount: number
}

export interface Answered {
  readonly reply: Reply
  readonly answerDelayMs: number
  readonly seenAt: number
}

export interface TaskBook {
  submit(taskId: string, at: number): void
  /** A query has come; a task never seen before counts as submitted now. */
  query(record: QueryRecord): Answered
  /** The connection of a query about this task has ended. */
  queryEnded(taskId: string): void
  refused(): void
  setLife(taskId: string, life: Life): void
  setDefaultLife(life: Life): void
  setFaults(faults: Partial<Faults>): void
  stats(): SandboxStats
}

export interface TaskBookOptions {
  readonly defaultLife?: Life | undefined
  readonly faults?: Partial<Faults> | undefined
  readonly historyMax: number
  /** In [0, 1). */
  readonly random: () => number
}

export function createTaskBook(options: TaskBookOptions): TaskBook {
  const tasks = new Map<string, FakeTask>()
  const lives = new Map<string, Life>()
  const queriesByTask = new Map<string, number>()
  const queries: QueryRecord[] = []
  const counts = { submit: 0, query: 0, refused: 0, throttled: 0, open: 0, openMax: 0, openPerTaskMax: 0 }
  const admit = createThrottle()
  let defaultLife = options.defaultLife ?? DEFAULT_LIFE
  let faults: Faults = { ...NO_FAULTS, ...options.faults }

  const taskOf = (taskId: string, at: number): FakeTask => {
    const known = tasks.get(taskId)
    if (known !== undefined) return known
    const life = lives.get(taskId) ?? parseLife(taskId, defaultLife) ?? defaultLife
    const task: FakeTask = { seenAt: at, life, answerCount: 0, openCount: 0 }
    tasks.set(taskId, task)
    return task
  }
  const remember = (record: QueryRecord, task: FakeTask) => {
    counts.query += 1
    queriesByTask.set(record.taskId, (queriesByTask.get(record.taskId) ?? 0) + 1)
    queries.push(record)
    if (queries.length > options.historyMax) queries.splice(0, Math.ceil(options.historyMax / 2))
    task.openCount += 1
    counts.open += 1
    counts.openMax = Math.max(counts.openMax, counts.open)
    counts.openPerTaskMax = Math.max(counts.openPerTaskMax, task.openCount)
  }
  /** A fault of the server takes no answer from the task's script: `code-801x2` means two answers 801. */
  const faultOf = (at: number): Reply | null => {
    if (faults.everyQuery !== null) return faults.everyQuery
    if (faults.queriesPerSecondMax !== null && !admit(at, faults.queriesPerSecondMax)) {
      counts.throttled += 1
      return { kind: 'code', code: 501 }
    }
    if (faults.serverErrorRatio <= 0 || options.random() >= faults.serverErrorRatio) return null
    return options.random() < 0.5 ? { kind: 'code', code: 500 } : { kind: 'http', status: 500, retryAfterSeconds: 1 }
  }

  return {
    submit: (taskId, at) => {
      counts.submit += 1
      taskOf(taskId, at)
    },
    query: (record) => {
      const task = taskOf(record.taskId, record.at)
      remember(record, task)
      const { answerDelayMs } = task.life
      const fault = faultOf(record.at)
      if (fault !== null) return { reply: fault, answerDelayMs, seenAt: task.seenAt }
      task.answerCount += 1
      const reply = replyOf(task.life, { ageMs: record.at - task.seenAt, answerNumber: task.answerCount })
      return { reply, answerDelayMs, seenAt: task.seenAt }
    },
    queryEnded: (taskId) => {
      counts.open -= 1
      const task = tasks.get(taskId)
      if (task !== undefined) task.openCount -= 1
    },
    refused: () => {
      counts.refused += 1
    },
    setLife: (taskId, life) => {
      lives.set(taskId, life)
      const task = tasks.get(taskId)
      if (task === undefined) return
      task.life = life
      task.answerCount = 0
    },
    setDefaultLife: (life) => {
      defaultLife = life
    },
    setFaults: (changed) => {
      faults = { ...faults, ...changed }
    },
    stats: () => ({
      submitCount: counts.submit,
      queryCount: counts.query,
      refusedCount: counts.refused,
      throttledCount: counts.throttled,
      queriesByTask,
      queries,
      maxConcurrentQueriesPerTask: counts.openPerTaskMax,
      maxConcurrentQueries: counts.openMax,
    }),
  }
}

/** Admits at most `max` in any one second; what is turned away does not count. */
function createThrottle(): (at: number, max: number) => boolean {
  let admittedAt: number[] = []
  return (at, max) => {
    admittedAt = admittedAt.filter((earlierAt) => earlierAt > at - 1000)
    if (admittedAt.length >= max) return false
    admittedAt.push(at)
    return true
  }
}

/** Numbers in [0, 1) that a seed decides (mulberry32): quick, small, and random enough for faults and names. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
