/**
 * The receivers that strangers copy, one for each language: each whose toolchain is on this machine runs as a process of
 * its own and is sent what our signatures make, and what others make of it. Proves that each takes what is genuine, once,
 * and nothing else; says loudly which could not be run. Proves as well that docs/receiving.md shows what they run.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  formatPrivateKey,
  formatSecret,
  parsePrivateKey,
  parseSecret,
  type SigningKey,
  sign,
} from '../../src/core/signature.ts'
import { freePort } from '../support/daemon-process.ts'

const FOLDER = fileURLToPath(new URL('../../examples/receivers', import.meta.url))
const DOCUMENT = readFileSync(fileURLToPath(new URL('../../docs/receiving.md', import.meta.url)), 'utf8')

interface Language {
  readonly name: string
  readonly file: string
  /** Answers with exit code 0 where the toolchain is there. */
  readonly probe: readonly [string, ...string[]]
  readonly command: (port: number) => readonly [string, ...string[]]
}

const inFolder = (file: string) => join(FOLDER, file)

const LANGUAGES: readonly Language[] = [
  {
    name: 'JavaScript',
    file: 'receiver.mjs',
    probe: [process.execPath, '--version'],
    command: () => [process.execPath, inFolder('receiver.mjs')],
  },
  {
    name: 'Python',
    file: 'receiver.py',
    probe: ['python3', '--version'],
    command: () => ['python3', inFolder('receiver.py')],
  },
  {
    name: 'Go',
    file: 'receiver.go',
    probe: ['go', 'version'],
    command: () => ['go', 'run', inFolder('receiver.go')],
  },
  {
    name: 'Java',
    file: 'Receiver.java',
    // The compiler too, which a runtime alone has not.
    probe: ['javac', '-version'],
    command: () => ['java', inFolder('Receiver.java')],
  },
  {
    name: 'PHP',
    file: 'receiver.php',
    probe: ['php', '--version'],
    command: (port) => ['php', '-S', `127.0.0.1:${port}`, inFolder('receiver.php')],
  },
  {
    name: 'Ruby',
    file: 'receiver.rb',
    probe: ['ruby', '--version'],
    command: () => ['ruby', inFolder('receiver.rb')],
  },
]

const isThere = ({ probe: [program, ...args] }: Language) => spawnSync(program, args).status === 0
const RUN = LANGUAGES.filter(isThere)
const NOT_RUN = LANGUAGES.filter((language) => !RUN.includes(language))
if (NOT_RUN.length > 0) {
  const names = NOT_RUN.map(({ name, file }) => `${name} (${file})`).join(', ')
  process.stderr.write(`!!! NOT TESTED: no toolchain on this machine for the receivers in ${names}\n`)
}

const keyOf = (byte: number) => parseSecret(formatSecret(Buffer.alloc(32, byte)))!
const SECRET = formatSecret(Buffer.alloc(32, 0xfb))
const OWN = parseSecret(SECRET)!
const OTHERS = keyOf(9)
const V1A = parsePrivateKey(formatPrivateKey(Buffer.alloc(32, 5)))!

interface Sent {
  readonly id: string
  readonly keys?: readonly SigningKey[]
  /** Seconds from now. */
  readonly ahead?: number
  readonly body?: string | Buffer
  /** What goes on the wire instead of what was signed. */
  readonly instead?: { readonly body?: string; readonly headers?: Readonly<Record<string, string | null>> }
  readonly method?: string
}

const bodyOf = (taskId: string) =>
  `{"type":"task.succeeded","timestamp":"2026-11-22T14:32:15.120Z","data":{"taskId":"${taskId}","images":[{"url":"http://a.example/a%2Fb.png?x=1&y=ü"}],"metadata":{"big":9007199254740993,"emoji":"🎁\\ud83d\\ude00"}}}`

