// Receives Ringback's webhooks with nothing but Node 20. Run: WEBHOOK_SECRET=whsec_… PORT=3000 node receiver.mjs
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const SECRET = Buffer.from((process.env.WEBHOOK_SECRET ?? '').replace(/^whsec_/, ''), 'base64')
const TOLERANCE_SECONDS = 5 * 60
const BODY_BYTES_MAX = 1024 * 1024

// verify: begin
function verify(headers, body) {
  const id = headers['webhook-id'] ?? '' // Node gives names in lower case
  const timestamp = headers['webhook-timestamp'] ?? ''
  if (id === '' || !/^\d{1,12}$/.test(timestamp)) return false
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false
  const expected = createHmac('sha256', SECRET).update(`${id}.${timestamp}.`).update(body).digest()
  const signatures = (headers['webhook-signature'] ?? '').split(' ')
  return signatures.some((signature) => {
    if (!signature.startsWith('v1,')) return false // v1a and what may come after it
    const given = Buffer.from(signature.slice(3), 'base64')
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}
// verify: end

// In earnest: a column with a unique index, written in one transaction with the work or with the entry in your queue.
const seen = new Set()

function accept(event) {
  console.log(event.type, event.data.taskId)
}

async function bodyOf(request) {
  const chunks = []
  let byteCount = 0
  for await (const chunk of request) {
    byteCount += chunk.length
    if (byteCount > BODY_BYTES_MAX) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function answer(request) {
  if (request.method !== 'POST') return 405
  const body = await bodyOf(request)
  if (body === null) return 413
  if (!verify(request.headers, body)) return 400
  const id = request.headers['webhook-id']
  if (!seen.has(id)) accept(JSON.parse(body.toString('utf8')))
  seen.add(id)
  return 204
}

if (SECRET.length < 24)
  throw new Error('WEBHOOK_SECRET: expected whsec_ and base64, as shown when the endpoint was made')
const server = createServer((request, response) => {
  answer(request).then(
    (status) => response.writeHead(status).end(),
    () => response.writeHead(500).end(),
  )
})
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`)
})
