/** The log: JSON lines by pino, with a net under them that catches what must never be written. */

import { pino } from 'pino'
import type { Config } from './config.ts'
import type { Log } from './ports.ts'

/** A file descriptor (`process.stdout` has one), or anything that takes whole lines. */
export type LogDestination = { readonly fd: number } | { write(line: string): unknown }

/** Beyond this much unwritten text a stalled reader of the log costs lines, not the daemon's memory. */
const UNWRITTEN_BYTES_MAX = 8 * 1024 * 1024

export function createLog(options: { level: Config['logLevel']; destination: LogDestination }): Log {
  const isVerbose = options.level === 'debug'
  const stream = 'fd' in options.destination ? openStream(options.destination.fd) : options.destination
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => netted(fields, isVerbose) as Record<string, unknown>,
      },
    },
    stream,
  )
  return {
    debug: (fields, message) => logger.debug(fields, nettedText(message)),
    info: (fields, message) => logger.info(fields, nettedText(message)),
    warn: (fields, message) => logger.warn(fields, nettedText(message)),
    error: (fields, message) => logger.error(fields, nettedText(message)),
  }
}

/** Writes in the background; what is left at the end of the process is written then, by pino's exit hook. */
function openStream(fd: number): ReturnType<typeof pino.destination> {
  const stream = pino.destination({ dest: fd, sync: false, maxLength: UNWRITTEN_BYTES_MAX })
  // A full disk behind the log, or a reader that went away, loses lines; without a listener it would end the daemon.
  stream.on('error', () => undefined)
  return stream
}

const SECRET_NAME =
  /^(.*(secret|token|password|authorization|cookie)|sign|signature|webhook-?signature|signing-?key|app_?key)$/i
/**
 * Our own tokens and secrets, bearer tokens, and what makes an upstream URL a credential. The names before the value are
 * kept, so that a reader sees what was taken out.
 */
const SECRET_TEXT =
  /(whsec_)[A-Za-z0-9+/=]+|(\bBearer )[^\s"',]+|([?&](?:sign|app_key|signature|token|key)=)[^&\s"']+|(:\/\/)[^/\s@"']+@/gi

const NETTED = '[redacted]'
const DEPTH_MAX = 5

/**
 * The second net: whoever logs chooses what is fit to be logged, and this catches slips at any depth. pino's own
 * `redact` wants exact paths, and `['secret']` lets `deep.secret` through.
 */
function netted(value: unknown, isVerbose: boolean, depth = 0): unknown {
  if (typeof value === 'string') return nettedText(value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= DEPTH_MAX) return '[too deep]'
  if (value instanceof Error) return describeError(value, isVerbose, depth)
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`
  if (value instanceof URL) return `${value.protocol}//${value.host}`
  if (Array.isArray(value)) return value.map((item) => netted(item, isVerbose, depth + 1))
  if ('toJSON' in value && typeof value.toJSON === 'function') return netted(value.toJSON(), isVerbose, depth + 1)
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      isHidden(name, inner) ? NETTED : netted(inner, isVerbose, depth + 1),
    ]),
  )
}

/** Counts and statements about a secret (`tokenCount: 3`, `hasToken: true`), and its absence, are fit to be read. */
function isHidden(name: string, value: unknown): boolean {
  const isSaid = value === 'set' || value === 'unset' || value === ''
  return SECRET_NAME.test(name) && !isSaid && (typeof value === 'string' || typeof value === 'object') && value !== null
}

function nettedText(text: string): string {
  return text.replace(SECRET_TEXT, (_whole, ...groups: readonly unknown[]) => {
    const kept = groups.slice(0, 4).find((group) => typeof group === 'string') ?? ''
    return kept === '://' ? `${kept}${NETTED}@` : `${kept}${NETTED}`
  })
}

/** Stacks are for whoever looks for a bug: at every other level an error is one line. */
function describeError(error: Error, isVerbose: boolean, depth: number): object {
  return {
    type: error.name,
    message: nettedText(error.message),
    ...('code' in error && (typeof error.code === 'string' || typeof error.code === 'number')
      ? { code: error.code }
      : {}),
    ...(error.cause === undefined ? {} : { cause: netted(error.cause, isVerbose, depth + 1) }),
    ...(isVerbose && error.stack !== undefined ? { stack: nettedText(error.stack) } : {}),
  }
}