function receiverOf(language: Language) {
  const lines: string[] = []
  let child: ChildProcess
  let port = 0

  async function start(): Promise<void> {
    port = await freePort()
    const [program, ...args] = language.command(port)
    const env = { ...process.env, WEBHOOK_SECRET: SECRET, PORT: String(port) }
    // A group of its own: `go run` and the like start the program as a child of theirs.
    child = spawn(program, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    const isReady = new Promise<void>((resolve, reject) => {
      child.once('exit', (exitCode) => reject(new Error(`${language.file} ended with ${exitCode}`)))
      const hear = (line: string) => {
        lines.push(line)
        if (/^listening on |Development Server .* started/.test(line)) resolve()
      }
      for (const input of [child.stdout!, child.stderr!]) createInterface({ input }).on('line', hear)
    })
    await isReady
  }

  function stop(): void {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }

  function send({ id, keys = [OWN], ahead = 0, body = bodyOf(id), instead = {}, method = 'POST' }: Sent) {
    const timestampSeconds = Math.floor(Date.now() / 1_000) + ahead
    const signed = {
      'webhook-id': id,
      'webhook-timestamp': String(timestampSeconds),
      'webhook-signature': sign({ id, timestampSeconds, body: body.toString(), keys }),
    }
    const given = Object.entries({ ...signed, ...instead.headers }).filter(([, value]) => value !== null)
    const bytes = Buffer.from(instead.body ?? body)
    const headers = { ...Object.fromEntries(given), 'content-type': 'application/json', 'content-length': bytes.length }
    return new Promise<number>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, method, path: '/hooks?x=1', headers, agent: false }
      const sending = request(options as object, (response: IncomingMessage) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0))
      })
      sending.on('error', reject).end(method === 'GET' ? '' : bytes)
    })
  }

  /** How often the work of an event was done. */
  const workCount = (id: string) => lines.filter((line) => line === `task.succeeded ${id}`).length
  return { start, stop, send, workCount }
}

describe.each(RUN)('the receiver in $name', (language) => {
  const { start, stop, send, workCount } = receiverOf(language)
  /** One that is new to receivers which keep them beyond their end. */
  const newId = (name: string) => `evt_${name}${process.pid}${Date.now().toString(36)}`

  beforeAll(start, 70_000)
  afterAll(stop)

  test('takes what is genuine, and does its work once however often it comes', async () => {
    const id = newId('genuine')
    expect([await send({ id }), await send({ id }), await send({ id, ahead: -60 })]).toEqual([204, 204, 204])
    await expect.poll(() => workCount(id)).toBe(1)
    const others = ['a', 'b', 'c'].map(newId)
    expect(await Promise.all(others.map((other) => send({ id: other })))).toEqual([204, 204, 204])
    await expect.poll(() => others.map(workCount)).toEqual([1, 1, 1])
    expect(workCount(id)).toBe(1)
  })

  test('takes what was signed while a secret is replaced, whichever of the live ones it knows, with v1a beside', async () => {
    expect(await send({ id: newId('new'), keys: [OWN, OTHERS] })).toBe(204)
    expect(await send({ id: newId('old'), keys: [OTHERS, OWN] })).toBe(204)
    expect(await send({ id: newId('third'), keys: [OTHERS, keyOf(8), OWN, V1A] })).toBe(204)
    expect(await send({ id: newId('first'), keys: [V1A, OWN] })).toBe(204)
  })

  test('finds the headers in whatever case they come', async () => {
    const id = newId('case')
    const timestampSeconds = Math.floor(Date.now() / 1_000)
    const headers = {
      'webhook-id': null,
      'webhook-timestamp': null,
      'webhook-signature': null,
      'WEBHOOK-ID': id,
      'Webhook-Timestamp': String(timestampSeconds),
      'WebHook-Signature': sign({ id, timestampSeconds, body: bodyOf(id), keys: [OWN] }),
    }
    expect(await send({ id, instead: { headers } })).toBe(204)
  })

  test('refuses what another signed, or nobody, or by another version', async () => {
    const id = newId('other')
    expect(await send({ id, keys: [OTHERS] })).toBe(400)
    expect(await send({ id, keys: [OTHERS, V1A] })).toBe(400)
    const genuine = sign({ id, timestampSeconds: Math.floor(Date.now() / 1_000), body: bodyOf(id), keys: [OWN] })
    for (const signature of [
      '',
      'v1',
      'v1,',
      'v1,=',
      ',',
      ' ',
      'v1a,AAAA',
      'v1,ÿ',
      genuine.replace('v1,', 'v2,'),
      'v1,'.repeat(99),
    ]) {
      const headers = { 'webhook-signature': Buffer.from(signature).toString('latin1') }
      expect(await send({ id, instead: { headers } }), signature).toBe(400)
    }
    expect(await send({ id, instead: { headers: { 'webhook-signature': null } } })).toBe(400)
    expect(workCount(id)).toBe(0)
  })

  test('refuses what was changed on the way', async () => {
    const id = newId('changed')
    expect(await send({ id, instead: { body: bodyOf(id).replace('9007199254740993', '9007199254740992') } })).toBe(400)
    expect(await send({ id, instead: { body: `${bodyOf(id)} ` } })).toBe(400)
    expect(await send({ id, instead: { body: '' } })).toBe(400)
    expect(await send({ id, instead: { headers: { 'webhook-id': `${id}0` } } })).toBe(400)
    expect(await send({ id, instead: { headers: { 'webhook-id': null } } })).toBe(400)
    expect(workCount(id)).toBe(0)
  })

  test('refuses what is older than five minutes, or from the future', async () => {
    const id = newId('late')
    expect([await send({ id, ahead: -310 }), await send({ id, ahead: 310 })]).toEqual([400, 400])
    expect(await send({ id, ahead: -280 })).toBe(204)
    const now = Math.floor(Date.now() / 1_000)
    for (const timestamp of ['', 'soon', '-1', '0x10', '1e9', `${now}.5`, `+${now}`, '9'.repeat(30), null]) {
      const headers = { 'webhook-timestamp': timestamp }
      expect(await send({ id: newId('time'), instead: { headers } }), String(timestamp)).toBe(400)
    }
  })

  test('verifies the bytes as they came, whatever they are', async () => {
    const id = newId('bytes')
    expect(await send({ id, body: `\n ${bodyOf(id)}\r\n` })).toBe(204)
    await expect.poll(() => workCount(id)).toBe(1)
  })

  test('refuses a body beyond its limit, and goes on', async () => {
    const id = newId('long')
    // It may close the connection before all of it was sent.
    const refused = await send({ id, body: 'x'.repeat(1024 * 1024 + 1) }).catch(() => 413)
    expect(refused).toBe(413)
    expect(await send({ id })).toBe(204)
  })
})

