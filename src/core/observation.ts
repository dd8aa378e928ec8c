/**
 * What the upstream said, and what it means.
 *
 * An adapter reads bytes into an `UpstreamAnswer` (what came, without judging), `classify` makes an `Observation` of it
 * (what it means), and `decide` (decision.ts) a `Decision` (what to do). Only the last two are rules, and they are in core.
 *
 * Sources: the codes 500–1002 are the vendor's own error list ("Virtual Model Alternation Result Query API Reference",
 * section Errors, and the image translation page for 703–705); the gateway names are those of the IOP gateway family
 * that Aidge runs on. The vendor documents neither the HTTP status of an error nor the answer for an unknown task id.
 */

import type { ErrorCodeOfTask, Outcome, ResultImage, TaskError } from './task.ts'
import { SECOND } from './time.ts'

/** Why no readable HTTP answer came. */
export type NoAnswerReason = 'timeout' | 'connect' | 'reset' | 'dns' | 'tls' | 'protocol' | 'too_large'

/** The parts of an answer that rules look at. Absent parts are null. */
export interface AnswerBody {
  /** The gateway's `code`, null where it is absent, empty or says success. */
  readonly gatewayCode: string | null
  readonly gatewayType: string | null
  readonly gatewayMessage: string | null
  readonly success: boolean | null
  readonly resCode: string | null
  readonly resMessage: string | null
  readonly taskStatus: string | null
  readonly taskMessage: string | null
  /** The id of the task that the answer speaks of, digit for digit. */
  readonly echoedTaskId: string | null
  readonly failedItemCount: number
  readonly images: readonly ResultImage[]
  readonly requestId: string | null
  readonly response: string | null
  readonly responseTruncated: boolean
}

export type UpstreamAnswer =
  | { readonly kind: 'no_answer'; readonly reason: NoAnswerReason; readonly detail: string }
  | {
      readonly kind: 'answer'
      readonly httpStatus: number
      readonly retryAfterMs: number | null
      /** Null when the bytes are not a JSON object. */
      readonly body: AnswerBody | null
    }

export type Observation =
  | { readonly kind: 'running'; readonly status: string; readonly isKnownWord: boolean }
  | { readonly kind: 'finished'; readonly outcome: Outcome }
  /** `answersNeeded` alike in a row, spaced, before it is believed; 1 is at once. */
  | { readonly kind: 'failed'; readonly answersNeeded: number; readonly code: string; readonly outcome: Outcome }
  | { readonly kind: 'unavailable'; readonly reason: string; readonly detail: string }
  | { readonly kind: 'throttled'; readonly retryAfterMs: number | null; readonly detail: string }
  /** The operator has to act: quota, key, permission, path. Says nothing about any task. */
  | { readonly kind: 'refused'; readonly code: string; readonly detail: string; readonly isClockSkew: boolean }

const FINISHED_WORDS: ReadonlySet<string> = new Set(['finished', 'completed'])
const FAILED_WORDS: ReadonlySet<string> = new Set(['failed', 'canceled', 'cancelled'])
const RUNNING_WORDS: ReadonlySet<string> = new Set(['submitted', 'running', 'queued', 'in_progress'])

type ServiceCodeRule =
  | { readonly means: 'failed'; readonly code: ErrorCodeOfTask; readonly answersNeeded: number }
  | { readonly means: 'unavailable' }
  | { readonly means: 'throttled' }

/** The vendor's numeric codes (`resCode`). Any other number is treated as unavailable and kept until the deadline. */
export const SERVICE_CODES: Readonly<Record<string, ServiceCodeRule>> = {
  '500': { means: 'unavailable' },
  '501': { means: 'throttled' },
  '700': { means: 'failed', code: 'invalid_input', answersNeeded: 3 },
  '703': { means: 'failed', code: 'invalid_input', answersNeeded: 1 },
  '704': { means: 'failed', code: 'invalid_input', answersNeeded: 1 },
  '705': { means: 'failed', code: 'invalid_input', answersNeeded: 1 },
  '801': { means: 'failed', code: 'model_failed', answersNeeded: 3 },
  '900': { means: 'unavailable' },
  '1000': { means: 'failed', code: 'content_rejected', answersNeeded: 1 },
  '1001': { means: 'failed', code: 'risk_control_failed', answersNeeded: 5 },
  '1002': { means: 'failed', code: 'risk_control_failed', answersNeeded: 3 },
}

/** No such key, no permission, no such path: an operator has to act. */
const REFUSING_STATUSES: ReadonlySet<number> = new Set([401, 403, 404])

