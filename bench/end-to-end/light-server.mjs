/**
 * A server that costs as little as possible, so that what is measured is who asks it: HTTP/1.1 with keep-alive over bare
 * sockets, bodies with a content-length, one request at a time on each connection. `node:http` takes twice the time.
 */

import { once } from 'node:events'
import { createServer } from 'node:net'

const HEAD_END = '\r\n\r\n'
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i

/** Every request is answered at once with the whole response that `answer(head, body)` returns. Resolves to the URL. */
export async function listenLightly(answer) {
  const server = createServer((socket) => {
    socket.setNoDelay(true)
    let received = ''
    // Latin-1 keeps a character for each byte, so that lengths are right; what is sent here is ASCII.
    socket.setEncoding('latin1').on('data', (text) => {
      received = received === '' ? text : received + text
      for (let end = requestEnd(received); end !== null; end = requestEnd(received)) {
        const head = received.slice(0, end.headEnd)
        const body = received.slice(end.headEnd + HEAD_END.length, end.bodyEnd)
        received = received.slice(end.bodyEnd)
        socket.write(answer(head, body))
      }
    })
    // A client that goes away with a reset is no fault of the server's.
    socket.on('error', () => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${server.address().port}`
}

/** Where the first request of what was received ends; null while it is not all there. */
function requestEnd(received) {
  const headEnd = received.indexOf(HEAD_END)
  if (headEnd === -1) return null
  const length = Number(CONTENT_LENGTH.exec(received.slice(0, headEnd))?.[1] ?? 0)
  const bodyEnd = headEnd + HEAD_END.length + length
  return received.length < bodyEnd ? null : { headEnd, bodyEnd }
}

/** The value of a header that is written in lower case; null when it is not there. */
export function headerOf(head, name) {
  const start = head.toLowerCase().indexOf(`\r\n${name}:`)
  if (start === -1) return null
  const end = head.indexOf('\r\n', start + 2)
  return head.slice(start + name.length + 3, end === -1 ? undefined : end).trim()
}