test('without a secret none of them starts', () => {
  for (const language of RUN.filter(({ name }) => name !== 'PHP')) {
    const [program, ...args] = language.command(0)
    const { status } = spawnSync(program, args, {
      env: { ...process.env, WEBHOOK_SECRET: '', PORT: '0' },
      timeout: 30_000,
    })
    expect(status, language.name).not.toBe(0)
    expect(status, language.name).not.toBeNull()
  }
}, 240_000)

test('each has its place in the list above, and docs/receiving.md shows of each the part that verifies', () => {
  expect(readdirSync(FOLDER).sort()).toEqual(LANGUAGES.map(({ file }) => file).sort())
  for (const { file } of LANGUAGES) {
    const text = readFileSync(inFolder(file), 'utf8')
    const part = /verify: begin\n([\s\S]*?)^.*verify: end$/m.exec(text)?.[1] ?? ''
    expect(part.length, file).toBeGreaterThan(500)
    expect(DOCUMENT, file).toContain(
      `<!-- from examples/receivers/${file} -->\n\n\`\`\`${fenceOf(file)}\n${dedented(part)}\`\`\`\n`,
    )
  }
})

test('docs/receiving.md shows the verifier of v1a as it is tested', () => {
  const text = readFileSync(fileURLToPath(new URL('../../examples/verify-v1a.ts', import.meta.url)), 'utf8')
  expect(DOCUMENT).toContain(text.slice(text.indexOf('export function verifyV1a')).trimEnd())
})

function fenceOf(file: string): string {
  const ending = file.slice(file.lastIndexOf('.') + 1)
  return ending === 'mjs' ? 'js' : ending
}

/** Without the indentation that all of it has, and the empty line before its end mark. */
function dedented(text: string): string {
  const lines = text.trimEnd().split('\n')
  const indents = lines.filter((line) => line !== '').map((line) => line.length - line.trimStart().length)
  const indent = Math.min(...indents)
  return `${lines.map((line) => line.slice(indent)).join('\n')}\n`
}
