/**
 * Register: the first step. Turns what somebody asked for into registrations that the store can keep, or into faults
 * that say what to do.
 *
 * The rules live here and not in the HTTP part, because there are other ways in. Shapes (is it text at all?) are the
 * business of each way in.
 */

import { AppError, type Fault } from '../core/errors.ts'
import { isId } from '../core/ids.ts'
import { pointerToken, shown } from '../core/shown.ts'
import { DEFAULT_KIND, UPSTREAM_TASK_ID_PATTERN } from '../core/task.ts'
import {
  after,
  DAY,
  type EpochMs,
  earliest,
  epochMs,
  formatDuration,
  latest,
  MINUTE,
  parseDuration,
  parseIso,
  toIso,
} from '../core/time.ts'
import type { Clock, GuardUrl, Upstream } from '../ports.ts'
import type { Callback, Registered, Registration, Store, Task } from '../store/store.ts'
import type { Cadences } from './cadences.ts'

export interface RegistrationInput {
  /** What the upstream calls the task. */
  readonly taskId: string
  /** Exactly one of `callbackUrl` and `endpointId`. */
  readonly callbackUrl?: string | undefined
  readonly endpointId?: string | undefined
  readonly kind?: string | undefined
  /** A JSON object; given back word for word in the webhook. */
  readonly metadata?: unknown
  /** A duration from now (`2h`), or an ISO 8601 instant with a zone. */
  readonly deadline?: string | undefined
  /** An ISO 8601 instant with a zone, or whole milliseconds since the epoch. */
  readonly submittedAt?: string | number | undefined
}

export type RegistrationResult =
  | { readonly ok: true; readonly task: Task; readonly isNew: boolean }
  /** Its faults point into the one input they belong to. */
  | { readonly ok: false; readonly error: AppError }

export interface Registrar {
  /** One result per input, in order, once everything that goes in is on disk. A bad input never stops the others. */
  register(inputs: readonly RegistrationInput[]): Promise<readonly RegistrationResult[]>
}

export interface RegistrarDeps {
  readonly store: Pick<Store, 'registerTasks'>
  readonly upstream: Pick<Upstream, 'kinds' | 'credentialOf' | 'idsPerQuery'>
  readonly guardUrl: GuardUrl
  readonly clock: Pick<Clock, 'now'>
  readonly cadences: Pick<Cadences, 'plan' | 'priceFactorOf'>
  /** Told of everything that was kept, after the commit: there may be something to ask or to send at once. */
  readonly onRegistered: (registered: readonly Registered[]) => void
}

export interface RegistrarSettings {
  /** For tasks that are registered without a deadline of their own. */
  readonly taskDeadlineMs: number
}

export const DEADLINE_MS_MAX = 365 * DAY
export const METADATA_BYTES_MAX = 16 * 1024
export const METADATA_DEPTH_MAX = 32

/** Clocks differ a little; a submission further ahead than this is a mistake in the input. */
const CLOCK_DIFFERENCE_MS_MAX = 5 * MINUTE

/** 1973. A number below it is a count of seconds, given where milliseconds are meant. */
const PLAUSIBLE_EPOCH_MS_MIN = 100_000_000_000

export function createRegistrar(deps: RegistrarDeps, settings: RegistrarSettings): Registrar {
  const { store, clock, onRegistered } = deps

  async function register(inputs: readonly RegistrationInput[]): Promise<readonly RegistrationResult[]> {
    const now = clock.now()
    const rules = { ...deps, guardUrl: judgingOnce(deps.guardUrl) }
    const checked = refuseRepeated(inputs.map((input) => check(input, now, rules, settings)))
    const registrations = checked.flatMap((item) => (item.ok ? [item.registration] : []))
    if (registrations.length === 0) return checked.flatMap((item) => (item.ok ? [] : [item]))

    const registered = await store.registerTasks({ now, registrations })
    onRegistered(registered)
    const results = registered.values()
    return checked.map((item) => (item.ok ? resultOf(results.next().value) : item))
  }

  return { register }
}

function resultOf(registered: Registered | undefined): RegistrationResult {
  if (registered === undefined) throw new Error('the store answered for fewer registrations than it was given')
  if (registered.kind === 'registered') return { ok: true, task: registered.task, isNew: registered.isNew }
  if (registered.kind === 'unknown_endpoint') return refused([unknownEndpoint(registered.endpointId)])
  const { id, kind, taskId } = registered.task
  const text = `${kind}/${taskId} (${id}) was canceled, and that is final: nobody will be told of it`
  return { ok: false, error: new AppError('conflict', text) }
}

type Refused = Extract<RegistrationResult, { ok: false }>
type Checked = { readonly ok: true; readonly registration: Registration } | Refused