type GatewayCodeRule = 'throttled' | 'refused' | 'clock_skew' | 'unavailable'

/** The gateway's named codes, lower case. Names not listed are read by their `type` (ISP, SYSTEM: not our doing). */
export const GATEWAY_CODES: Readonly<Record<string, GatewayCodeRule>> = {
  apicalllimit: 'throttled',
  appcalllimit: 'throttled',
  sellercalllimit: 'throttled',
  calllimited: 'throttled',
  noresource: 'refused',
  incompletesignature: 'refused',
  invalidsignature: 'refused',
  missingparameter: 'refused',
  invalidappkey: 'refused',
  appnotsubscribed: 'refused',
  insufficientpermission: 'refused',
  nopermission: 'refused',
  invalidapipath: 'refused',
  invalidapi: 'refused',
  illegalaccesstoken: 'refused',
  invalidaccesstoken: 'refused',
  illegalrefreshtoken: 'refused',
  illegaltimestamp: 'clock_skew',
  servicetimeout: 'unavailable',
  serviceunavailable: 'unavailable',
  unknownruntimeexception: 'unavailable',
}

/** What an answer means. Order: transport → JSON → gateway code → `resCode` and `success` → `data.taskStatus`. */
export function classify(answer: UpstreamAnswer, askedTaskId: string): Observation {
  const observation = meaningOf(answer)
  const echoedTaskId = answer.kind === 'answer' ? (answer.body?.echoedTaskId ?? null) : null
  if (echoedTaskId === null || echoedTaskId === askedTaskId || !isAboutTask(observation)) return observation
  // Settling on an answer about another task would tell one customer another's result.
  return { kind: 'unavailable', reason: 'foreign_task', detail: 'the answer is about another task id' }
}

function isAboutTask({ kind }: Observation): boolean {
  return kind === 'running' || kind === 'finished' || kind === 'failed'
}

function meaningOf(answer: UpstreamAnswer): Observation {
  if (answer.kind === 'no_answer') return { kind: 'unavailable', reason: answer.reason, detail: answer.detail }
  const { httpStatus, retryAfterMs, body } = answer
  if (httpStatus === 429) {
    return { kind: 'throttled', retryAfterMs: longerWait(textOf(body), retryAfterMs), detail: 'HTTP 429' }
  }
  if (httpStatus >= 500) return { kind: 'unavailable', reason: 'http_status', detail: `HTTP ${httpStatus}` }
  // A gateway may put its reason into the body of a 4xx; the reason is more exact than the number.
  const byGateway = body === null ? null : classifyGatewayCode(body, httpStatus, retryAfterMs)
  if (byGateway !== null) return byGateway
  if (REFUSING_STATUSES.has(httpStatus)) {
    return { kind: 'refused', code: `http_${httpStatus}`, detail: `HTTP ${httpStatus}`, isClockSkew: false }
  }
  if (body === null) return { kind: 'unavailable', reason: 'not_json', detail: `HTTP ${httpStatus} without JSON` }
  const byServiceCode = classifyServiceCode(body, body.resCode, body.resMessage, retryAfterMs)
  if (byServiceCode !== null) return byServiceCode
  if (httpStatus >= 300) return { kind: 'unavailable', reason: 'http_status', detail: `HTTP ${httpStatus}` }
  if (body.success === false) {
    return { kind: 'unavailable', reason: 'no_success', detail: body.resMessage ?? 'success is false, no code' }
  }
  return classifyTaskStatus(body)
}

function textOf(body: AnswerBody | null): string | null {
  return body?.gatewayMessage ?? body?.resMessage ?? null
}

function classifyGatewayCode(body: AnswerBody, httpStatus: number, retryAfterMs: number | null): Observation | null {
  const message = textOf(body)
  const code = body.gatewayCode
  const detail = `${code ?? 'NoResource'}: ${message ?? 'no message'}`
  // The vendor's samples name this text for an empty quota, but not the code that comes with it.
  if (/resources have been exhausted/i.test(message ?? '')) {
    return { kind: 'refused', code: code ?? 'NoResource', detail, isClockSkew: false }
  }
  if (code === null) return null
  if (entryOf(SERVICE_CODES, code) !== undefined) return classifyServiceCode(body, code, message, retryAfterMs)
  switch (entryOf(GATEWAY_CODES, code.toLowerCase()) ?? ruleByName(code, body.gatewayType, httpStatus)) {
    case 'throttled':
      return { kind: 'throttled', retryAfterMs: longerWait(message, retryAfterMs), detail }
    case 'refused':
      return { kind: 'refused', code, detail, isClockSkew: false }
    case 'clock_skew':
      return { kind: 'refused', code, detail, isClockSkew: true }
    case 'unavailable':
      return { kind: 'unavailable', reason: 'gateway', detail }
  }
}

