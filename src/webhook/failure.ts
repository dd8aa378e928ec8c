/** What an error of a connection says about the attempt: the receiver's fault or ours, in words without the URL. */

import type { AttemptResult, NoResponseReason } from '../core/delivery.ts'
import { BLOCKED_ADDRESS_CODE } from './address-guard.ts'
import { ANSWER_TOO_LONG_CODE } from './connections.ts'

export interface FailureContext {
  /** Another name was resolved a short while ago: our resolver works. */
  readonly isDnsWorking: boolean
  /** Another host was reached a short while ago: our network works. */
  readonly isNetworkWorking: boolean
}

type Failure = Exclude<AttemptResult, { kind: 'response' }>

const NO_FILE_HANDLES: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])
const NO_MEMORY: ReadonlySet<string> = new Set(['ENOMEM', 'ENOBUFS', 'EAI_MEMORY'])
/** No way out of this machine; or none in this family of addresses, or no free local port. */
const NO_WAY_OUT: ReadonlySet<string> = new Set(['ENETUNREACH', 'ENETDOWN', 'EADDRNOTAVAIL', 'EAFNOSUPPORT'])

const WORDS: ReadonlyMap<string, readonly [NoResponseReason, string]> = new Map([
  ['ETIMEDOUT', ['timeout', 'no connection in time']],
  ['UND_ERR_CONNECT_TIMEOUT', ['timeout', 'no connection in time']],
  ['UND_ERR_HEADERS_TIMEOUT', ['timeout', 'no answer in time']],
  ['UND_ERR_BODY_TIMEOUT', ['timeout', 'no answer in time']],
  ['ECONNREFUSED', ['connect', 'connection refused']],
  ['EHOSTUNREACH', ['connect', 'host not reachable']],
  ['EHOSTDOWN', ['connect', 'host not reachable']],
  ['EACCES', ['connect', 'connection forbidden by this machine']],
  ['EPERM', ['connect', 'connection forbidden by this machine']],
  ['ECONNRESET', ['reset', 'connection reset']],
  ['ECONNABORTED', ['reset', 'connection reset']],
  ['EPIPE', ['reset', 'connection closed before an answer']],
  ['UND_ERR_SOCKET', ['reset', 'connection closed before an answer']],
  ['ENOTFOUND', ['dns', 'no such host']],
  ['ENODATA', ['dns', 'the host has no addresses']],
  ['EAI_AGAIN', ['dns', 'the name servers did not answer for this host']],
  ['CERT_HAS_EXPIRED', ['tls', 'certificate expired']],
  ['CERT_NOT_YET_VALID', ['tls', 'certificate not valid yet']],
  ['CERT_REVOKED', ['tls', 'certificate revoked']],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', ['tls', 'self-signed certificate']],
  ['SELF_SIGNED_CERT_IN_CHAIN', ['tls', 'self-signed certificate in the chain']],
  ['ERR_TLS_CERT_ALTNAME_INVALID', ['tls', 'certificate for the wrong name']],
  ['HOSTNAME_MISMATCH', ['tls', 'certificate for the wrong name']],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', ['tls', 'certificate chain incomplete']],
  ['UNABLE_TO_GET_ISSUER_CERT', ['tls', 'certificate of an unknown authority']],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', ['tls', 'certificate of an unknown authority']],
  ['ERR_SSL_WRONG_VERSION_NUMBER', ['tls', 'no TLS on this port']],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', ['tls', 'no TLS 1.2 or newer']],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', ['tls', 'no TLS 1.2 or newer']],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', ['tls', 'a client certificate is demanded']],
  ['UND_ERR_HEADERS_OVERFLOW', ['protocol', 'answer headers too large']],
  ['HPE_HEADER_OVERFLOW', ['protocol', 'answer headers too large']],
  [ANSWER_TOO_LONG_CODE, ['protocol', 'an answer without end']],
  ['ERR_ASSERTION', ['protocol', 'the answer is not HTTP/1.1']],
])