function refused(faults: readonly Fault[]): Refused {
  const [first] = faults
  const detail =
    faults.length === 1 && first !== undefined
      ? `${first.pointer.slice(1)}: ${first.message}`
      : `${faults.length} things are wrong with this task; see errors`
  return { ok: false, error: new AppError('invalid', detail, { faults }) }
}

/** A value that passed its rule, or what is wrong with it. */
type Ruled<T> = { readonly value: T } | { readonly fault: Fault }

function fault(pointer: string, code: string, message: string): { readonly fault: Fault } {
  return { fault: { pointer, code, message } }
}

/** Every rule about one input, so that all its faults are told at once. */
function check(input: RegistrationInput, now: EpochMs, deps: RegistrarDeps, settings: RegistrarSettings): Checked {
  const { upstream, guardUrl } = deps
  const taskId = taskIdOf(input.taskId)
  const callback = callbackOf(input, guardUrl)
  const kind = kindOf(input.kind ?? DEFAULT_KIND, upstream)
  const metadata = metadataOf(input.metadata)
  const deadlineAt = deadlineOf(input.deadline, now, settings.taskDeadlineMs)
  const submittedAt = submissionOf(input.submittedAt, now)
  if (
    'fault' in taskId ||
    'fault' in callback ||
    'fault' in kind ||
    'fault' in metadata ||
    'fault' in deadlineAt ||
    'fault' in submittedAt
  ) {
    const ruled = [taskId, callback, kind, metadata, deadlineAt, submittedAt]
    return refused(ruled.flatMap((item) => ('fault' in item ? [item.fault] : [])))
  }
  const registration: Registration = {
    taskId: taskId.value,
    kind: kind.value,
    credential: upstream.credentialOf(kind.value),
    callback: callback.value,
    metadata: metadata.value,
    submittedAt: submittedAt.value,
    deadlineAt: deadlineAt.value,
    firstPollAt: earliest(firstPollAt(kind.value, submittedAt.value, now, deps), deadlineAt.value),
  }
  return { ok: true, registration }
}

function taskIdOf(taskId: string): Ruled<string> {
  if (UPSTREAM_TASK_ID_PATTERN.test(taskId)) return { value: taskId }
  const length = taskId.length > 256 ? ` (${taskId.length} characters)` : ''
  return fault(
    '/taskId',
    'invalid_task_id',
    `expected 1–256 printable ASCII characters without spaces, got ${shown(taskId)}${length}; send the id exactly as Aidge gave it`,
  )
}

/** The tasks of one call mostly share a callback, and to judge one takes longer than all else that is checked. */
function judgingOnce(guardUrl: GuardUrl): GuardUrl {
  const verdicts = new Map<string, ReturnType<GuardUrl>>()
  return (url) => {
    const verdict = verdicts.get(url) ?? guardUrl(url)
    verdicts.set(url, verdict)
    return verdict
  }
}

function callbackOf({ callbackUrl, endpointId }: RegistrationInput, guardUrl: GuardUrl): Ruled<Callback> {
  if (callbackUrl !== undefined && endpointId !== undefined) {
    return fault('/endpointId', 'conflicting', 'callbackUrl is given as well; send only one of the two')
  }
  if (callbackUrl !== undefined) {
    const verdict = guardUrl(callbackUrl)
    if (!verdict.isAllowed) return fault('/callbackUrl', verdict.code, verdict.message)
    return { value: { kind: 'url', url: verdict.url } }
  }
  if (endpointId === undefined) {
    return fault(
      '/callbackUrl',
      'missing',
      'nowhere to call back: send a callbackUrl, or the endpointId of an endpoint',
    )
  }
  if (!isId('ep', endpointId)) return { fault: unknownEndpoint(endpointId) }
  return { value: { kind: 'endpoint', endpointId } }
}

function unknownEndpoint(endpointId: string): Fault {
  const message = `no endpoint ${shown(endpointId)} is known; send the id of one that exists (ep_…), or a callbackUrl`
  return { pointer: '/endpointId', code: 'unknown_endpoint', message }
}

function kindOf(kind: string, upstream: RegistrarDeps['upstream']): Ruled<string> {
  if (upstream.idsPerQuery(kind) !== null) return { value: kind }
  return fault('/kind', 'unknown_kind', `${shown(kind)} is not a known kind; known are ${upstream.kinds().join(', ')}`)
}

/** Metadata comes back in every webhook exactly as it was given, or it is refused: nothing in it is changed silently. */
function metadataOf(metadata: unknown): Ruled<string> {
  if (metadata === undefined) return { value: '{}' }
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) {
    return fault('/metadata', 'invalid_type', `expected a JSON object, got ${shown(metadata)}`)
  }
  const found = inexactPart(metadata, '/metadata', 1)
  if (found !== null) return { fault: found }
  const text = JSON.stringify(metadata)
  const byteCount = Buffer.byteLength(text)
  if (byteCount <= METADATA_BYTES_MAX) return { value: text }
  const remedy = 'keep the rest on your side under an id of your own'
  return fault(
    '/metadata',
    'too_large',
    `${byteCount} bytes as JSON, and ${METADATA_BYTES_MAX} are the limit; ${remedy}`,
  )
}

