/**
 * What a fake task does with its life, as a value: the troubles that its first queries meet, and the end it comes to.
 *
 * A life is written into the task id, so that a person can see what a task will do and a test needs no other channel:
 *
 *     ok-500ms-abc              finished half a second after it was first seen
 *     code-801x2-ok-abc         answers 801 twice, then finished
 *     http-429x3-5s-slow-1s-…   three times 429 with `Retry-After: 5`, every answer held back for 1 s, then the default
 *
 * The id is read from the left, split at `-`. A trouble with `xN` takes N answers and the next words follow it; a
 * trouble without `xN` lasts for ever; an end ends the reading, and whatever follows is there to make the id unique.
 * Where the reading meets a word that is not in `LIFE_GRAMMAR`, the sandbox's default life goes on. Days are no unit
 * here: `1234567d` is how one UUID in some hundreds begins.
 */

import { parseDuration, SECOND } from '../core/time.ts'

/** An answer that says nothing of the task, or not what it should. */
export type Trouble =
  | { readonly kind: 'code'; readonly code: number }
  | { readonly kind: 'http'; readonly status: number; readonly retryAfterSeconds: number }
  | { readonly kind: 'gateway'; readonly code: string; readonly banSeconds: number }
  | { readonly kind: PlainTrouble }

export type PlainTrouble =
  | 'hang'
  | 'stall'
  | 'reset'
  | 'garbage'
  | 'html'
  | 'truncated'
  | 'empty'
  | 'nodata'
  | 'foreign'
  | 'endless'

/** What a finished task has to show: all its results, some failed, none, or all with a long text beside them. */
export type Yield =
  | { readonly kind: 'all' }
  | { readonly kind: 'partial' }
  | { readonly kind: 'none' }
  | { readonly kind: 'huge'; readonly bytes: number }

export type Ending =
  | { readonly kind: 'finishes'; readonly afterMs: number; readonly yields: Yield }
  | { readonly kind: 'fails'; readonly afterMs: number }
  /** For ever in one status word; `running` is a task that never ends. */
  | { readonly kind: 'says'; readonly word: string }
  | { readonly kind: 'troubled'; readonly trouble: Trouble }

export interface Life {
  readonly answerDelayMs: number
  readonly troubles: readonly { readonly trouble: Trouble; readonly times: number }[]
  readonly ending: Ending
}

export interface GrammarRow {
  readonly form: string
  readonly example: string
  readonly meaning: string
}

/** Every word of the grammar, for the help of a command line. The reader below has exactly these words. */
export const LIFE_GRAMMAR = {
  ok: { form: 'ok[-TIME]', example: 'ok-500ms', meaning: 'submitted, running, then finished after TIME (at once)' },
  fail: { form: 'fail[-TIME]', example: 'fail-2s', meaning: 'taskStatus failed with a taskMessage after TIME' },
  partial: { form: 'partial[-TIME]', example: 'partial-1s', meaning: 'finished, but the last result has failed' },
  nourls: { form: 'nourls[-TIME]', example: 'nourls', meaning: 'finished without any result' },
  huge: { form: 'huge[-Nkib|-Nmib]', example: 'huge-9mib', meaning: 'finished, in an answer larger than N (96kib)' },
  never: { form: 'never', example: 'never', meaning: 'running for ever' },
  word: { form: 'word-WORD', example: 'word-meditating', meaning: 'WORD as the status, for ever' },
  code: { form: 'code-N[xTIMES]', example: 'code-801x2-ok', meaning: 'service code N: 500, 501, 700, 801, 1000 …' },
  http: {
    form: 'http-N[xTIMES][-TIME]',
    example: 'http-429x3-5s',
    meaning: 'HTTP status N; TIME is the Retry-After of 429',
  },
  gateway: {
    form: 'gateway-NAME[xTIMES][-TIME]',
    example: 'gateway-ApiCallLimitx1-7s',
    meaning: 'the gateway’s error NAME: NoResource, InvalidAppKey …; TIME is how long a call limit bans',
  },
  hang: { form: 'hang[xTIMES]', example: 'hangx1-ok', meaning: 'never answers' },
  stall: { form: 'stall[xTIMES]', example: 'stall', meaning: 'sends half an answer and never the rest' },
  reset: { form: 'reset[xTIMES]', example: 'resetx2', meaning: 'resets the connection instead of answering' },
  endless: { form: 'endless[xTIMES]', example: 'endless', meaning: 'an answer that never stops coming' },
  garbage: { form: 'garbage[xTIMES]', example: 'garbage', meaning: 'text that is not JSON, with HTTP 200' },
  html: { form: 'html[xTIMES]', example: 'htmlx1', meaning: 'an HTML page with HTTP 200' },
  truncated: { form: 'truncated[xTIMES]', example: 'truncatedx1', meaning: 'JSON that breaks off in the middle' },
  empty: { form: 'empty[xTIMES]', example: 'empty', meaning: 'HTTP 200 with no body' },
  nodata: { form: 'nodata[xTIMES]', example: 'nodatax1', meaning: 'success, but data is null' },
  foreign: { form: 'foreign[xTIMES]', example: 'foreign', meaning: 'finished, but about another task id' },
  slow: { form: 'slow-TIME', example: 'slow-2s-ok', meaning: 'every answer is held back for TIME' },
} as const satisfies Readonly<Record<string, GrammarRow>>

