/** A client that costs as little as possible, so that what is measured is the server: requests written ahead over bare sockets. */

import { once } from 'node:events'
import { connect } from 'node:net'

/** The bytes of a POST. */
export function postBytes({ url, path, token, body }) {
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${new URL(url).host}`,
    `authorization: Bearer ${token}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

/**
 * Sends each request over one of so many connections, the next when the one before was answered. Resolves when all were,
 * to how often each status came.
 */
export async function sendAll(url, requests, connectionCount) {
  const left = requests.values()
  const statuses = {}
  const lane = async () => {
    const { hostname, port } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.setNoDelay(true)
    await once(socket, 'connect')
    await new Promise((resolve, reject) => {
      let received = ''
      const next = () => {
        const { value, done } = left.next()
        if (done) resolve()
        else socket.write(value)
      }
      socket.setEncoding('latin1').on('data', (text) => {
        received += text
        const headEnd = received.indexOf('\r\n\r\n')
        if (headEnd === -1) return
        const length = Number(/\r\ncontent-length: *(\d+)/i.exec(received)?.[1] ?? Number.NaN)
        if (Number.isNaN(length)) return reject(new Error(`no content-length: ${received.slice(0, 200)}`))
        if (received.length < headEnd + 4 + length) return
        const status = received.slice(9, 12)
        statuses[status] = (statuses[status] ?? 0) + 1
        received = ''
        next()
      })
      socket.on('error', reject)
      socket.on('close', () => reject(new Error('the server closed a connection')))
      next()
    }).finally(() =>
      socket
        .removeAllListeners('close')
        .on('error', () => {})
        .destroy(),
    )
  }
  await Promise.all(Array.from({ length: connectionCount }, lane))
  return statuses
}
