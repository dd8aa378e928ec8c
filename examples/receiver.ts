/** Receives Ringback's webhooks: checks each signature, and does the work of every event once. */

import { createServer, type IncomingMessage } from 'node:http'
import { Webhook } from 'standardwebhooks'

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? '') // whsec_…, as shown when the endpoint was made
// In earnest, keep the ids in your database, and write each in the same transaction as its work.
const seen = new Set<string>()

async function work(event: { type: string; data: { taskId: string; images: { url: string }[] } }): Promise<void> {
  console.log(event.type, event.data.taskId, event.data.images.map((image) => image.url).join(' '))
}

async function receive(request: IncomingMessage): Promise<number> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks).toString() // the very bytes that were signed: do not parse them first
  try {
    webhook.verify(body, request.headers as Record<string, string>)
  } catch {
    return 400 // not from Ringback, changed on the way, or more than five minutes old
  }
  const id = String(request.headers['webhook-id']) // stays the same when an event is sent again
  if (!seen.has(id)) await work(JSON.parse(body))
  seen.add(id)
  return 204 // whatever is not a 2xx, Ringback sends again
}

export const server = createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status).end(),
    () => response.writeHead(500).end(),
  )
}).listen(Number(process.env.PORT ?? 3000), '127.0.0.1')