/** What OpenSSL and Node call the many other ways in which TLS can fail. */
const TLS_CODE = /^(ERR_SSL_|ERR_TLS_|CERT_|UNABLE_TO_|ERROR_IN_CERT_|CRL_|EPROTO$|INVALID_(CA|PURPOSE)$|PATH_LENGTH)/

/** Total: there is an answer for whatever was thrown. */
export function failureOf(thrown: unknown, context: FailureContext): Failure {
  // Of a host with several addresses: what the receiver did on one of them says more than what we lacked for another.
  const failures = causesOf(thrown).map((cause) => failureOfOne(cause, context))
  return failures.find(({ kind }) => kind === 'no_response') ?? failures[0] ?? failureOfOne(thrown, context)
}

function causesOf(thrown: unknown): readonly unknown[] {
  const causes = fieldOf(thrown, 'errors')
  return Array.isArray(causes) && causes.length > 0 ? causes : [thrown]
}

function failureOfOne(thrown: unknown, context: FailureContext): Failure {
  const code = codeOf(thrown)
  const message = textOf(thrown, 'message')
  if (code === BLOCKED_ADDRESS_CODE) return noResponse('blocked_address', message)
  if (NO_FILE_HANDLES.has(code)) return ownFault('no_file_handles', `no file handle left for a connection (${code})`)
  if (NO_MEMORY.has(code)) return ownFault('internal', `no memory left for a connection (${code})`)
  if (code === 'EAI_AGAIN' && !context.isDnsWorking)
    return ownFault('our_dns', 'our name servers do not answer (EAI_AGAIN)')
  if (NO_WAY_OUT.has(code)) {
    if (context.isNetworkWorking) return noResponse('connect', `no way to this address${addressOf(thrown)} (${code})`)
    return ownFault('network_down', `no way out of this machine (${code})`)
  }
  // undici has one code for a connection that closed and for an answer that it could not make sense of.
  if (code === 'UND_ERR_SOCKET' && /^bad (upgrade|response)/.test(message)) {
    return noResponse('protocol', 'an answer that was not asked for, such as 101 Switching Protocols')
  }
  const [reason, words] = WORDS.get(code) ?? wordsByShape(code)
  return noResponse(reason, `${words}${addressOf(thrown)} (${code})`)
}

function wordsByShape(code: string): readonly [NoResponseReason, string] {
  if (code.startsWith('HPE_')) return ['protocol', 'the answer is not HTTP/1.1']
  if (code.startsWith('EAI_') || code === 'ESERVFAIL') return ['dns', 'the host could not be looked up']
  if (TLS_CODE.test(code)) return ['tls', 'TLS failed']
  return ['protocol', 'the request failed']
}

function noResponse(reason: NoResponseReason, detail: string): Failure {
  return { kind: 'no_response', reason, detail }
}

function ownFault(reason: 'no_file_handles' | 'our_dns' | 'network_down' | 'internal', detail: string): Failure {
  return { kind: 'own_fault', reason, detail }
}

/** The address that was tried, which Node adds to the errors of `connect`. */
function addressOf(thrown: unknown): string {
  const address = textOf(thrown, 'address')
  const port = fieldOf(thrown, 'port')
  if (!/^[0-9a-f.:]{2,45}$/i.test(address) || typeof port !== 'number') return ''
  return address.includes(':') ? ` at [${address}]:${port}` : ` at ${address}:${port}`
}

/** Only what looks like a code: messages may repeat a URL. */
function codeOf(thrown: unknown): string {
  const code = fieldOf(thrown, 'code')
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : 'UNKNOWN'
}

function textOf(thrown: unknown, name: string): string {
  const value = fieldOf(thrown, name)
  return typeof value === 'string' ? value : ''
}

function fieldOf(thrown: unknown, name: string): unknown {
  if (typeof thrown !== 'object' || thrown === null) return undefined
  try {
    return Reflect.get(thrown, name)
  } catch {
    return undefined
  }
}
