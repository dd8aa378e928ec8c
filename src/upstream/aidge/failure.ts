/** Why no answer came: transport errors → a reason and a text that is safe to show. */

import type { NoAnswerReason } from '../../core/observation.ts'

export interface Failure {
  readonly kind: 'no_answer'
  readonly reason: NoAnswerReason
  readonly detail: string
}

/** Which reason a code of Node, OpenSSL or undici stands for; the first that matches. All others are `protocol`. */
const REASONS: readonly (readonly [RegExp, NoAnswerReason])[] = [
  [/^UND_ERR_RES_EXCEEDED_MAX_SIZE$/, 'too_large'],
  [/^(UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT|ETIMEDOUT|ESOCKETTIMEDOUT)$/, 'timeout'],
  [/^(ENOTFOUND|EAI_[A-Z]+|ENODATA|ESERVFAIL)$/, 'dns'],
  [/^(ECONNRESET|ECONNABORTED|EPIPE|UND_ERR_SOCKET)$/, 'reset'],
  [/^(ECONNREFUSED|E(HOST|NET)(UNREACH|DOWN)|EADDRNOTAVAIL|EMFILE|ENFILE|EACCES|EPERM|ENOBUFS)$/, 'connect'],
  [/^(ERR_SSL_|ERR_TLS_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|EPROTO)/, 'tls'],
]

const WORDS: Readonly<Record<NoAnswerReason, string>> = {
  timeout: 'no whole answer in time',
  connect: 'no connection',
  reset: 'the connection ended before the answer',
  dns: 'the host name was not found',
  tls: 'no trusted TLS connection',
  protocol: 'the answer was not HTTP',
  too_large: 'the answer was too large',
}

export function failureOf(error: unknown): Failure {
  const code = codeOf(error)
  const reason = REASONS.find(([pattern]) => pattern.test(code ?? ''))?.[1] ?? 'protocol'
  // Never the error's own message: it may quote the request's URL, whose query string is a credential.
  return { kind: 'no_answer', reason, detail: code === null ? WORDS[reason] : `${WORDS[reason]} (${code})` }
}

/** Follows causes, and the first of several errors: a name with two addresses fails with one error for each. */
function codeOf(error: unknown): string | null {
  let current = error
  for (let level = 0; level < 5 && current instanceof Error; level += 1) {
    const code: unknown = Reflect.get(current, 'code')
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code)) return code
    current = current instanceof AggregateError ? current.errors[0] : current.cause
  }
  return null
}