/** A code may be any text at all, `constructor` included. */
function entryOf<T>(table: Readonly<Record<string, T>>, code: string): T | undefined {
  return Object.hasOwn(table, code) ? table[code] : undefined
}

/** A name nobody has documented: whoever is at fault, it is no verdict on the task. */
function ruleByName(code: string, type: string | null, httpStatus: number): GatewayCodeRule {
  if (/calllimit|throttl|limited-by-\w+-access-count/i.test(code)) return 'throttled'
  if (REFUSING_STATUSES.has(httpStatus)) return 'refused'
  if (/permission|signature|appkey|accesskey|forbidden/i.test(code)) return type === 'ISP' ? 'unavailable' : 'refused'
  return 'unavailable'
}

/** The upstream may name a wait in its text and another in Retry-After: the longer one keeps both. */
function longerWait(message: string | null, retryAfterMs: number | null): number | null {
  const textMs = banMs(message ?? '')
  return textMs === null ? retryAfterMs : Math.max(textMs, retryAfterMs ?? 0)
}

/** "… this ban will last 7 more seconds" → 7000. The wording differs between sibling platforms; the number does not. */
function banMs(message: string): number | null {
  const seconds = /last (?:for )?(\d{1,6})(?: more)? ?s(?:ec(?:ond)?s?)?\b/i.exec(message)?.[1]
  return seconds === undefined ? null : Number(seconds) * SECOND
}

function classifyServiceCode(
  body: AnswerBody,
  code: string | null,
  message: string | null,
  retryAfterMs: number | null,
): Observation | null {
  if (code === null || code === '200' || code === '0') return null
  const rule = entryOf(SERVICE_CODES, code)
  const detail = `${code}: ${message ?? 'no message'}`
  if (rule === undefined) return { kind: 'unavailable', reason: 'unknown_code', detail }
  switch (rule.means) {
    case 'unavailable':
      return { kind: 'unavailable', reason: 'upstream_error', detail }
    case 'throttled':
      return { kind: 'throttled', retryAfterMs: longerWait(message, retryAfterMs), detail }
    case 'failed':
      return {
        kind: 'failed',
        answersNeeded: rule.answersNeeded,
        code,
        outcome: failedOutcome(body, {
          code: rule.code === 'invalid_input' && speaksOfNoSuchTask(message) ? 'not_found' : rule.code,
          upstreamCode: code,
          message: message ?? `the upstream answered ${code} without a message`,
          requestId: body.requestId,
        }),
      }
  }
}

function speaksOfNoSuchTask(message: string | null): boolean {
  return /\btask[ _]?(id)?\b.*\b(not (exist|found)|does ?n.t exist)|no such task/i.test(message ?? '')
}

function classifyTaskStatus(body: AnswerBody): Observation {
  const status = body.taskStatus ?? ''
  const word = status.toLowerCase()
  if (FINISHED_WORDS.has(word)) {
    return {
      kind: 'finished',
      outcome: {
        status: 'succeeded',
        partial: body.failedItemCount > 0,
        images: body.images,
        error: null,
        response: body.response,
        responseTruncated: body.responseTruncated,
      },
    }
  }
  if (FAILED_WORDS.has(word)) {
    const message = body.taskMessage ?? `the upstream says the task is ${word}`
    const error = { code: 'upstream_failed', upstreamCode: null, message, requestId: body.requestId } as const
    return { kind: 'failed', answersNeeded: 1, code: word, outcome: failedOutcome(body, error) }
  }
  return { kind: 'running', status, isKnownWord: RUNNING_WORDS.has(word) }
}

function failedOutcome(body: AnswerBody, error: TaskError): Outcome {
  const { images, response, responseTruncated } = body
  return { status: 'failed', partial: false, images, error, response, responseTruncated }
}

/** One line for the log, the timeline and the error of an expired task. */
export function describe(observation: Observation): string {
  switch (observation.kind) {
    case 'running':
      return `running (${observation.status === '' ? 'no task status' : observation.status})`
    case 'finished':
      return 'finished'
    case 'failed':
      return `failed (${observation.code})`
    case 'unavailable':
      return `unavailable (${observation.reason}: ${observation.detail})`
    case 'throttled':
      return `throttled (${observation.detail})`
    case 'refused':
      return `refused (${observation.detail})`
  }
}
