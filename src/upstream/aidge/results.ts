/**
 * Result URLs and failed items, wherever a product puts them.
 *
 * The vendor's pages, samples and generated classes contradict one another about where a result lies (`taskResult[].url`,
 * `taskResult[].imageUrlList`, `taskResult[].taskResult.result.imageList[].imageUrl`, a JSON text inside a string …), and
 * most were never seen whole. So everything below `data` is walked, and a URL counts by the name it stands under. What
 * the caller had sent in and the upstream repeats is no result.
 */

import type { ResultImage } from '../../core/task.ts'
import { after, type EpochMs, epochMs, parseIso, SECOND } from '../../core/time.ts'
import { isRecord, parseJson } from './json.ts'

export interface Results {
  /** In the order of the answer, each URL once. */
  readonly images: readonly ResultImage[]
  /** Items below `data` that say of themselves that they failed. */
  readonly failedItemCount: number
}

export const IMAGES_MAX = 1_000
/** The deepest shape on record has 9 levels; a JSON text inside a string counts as one more. */
const DEPTH_MAX = 32
/** Bounds the time that one absurd answer can take from all others, beside the parsing itself. */
const VALUES_MAX = 100_000
/** Of all JSON texts inside strings together: the vendor's have some thousand characters. */
const INNER_CHARS_MAX = 1_048_576
/** Signed URLs with a session token reach about 1 500. */
const URL_CHARS_MAX = 16_384

/** Names, in lower case without underscores, under which a URL (or a list of them) is a result. */
const RESULT_NAMES: ReadonlySet<string> = new Set([
  'url',
  'imageurl',
  'imageurllist',
  'resultimageurl',
  'videourl',
  'taskresult',
  'result',
])
const INPUT_NAMES = /^(clothes|garments?|masks?|models?)$|^(input|source|origin|request|param|reference|editor)/
const FAILED_WORDS: ReadonlySet<string> = new Set(['failed', 'canceled', 'cancelled'])

/** Where a value stands. Lists and JSON texts hand theirs on to what is in them. */
interface Place {
  readonly name: string
  readonly isResult: boolean
  readonly width: number | null
  readonly height: number | null
  readonly isInFailedItem: boolean
}

interface Walk {
  readonly images: Map<string, ResultImage>
  failedItemCount: number
  valuesLeft: number
  innerCharsLeft: number
}

/** `data` of an answer, parsed. */
export function readResults(data: unknown): Results {
  const walk: Walk = { images: new Map(), failedItemCount: 0, valuesLeft: VALUES_MAX, innerCharsLeft: INNER_CHARS_MAX }
  const top: Place = { name: 'data', isResult: false, width: null, height: null, isInFailedItem: false }
  // The task's own status stands at the top; only items below it can fail on their own.
  if (isRecord(data)) visitMembers(walk, data, top, 0)
  else visit(walk, data, top, 0)
  return { images: [...walk.images.values()], failedItemCount: walk.failedItemCount }
}

function visit(walk: Walk, value: unknown, place: Place, depth: number): void {
  walk.valuesLeft -= 1
  if (depth > DEPTH_MAX || walk.valuesLeft < 0) return
  if (typeof value === 'string') {
    visitText(walk, value, place, depth)
  } else if (Array.isArray(value)) {
    for (const item of value) {
      if (walk.valuesLeft < 0) return
      visit(walk, item, place, depth + 1)
    }
  } else if (isRecord(value)) {
    const isNewFailure = !place.isInFailedItem && saysFailed(value)
    if (isNewFailure) walk.failedItemCount += 1
    visitMembers(walk, value, { ...place, isInFailedItem: place.isInFailedItem || isNewFailure }, depth)
  }
}