type Word = keyof typeof LIFE_GRAMMAR

/** What a word and the segments after it say; `used` counts those segments. Null when they do not fit the form. */
type Step =
  | { readonly kind: 'trouble'; readonly trouble: Trouble; readonly times: number | null; readonly used: number }
  | { readonly kind: 'slow'; readonly answerDelayMs: number; readonly used: number }
  | { readonly kind: 'ending'; readonly ending: Ending }

type ReadStep = (after: readonly string[], times: number | null) => Step | null

const HUGE_BYTES = 96 * 1024
const HUGE_BYTES_MAX = 64 * 1024 * 1024

const STEPS: Readonly<Record<Word, ReadStep>> = {
  ok: ([time]) => finishes(time, { kind: 'all' }),
  partial: ([time]) => finishes(time, { kind: 'partial' }),
  nourls: ([time]) => finishes(time, { kind: 'none' }),
  huge: ([size]) => finishes(undefined, { kind: 'huge', bytes: readSize(size) ?? HUGE_BYTES }),
  fail: ([time]) => ({ kind: 'ending', ending: { kind: 'fails', afterMs: readTime(time) ?? 0 } }),
  never: () => ({ kind: 'ending', ending: { kind: 'says', word: 'running' } }),
  word: ([word]) => (word ? { kind: 'ending', ending: { kind: 'says', word } } : null),
  code: ([text]) => readCode(text),
  http: ([text, time]) => readHttp(text, time),
  gateway: ([text, time]) => readGateway(text, time),
  slow: ([time]) => {
    const answerDelayMs = readTime(time)
    return answerDelayMs === null ? null : { kind: 'slow', answerDelayMs, used: 1 }
  },
  hang: plain('hang'),
  stall: plain('stall'),
  reset: plain('reset'),
  endless: plain('endless'),
  garbage: plain('garbage'),
  html: plain('html'),
  truncated: plain('truncated'),
  empty: plain('empty'),
  nodata: plain('nodata'),
  foreign: plain('foreign'),
}

export const DEFAULT_LIFE: Life = finishingAfter(3 * SECOND)

/** The plainest life: submitted, running, and finished with all results after `afterMs`. */
export function finishingAfter(afterMs: number): Life {
  return { answerDelayMs: 0, troubles: [], ending: { kind: 'finishes', afterMs, yields: { kind: 'all' } } }
}

/** The life that the text tells, `fallback` being what follows where it stops telling. Null when it tells none. */
export function parseLife(text: string, fallback: Life = DEFAULT_LIFE): Life | null {
  const segments = text.split('-')
  const troubles: { trouble: Trouble; times: number }[] = []
  let answerDelayMs: number | null = null
  let at = 0
  let step = readStep(segments, at)
  if (step === null) return null
  while (step !== null) {
    if (step.kind === 'ending') return { answerDelayMs: answerDelayMs ?? 0, troubles, ending: step.ending }
    if (step.kind === 'slow') answerDelayMs = step.answerDelayMs
    else if (step.times !== null) troubles.push({ trouble: step.trouble, times: step.times })
    else return { answerDelayMs: answerDelayMs ?? 0, troubles, ending: { kind: 'troubled', trouble: step.trouble } }
    at += 1 + step.used
    step = readStep(segments, at)
  }
  return {
    answerDelayMs: answerDelayMs ?? fallback.answerDelayMs,
    troubles: [...troubles, ...fallback.troubles],
    ending: fallback.ending,
  }
}

