/** Who may use the API: whoever has the token; and who may look, whoever has the token for that. */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { AppError } from '../core/errors.ts'
import { after, type EpochMs, MINUTE } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'

export interface Credentials {
  /** The `Authorization` header. */
  readonly authorization: string | undefined
  readonly query: string
  /** The address on the other end of the connection. */
  readonly address: string
}

/** `read`: to look, at all but what receivers answered, and to change nothing. */
export type Access = 'full' | 'read'

/** What the token opens, or throws `unauthorized` (401) or `throttled` (429). */
export type CheckToken = (credentials: Credentials) => Access

export interface Tokens {
  readonly token: string
  /** Null: there is none. */
  readonly readToken: string | null
}

/** Wrong tokens from one address in one minute, before it is told to wait. */
export const WRONG_TOKENS_MAX = 20
const ADDRESSES_MAX = 10_000

/**
 * Digests are compared, not tokens: `timingSafeEqual` wants equal lengths, and a length would be told by the time it takes.
 *
 * The right token always passes, also from an address that has just sent wrong ones. Behind a proxy all callers share one
 * address, and one of them with an old token must not lock the others out. What keeps guessing hopeless is the length of
 * the token; the limit is there so that a guesser, or a forgotten script, is told, seen and cheap.
 */
export function createCheckToken(
  { token, readToken }: Tokens,
  deps: { clock: Pick<Clock, 'now'>; log: Log },
): CheckToken {
  const expected = digestOf(token)
  // Of what nobody can find a text for, when there is none.
  const expectedToRead = readToken === null ? randomBytes(expected.length) : digestOf(readToken)
  const wrongTokens = createWrongTokens()

  return ({ authorization, query, address }) => {
    if (query !== '' && hasToken(query)) {
      const remedy = 'It may be in a log by now: make a new one, and send it as "Authorization: Bearer …".'
      throw new AppError('unauthorized', `A token in the query string is never accepted. ${remedy}`)
    }
    const given = bearerOf(authorization)
    if (given === null) {
      throw new AppError('unauthorized', 'No token was given; send "Authorization: Bearer …" with RINGBACK_API_TOKEN.')
    }
    const isFull = timingSafeEqual(digestOf(given), expected)
    const isRead = timingSafeEqual(digestOf(given), expectedToRead)
    if (isFull) return 'full'
    if (isRead) return 'read'

    const now = deps.clock.now()
    const { count, endsAt } = wrongTokens.add(address, now)
    if (count === WRONG_TOKENS_MAX + 1) {
      deps.log.warn({ event: 'http.wrong_tokens', address, count }, `${address} keeps sending wrong tokens`)
    }
    if (count > WRONG_TOKENS_MAX) {
      const detail = `More than ${WRONG_TOKENS_MAX} wrong tokens in a minute from ${address}; check the token, then wait.`
      throw new AppError('throttled', detail, { retryAfterMs: endsAt - now })
    }
    throw new AppError('unauthorized', 'The token is wrong; compare it with RINGBACK_API_TOKEN of the daemon.')
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function bearerOf(authorization: string | undefined): string | null {
  return /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1] ?? null
}

function hasToken(query: string): boolean {
  const names = [...new URLSearchParams(query).keys()]
  return names.some((name) => /^(access_?|api_?|auth_?)?(token|key)$|^authorization$/i.test(name))
}

interface Minute {
  count: number
  readonly endsAt: EpochMs
}

/** Counts by address and minute. Bounded: when too many addresses are known, the one that came first is forgotten. */
function createWrongTokens(): { add(address: string, now: EpochMs): Readonly<Minute> } {
  const minutes = new Map<string, Minute>()
  return {
    add(address, now) {
      const known = minutes.get(address)
      // A clock that was set back must not leave anybody waiting for longer than a minute.
      if (known !== undefined && now < known.endsAt && known.endsAt - now <= MINUTE) {
        known.count += 1
        return known
      }
      minutes.delete(address)
      const [oldest] = minutes.keys()
      if (minutes.size >= ADDRESSES_MAX && oldest !== undefined) minutes.delete(oldest)
      const minute: Minute = { count: 1, endsAt: after(now, MINUTE) }
      minutes.set(address, minute)
      return minute
    },
  }
}
