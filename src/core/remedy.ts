/** What the engineers of a receiver can do about an attempt that failed, in words. */

import type { AttemptResult, NoResponseReason, OwnFault } from './delivery.ts'

const BY_REASON: Readonly<Record<NoResponseReason, string>> = {
  timeout:
    'answer 2xx as soon as the webhook is verified and kept, and work on it after that; the log of the receiver tells whether it arrived at all',
  connect: 'start the receiver, and look at its port, its firewall and whether it listens on this address',
  reset:
    'the receiver, or something before it, closed the connection without an answer: look at its log and at the limits of the proxy before it',
  dns: 'correct the name in the URL, or publish its DNS records',
  tls: 'install a certificate that is valid, made for this name and complete with its chain, and allow TLS 1.2 or newer',
  protocol:
    'the answer is not HTTP/1.1 as it should be: look whether the URL has the right port and whether a proxy rewrites answers',
  blocked_address: 'the address is not public: use a public one, or let the operator add it to RINGBACK_CALLBACK_ALLOW',
}

const BY_OWN_FAULT: Readonly<Record<OwnFault, string>> = {
  shutdown: 'Ringback is stopping: ask again when it runs',
  no_file_handles: 'Ringback has no file handles left: raise its limit (ulimit -n)',
  our_dns: 'the name servers of the machine that Ringback runs on do not answer: look at its resolver',
  network_down: 'the machine that Ringback runs on has no way out: look at its network',
  internal: 'Ringback could not send it: its log says why',
}

/** Null when there is nothing to do: the receiver answered 2xx. */
export function remedyFor(result: AttemptResult): string | null {
  switch (result.kind) {
    case 'response':
      return remedyForStatus(result.status)
    case 'no_response':
      return BY_REASON[result.reason]
    case 'own_fault':
      return BY_OWN_FAULT[result.reason]
  }
}

function remedyForStatus(status: number): string | null {
  if (status >= 200 && status <= 299) return null
  if (status >= 300 && status <= 399) return 'redirects are not followed: set the URL of the endpoint to where it leads'
  switch (status) {
    case 400:
    case 401:
    case 403:
      return 'verify the raw body before parsing it, with the secret of this endpoint, and with a clock that is right to five minutes; a login or a firewall before the receiver has to let webhooks through'
    case 404:
      return 'no such path at the receiver: correct the URL, or publish the route'
    case 405:
      return 'the receiver has to accept POST at this path'
    case 410:
      return 'the receiver says that it is gone for good: remove the endpoint, or answer 2xx and resume it'
    case 413:
      return 'the receiver has to accept bodies of at least 256 KiB'
    case 415:
      return 'the receiver has to accept application/json'
    case 429:
      return 'the receiver asks for fewer: set a rate for the endpoint that it can take'
    case 503:
      return 'the receiver is overloaded or in maintenance: attempts go on by the schedule'
  }
  if (status >= 500) return 'the receiver failed: its log says why; answer 2xx once the webhook is kept'
  return 'answer with a status from 200 to 299 once the webhook is verified and kept'
}