/** As `parseLife`, for texts that a person gave as a life and nothing else. Throws a RangeError that lists the forms. */
export function lifeOf(text: string): Life {
  const life = parseLife(text)
  if (life !== null) return life
  const forms = Object.values(LIFE_GRAMMAR).map((row) => row.form)
  throw new RangeError(`life: expected one of ${forms.join(', ')}, got ${JSON.stringify(text)}`)
}

/** What one query hears. */
export type Reply =
  | Trouble
  | { readonly kind: 'finished'; readonly yields: Yield; readonly afterMs: number }
  | { readonly kind: 'failed' }
  | { readonly kind: 'status'; readonly word: string }

/** A function of the task's age and of how many queries about it have come, this one included. */
export function replyOf(life: Life, { ageMs, answerNumber }: { ageMs: number; answerNumber: number }): Reply {
  let troubledCount = 0
  for (const { trouble, times } of life.troubles) {
    troubledCount += times
    if (answerNumber <= troubledCount) return trouble
  }
  const { ending } = life
  switch (ending.kind) {
    case 'troubled':
      return ending.trouble
    case 'says':
      return { kind: 'status', word: ending.word }
    case 'finishes':
      if (ageMs < ending.afterMs) return underway(ageMs, ending.afterMs)
      return { kind: 'finished', yields: ending.yields, afterMs: ending.afterMs }
    case 'fails':
      return ageMs < ending.afterMs ? underway(ageMs, ending.afterMs) : { kind: 'failed' }
  }
}

/** The first quarter is spent in the queue; the vendor says nothing of how the time divides. */
function underway(ageMs: number, afterMs: number): Reply {
  return { kind: 'status', word: ageMs < afterMs / 4 ? 'submitted' : 'running' }
}

function readStep(segments: readonly string[], at: number): Step | null {
  const match = /^([a-z]+?)(?:x(\d{1,6}))?$/.exec(segments[at] ?? '')
  const word = match?.[1]
  if (word === undefined || !isWord(word)) return null
  return STEPS[word](segments.slice(at + 1), match?.[2] === undefined ? null : Number(match[2]))
}

function isWord(text: string): text is Word {
  return Object.hasOwn(LIFE_GRAMMAR, text)
}

function finishes(time: string | undefined, yields: Yield): Step {
  return { kind: 'ending', ending: { kind: 'finishes', afterMs: readTime(time) ?? 0, yields } }
}

function plain(kind: PlainTrouble): ReadStep {
  return (_, times) => ({ kind: 'trouble', trouble: { kind }, times, used: 0 })
}

function readCode(text: string | undefined): Step | null {
  const match = /^(\d{1,6})(?:x(\d{1,6}))?$/.exec(text ?? '')
  if (match === null) return null
  return { kind: 'trouble', trouble: { kind: 'code', code: Number(match[1]) }, times: readTimes(match[2]), used: 1 }
}

function readHttp(text: string | undefined, time: string | undefined): Step | null {
  const match = /^([2-5]\d\d)(?:x(\d{1,6}))?$/.exec(text ?? '')
  if (match === null) return null
  const waitMs = readTime(time)
  const trouble = { kind: 'http', status: Number(match[1]), retryAfterSeconds: inSeconds(waitMs) } as const
  return { kind: 'trouble', trouble, times: readTimes(match[2]), used: waitMs === null ? 1 : 2 }
}

function readGateway(text: string | undefined, time: string | undefined): Step | null {
  const match = /^([A-Za-z][A-Za-z.]*?)(?:x(\d{1,6}))?$/.exec(text ?? '')
  if (match?.[1] === undefined) return null
  const waitMs = readTime(time)
  const trouble = { kind: 'gateway', code: match[1], banSeconds: inSeconds(waitMs) } as const
  return { kind: 'trouble', trouble, times: readTimes(match[2]), used: waitMs === null ? 1 : 2 }
}

function readTimes(text: string | undefined): number | null {
  return text === undefined ? null : Number(text)
}

function readTime(text: string | undefined): number | null {
  return text === undefined || text.endsWith('d') ? null : parseDuration(text)
}

function readSize(text: string | undefined): number | null {
  const match = /^(\d{1,6})(kib|mib)$/.exec(text ?? '')
  if (match === null) return null
  return Math.min(Number(match[1]) * (match[2] === 'kib' ? 1024 : 1024 * 1024), HUGE_BYTES_MAX)
}

/** Both a Retry-After and a ban are told in whole seconds, and neither is ever none. */
function inSeconds(waitMs: number | null): number {
  return Math.max(1, Math.ceil((waitMs ?? SECOND) / SECOND))
}
