/** What a receiver says back of its own headers: debugging receivers do, and what they say is kept for people to see. */

import { type CustomHeaders, withoutValues } from '../core/custom-headers.ts'
import type { Exchange } from '../ports.ts'

/** The same exchange, in whose excerpt and headers no value of `headers` stands any more. */
export function withoutEcho(exchange: Exchange, headers: CustomHeaders): Exchange {
  if (Object.keys(headers).length === 0) return exchange
  const { responseExcerpt, responseHeaders } = exchange
  const clean = (text: string) => withoutValues(text, headers)
  return {
    ...exchange,
    responseExcerpt: responseExcerpt === null ? null : clean(responseExcerpt),
    responseHeaders: Object.fromEntries(Object.entries(responseHeaders).map(([name, value]) => [name, clean(value)])),
  }
}
