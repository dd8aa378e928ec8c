/** Instants and durations: whole milliseconds everywhere, seconds only on the wire of a webhook header. */

declare const epochMsBrand: unique symbol

/** A wall-clock instant in whole milliseconds since 1970-01-01T00:00:00Z. */
export type EpochMs = number & { readonly [epochMsBrand]: true }

export const SECOND = 1_000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** The last instant that ECMAScript dates can write as text (ECMA-262 §21.4.1.1). */
const EPOCH_MS_MAX = 8_640_000_000_000_000

export function epochMs(value: number): EpochMs {
  if (!Number.isFinite(value) || Math.abs(value) > EPOCH_MS_MAX) throw new RangeError(`not an instant: ${value}`)
  return Math.trunc(value) as EpochMs
}

export function after(at: EpochMs, durationMs: number): EpochMs {
  return epochMs(Math.min(at + durationMs, EPOCH_MS_MAX))
}

export function earliest(a: EpochMs, b: EpochMs): EpochMs {
  return a <= b ? a : b
}

/** The earlier of two instants, of which each may be none. */
export function earlierOf(a: EpochMs | null, b: EpochMs | null): EpochMs | null {
  return a === null || b === null ? (a ?? b) : earliest(a, b)
}

export function latest(a: EpochMs, b: EpochMs): EpochMs {
  return a >= b ? a : b
}

/** Seconds since the epoch, rounded down: the unit of the `webhook-timestamp` header and of nothing else. */
export function toUnixSeconds(at: EpochMs): number {
  return Math.floor(at / SECOND)
}

export function toIso(at: EpochMs): string {
  // biome-ignore lint/style/noRestrictedGlobals: writes a given instant as text; reads no clock
  return new Date(at).toISOString()
}

/** ISO 8601 with an offset or `Z`. Null when the text is anything else, so that nobody's local zone is guessed. */
export function parseIso(text: string): EpochMs | null {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/i.test(text)) return null
  // Engines roll 30 February over into March; nobody who wrote it meant that.
  const day = text.slice(0, 10)
  const dayStart = parseDateText(`${day}T00:00:00Z`)
  return dayStart === null || toIso(dayStart).slice(0, 10) !== day ? null : parseDateText(text)
}

/** An HTTP date in any of its three forms (RFC 9110 §5.6.7). Null when it is none. */
export function parseHttpDate(text: string): EpochMs | null {
  // The form of C's asctime() names no zone: it means UTC, and would be read in the machine's own.
  if (/^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4}$/.test(text)) return parseDateText(`${text} GMT`)
  if (!/^[A-Z][a-z]{2,8}, .* GMT$/.test(text)) return null
  return parseDateText(text)
}

function parseDateText(text: string): EpochMs | null {
  // biome-ignore lint/style/noRestrictedGlobals: reads text as an instant; reads no clock
  const value = Date.parse(text)
  return Number.isNaN(value) ? null : epochMs(value)
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY }

/** Reads `500ms`, `30s`, `5m`, `2h`, `7d` (whole or decimal). Null when the text is none of these. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)$/.exec(text.trim())
  const unitMs = UNIT_MS[match?.[2] ?? '']
  if (match?.[1] === undefined || unitMs === undefined) return null
  return Math.round(Number(match[1]) * unitMs)
}

/** The shortest exact form that `parseDuration` reads back: 90 000 → `90s`, 7 200 000 → `2h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0s'
  for (const unit of ['d', 'h', 'm', 's']) {
    const unitMs = UNIT_MS[unit]
    if (unitMs !== undefined && durationMs % unitMs === 0) return `${durationMs / unitMs}${unit}`
  }
  return `${durationMs}ms`
}