/** The first part that could not be given back as it came: nested too deep, or a number that was rounded in reading. */
function inexactPart(value: unknown, pointer: string, depth: number): Fault | null {
  if (typeof value === 'number' && !isExact(value)) {
    const message = `${value} cannot be kept exactly: integers end at ±${Number.MAX_SAFE_INTEGER}; send it as text`
    return { pointer, code: 'inexact_number', message }
  }
  if (typeof value !== 'object' || value === null) return null
  if (depth > METADATA_DEPTH_MAX) {
    const message = `nested deeper than ${METADATA_DEPTH_MAX} levels; send it flatter, or as text`
    return { pointer: '/metadata', code: 'too_deep', message }
  }
  for (const [key, part] of Object.entries(value)) {
    const found = inexactPart(part, `${pointer}/${pointerToken(key)}`, depth + 1)
    if (found !== null) return found
  }
  return null
}

function isExact(value: number): boolean {
  return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
}

function deadlineOf(deadline: string | undefined, now: EpochMs, defaultMs: number): Ruled<EpochMs> {
  if (deadline === undefined) return { value: after(now, defaultMs) }
  const durationMs = parseDuration(deadline)
  const at = durationMs === null ? parseIso(deadline) : after(now, durationMs)
  const remedy = `send a duration such as 30m or 2h, or an instant such as ${toIso(after(now, defaultMs))}`
  if (at === null) {
    return fault('/deadline', 'invalid_instant', `${shown(deadline)} is neither a duration nor an instant; ${remedy}`)
  }
  if (at <= now) return fault('/deadline', 'out_of_range', `${shown(deadline)} is not in the future; ${remedy}`)
  if (at - now > DEADLINE_MS_MAX) {
    const max = formatDuration(DEADLINE_MS_MAX)
    return fault('/deadline', 'out_of_range', `${shown(deadline)} is further away than ${max}; ${remedy}`)
  }
  return { value: at }
}

function submissionOf(submittedAt: string | number | undefined, now: EpochMs): Ruled<EpochMs | null> {
  if (submittedAt === undefined) return { value: null }
  const at = typeof submittedAt === 'number' ? wholeMs(submittedAt) : parseIso(submittedAt)
  const remedy = `send an instant such as ${toIso(now)}, or whole milliseconds such as ${now}`
  if (at === null) {
    return fault('/submittedAt', 'invalid_instant', `${shown(submittedAt)} is not an instant; ${remedy}`)
  }
  if (at < PLAUSIBLE_EPOCH_MS_MIN) {
    return fault('/submittedAt', 'out_of_range', `${shown(submittedAt)} is ${toIso(at)}, long before Aidge; ${remedy}`)
  }
  if (at - now > CLOCK_DIFFERENCE_MS_MAX) {
    return fault(
      '/submittedAt',
      'out_of_range',
      `${shown(submittedAt)} is in the future (now is ${toIso(now)}); ${remedy}`,
    )
  }
  return { value: earliest(at, now) }
}

function wholeMs(value: number): EpochMs | null {
  return Number.isSafeInteger(value) && Math.abs(value) <= 8_640_000_000_000_000 ? epochMs(value) : null
}

/**
 * At once, because a task of unknown age may have finished long ago. Only one that is known to be younger than the first
 * ask would be waits for it: hardly any answer can be ready yet.
 */
function firstPollAt(
  kind: string,
  submittedAt: EpochMs | null,
  now: EpochMs,
  { cadences, upstream }: Pick<RegistrarDeps, 'cadences' | 'upstream'>,
): EpochMs {
  if (submittedAt === null) return now
  const factor = cadences.priceFactorOf(upstream.credentialOf(kind))
  const { delayMs } = cadences.plan({ kind, runningAgeMs: 0, ageMs: 0, now, priceFactor: factor, random: 0.5 })
  return latest(now, after(submittedAt, delayMs))
}

/** The first of several alike goes in; each later one is a fault, as nobody means to say the same thing twice. */
function refuseRepeated(checked: readonly Checked[]): readonly Checked[] {
  if (checked.length < 2) return checked
  const firstIndexes = new Map<string, number>()
  return checked.map((item, index) => {
    if (!item.ok) return item
    const { kind, taskId, callback } = item.registration
    const key = `${kind} ${taskId} ${callback.kind === 'url' ? callback.url : callback.endpointId}`
    const firstIndex = firstIndexes.get(key)
    if (firstIndex === undefined) {
      firstIndexes.set(key, index)
      return item
    }
    const message = `${shown(taskId)} with this callback is item ${firstIndex} of the same call already; send it once`
    return refused([{ pointer: '/taskId', code: 'duplicate', message }])
  })
}