function visitMembers(walk: Walk, object: Readonly<Record<string, unknown>>, parent: Place, depth: number): void {
  const width = sizeOf(object['width'])
  const height = sizeOf(object['height'])
  for (const key in object) {
    if (walk.valuesLeft < 0) return
    const name = key.replaceAll('_', '').toLowerCase()
    if (INPUT_NAMES.test(name)) continue
    const isResult = RESULT_NAMES.has(name) || (name === 'data' && parent.name === 'structdata')
    visit(walk, object[key], { name, isResult, width, height, isInFailedItem: parent.isInFailedItem }, depth + 1)
  }
}

function visitText(walk: Walk, text: string, place: Place, depth: number): void {
  if (/^\s*[[{]/.test(text)) {
    walk.innerCharsLeft -= text.length
    const inner = walk.innerCharsLeft < 0 ? undefined : parseJson(text)
    if (inner !== undefined) visit(walk, inner, place, depth + 1)
    return
  }
  if (!place.isResult) return
  for (const url of place.name === 'imageurllist' ? splitList(text) : [text]) {
    if (walk.images.size >= IMAGES_MAX) return
    if (!isResultUrl(url) || walk.images.has(url)) continue
    walk.images.set(url, { url, width: place.width, height: place.height, expiresAt: expiresAt(url) })
  }
}

/** One page types `imageUrlList` as a string. A comma is common inside a URL; one before `http://` is not. */
function splitList(text: string): readonly string[] {
  return text.split(/,(?=https?:\/\/)/i)
}

function saysFailed(item: Readonly<Record<string, unknown>>): boolean {
  const status = item['taskStatus'] ?? item['task_status'] ?? item['TaskStatus']
  return typeof status === 'string' && FAILED_WORDS.has(status.toLowerCase())
}

/** Some products send numbers as strings. */
function sizeOf(value: unknown): number | null {
  const size = typeof value === 'string' && /^\d{1,6}$/.test(value) ? Number(value) : value
  return typeof size === 'number' && Number.isFinite(size) && size >= 0 ? size : null
}

/** U+FFFD stands for bytes that were no UTF-8: the URL that was meant is lost. */
function isResultUrl(text: string): boolean {
  if (text.length > URL_CHARS_MAX || !/^https?:\/\//i.test(text)) return false
  return !/[\p{Cc}\p{Cs}\ufffd]/u.test(text) && URL.canParse(text)
}

/**
 * Until when a signed URL works, as far as the URL itself says so: `Expires` in Unix seconds (OSS and S3, version 1), or
 * the date of signing plus a duration (version 4). A session token in the URL may end sooner; nothing tells when.
 */
export function expiresAt(url: string): EpochMs | null {
  const seconds = secondsOf(valueIn(url, EXPIRES))
  if (seconds !== null) return epochMs(seconds * SECOND)
  return (
    sumOf(valueIn(url, AMZ_DATE), valueIn(url, AMZ_EXPIRES)) ?? sumOf(valueIn(url, OSS_DATE), valueIn(url, OSS_EXPIRES))
  )
}

const EXPIRES = parameter('expires')
const AMZ_DATE = parameter('x-amz-date')
const AMZ_EXPIRES = parameter('x-amz-expires')
const OSS_DATE = parameter('x-oss-date')
const OSS_EXPIRES = parameter('x-oss-expires')

/**
 * The last of this name in the query of a URL, in any case of letters, as it is written: nobody encodes digits, and to
 * read all parameters with `URLSearchParams` took six times as long.
 */
function parameter(name: string): RegExp {
  return new RegExp(`^[^?#]*\\?(?:[^#]*&)?${name}=([^&#]*)`, 'i')
}

function valueIn(url: string, name: RegExp): string | undefined {
  return name.exec(url)?.[1]
}

function secondsOf(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,12}$/.test(text) ? Number(text) : null
}

function sumOf(date: string | undefined, duration: string | undefined): EpochMs | null {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date ?? '')
  const seconds = secondsOf(duration)
  if (match === null || seconds === null) return null
  const [, year, month, day, hour, minute, second] = match
  const signedAt = parseIso(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  return signedAt === null ? null : after(signedAt, seconds * SECOND)
}
