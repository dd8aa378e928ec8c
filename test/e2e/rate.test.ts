/** An endpoint's rate and its number at once, on the built daemon, measured at the receiver. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startAidgeSandbox } from '../../src/sandbox/aidge.ts'
import { startReceiver } from '../../src/sandbox/receiver.ts'
import { startDaemonProcess } from '../support/daemon-process.ts'
import { MEASURED } from '../support/measured.ts'
import { aDirectory } from '../support/store.ts'

const SECRET = 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='
const RATE = 40
const COUNT = 240

test(
  'forty a second arrive as forty a second, within two per cent, and three at once as no more than three',
  MEASURED,
  async () => {
    let openCount = 0
    let openMax = 0
    const receiver = await startReceiver({
      secrets: [SECRET],
      behave() {
        openCount += 1
        openMax = Math.max(openMax, openCount)
        setTimeout(() => {
          openCount -= 1
        }, 20)
        return { kind: 'delay', delayMs: 25, next: { kind: 'answer', status: 204 } }
      },
    })
    const sandbox = await startAidgeSandbox({ life: 'ok-0ms' })
    onTestFinished(async () => {
      await sandbox.close()
      await receiver.close()
    })
    const daemon = await startDaemonProcess({
      RINGBACK_DATABASE_URL: `file:${join(aDirectory(), 'ringback.db')}`,
      RINGBACK_PORT: '0',
      RINGBACK_SIGNING_SECRET: SECRET,
      RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
      RINGBACK_POLL_RATE: '1000',
      AIDGE_BASE_URL: sandbox.url,
      AIDGE_ACCESS_KEY_NAME: sandbox.credentials.accessKeyName,
      AIDGE_ACCESS_KEY_SECRET: sandbox.credentials.accessKeySecret,
    })
    const made = await daemon.request('/v1/endpoints', {
      method: 'POST',
      body: { url: `${receiver.url}/hooks`, rate: RATE, concurrency: 3 },
    })
    expect(made.status).toBe(201)
    const endpointId = (made.body as { id: string }).id
    const tasks = Array.from({ length: COUNT }, (_, index) => ({ taskId: `t${index}`, endpointId }))
    await daemon.request('/v1/tasks/bulk', { method: 'POST', body: { tasks } })
    await receiver.next(() => receiver.received.length >= COUNT, 60_000)
    // Past the first second: until then there may be fewer waiting than are granted.
    const arrivals = receiver.received.map(({ at }) => at).filter((at) => at - receiver.received[0]!.at > 1_000)
    const rate = ((arrivals.length - 1) * 1_000) / (arrivals.at(-1)! - arrivals[0]!)
    expect(rate / RATE).toBeGreaterThan(0.98)
    expect(rate / RATE).toBeLessThan(1.02)
    expect(openMax).toBeLessThanOrEqual(3)
  },
)
