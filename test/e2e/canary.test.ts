/**
 * A distinct secret is planted in every place that can hold one; the built program runs at its most talkative level through
 * good and bad days; then every byte that it wrote is searched for each of them, as it is and in the spellings in which
 * secrets travel. Proves that each is found in its own place, which shows that the search can find, and nowhere else.
 */

import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { makeCertificate } from '../sandbox/certificate.ts'
import { freePort, runProgram, startDaemonProcess } from '../support/daemon-process.ts'
import { aDirectory } from '../support/store.ts'

/**
 * Where something was written. `answer`: one that gives callers what is theirs, `look`: the same to those who may only look;
 * all other answers are `problem`.
 */
type Place =
  | 'log'
  | 'stderr'
  | 'command'
  | 'answer'
  | 'look'
  | 'once'
  | 'problem'
  | 'document'
  | 'database'
  | 'webhook'
  | 'query'

interface Written {
  readonly place: Place
  readonly what: string
  readonly bytes: Buffer
}

const whsec = (text: string) => `whsec_${Buffer.from(text.padEnd(32, '.')).toString('base64')}`

/** Each with the places it belongs in. */
const CANARIES = {
  apiToken: { text: 'rb_CanaryApiToken0001canary', places: [] },
  readToken: { text: 'rb_CanaryReadToken0018canary', places: [] },
  wrongToken: { text: 'rb_CanaryWrongToken0002canary', places: [] },
  queryToken: { text: 'rb_CanaryQueryToken0003canary', places: [] },
  cookie: { text: 'CanaryCookie0004canary', places: [] },
  signingSecret: { text: whsec('CanarySigning0005'), places: [] },
  sealingKey: { text: Buffer.from('CanarySealingKey0006'.padEnd(32, '.')).toString('base64'), places: [] },
  endpointSecret: { text: whsec('CanaryEndpoint0007'), places: ['once'] },
  rotatedSecret: { text: whsec('CanaryRotated0008'), places: ['once'] },
  accessKeySecret: { text: 'CanaryAccessKeySecret0009', places: [] },
  callbackQuery: { text: 'CanaryCallbackQuery0010', places: ['answer', 'look', 'once', 'database', 'webhook'] },
  callbackPath: { text: 'CanaryCallbackPath0011', places: ['answer', 'look', 'once', 'database', 'webhook'] },
  userinfo: { text: 'CanaryUserinfo0012', places: [] },
  resultSignature: { text: 'CanaryResultSignature0013', places: ['answer', 'look', 'database', 'webhook'] },
  metadata: { text: 'CanaryMetadata0014', places: ['answer', 'look', 'database', 'webhook'] },
  receiverEcho: { text: 'CanaryReceiverEcho0015', places: ['answer', 'database'] },
  mistyped: { text: 'CanaryMistypedSecret0016', places: [] },
  customHeader: { text: 'CanaryCustomHeader0017', places: ['webhook'] },
} as const satisfies Record<string, { text: string; places: readonly Place[] }>

type Canary = keyof typeof CANARIES
const text = (name: Canary): string => CANARIES[name].text

/** As it is, in small letters, percent-encoded, in base64 (as in `Authorization: Basic`) at any of its three phases, and decoded. */
function spellingsOf(secret: string): readonly Buffer[] {
  const base64 = [0, 1, 2].map((shift) => {
    const encoded = Buffer.from(`${'x'.repeat(shift)}${secret}`).toString('base64')
    return encoded.slice(shift === 0 ? 0 : 4, -4)
  })
  const spellings = [
    secret,
    secret.toLowerCase(),
    encodeURIComponent(secret),
    Buffer.from(secret).toString('hex'),
    ...base64,
  ]
  const decoded = secret.startsWith('whsec_') ? [Buffer.from(secret.slice('whsec_'.length), 'base64')] : []
  return [...new Set(spellings)].map((spelling) => Buffer.from(spelling)).concat(decoded)
}

interface Found {
  readonly canary: string
  readonly place: Place
  readonly what: string
  readonly around: string
}

function search(written: readonly Written[], secrets: Readonly<Record<string, string>>): readonly Found[] {
  return Object.entries(secrets).flatMap(([canary, secret]) =>
    spellingsOf(secret).flatMap((spelling) =>
      written.flatMap(({ place, what, bytes }) => {
        const at = bytes.indexOf(spelling)
        const around = bytes.subarray(Math.max(0, at - 80), at + 80).toString('latin1')
        return at === -1 ? [] : [{ canary, place, what, around }]
      }),
    ),
  )
}

/** Every canary in its places, and in no other. */
function judge(written: readonly Written[], signs: readonly string[] = []): void {
  const secrets = Object.fromEntries(Object.entries(CANARIES).map(([name, { text: secret }]) => [name, secret]))
  const found = search(written, {
    ...secrets,
    ...Object.fromEntries(signs.map((sign, index) => [`sign ${index}`, sign])),
  })
  const allowed = (name: string): readonly Place[] => (name in CANARIES ? CANARIES[name as Canary].places : [])
  expect(found.filter(({ canary, place }) => !allowed(canary).includes(place))).toEqual([])
}

function foundIn(written: readonly Written[], canary: Canary, place: Place): boolean {
  return search(written, { [canary]: text(canary) }).some((found) => found.place === place)
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += String(chunk)
  return body
}

/**
 * An upstream that says back what it was sent, as gateways do, and remembers each signature. What it answers stands in the
 * task id: finished, failed, refused, nothing at all.
 */
async function anEchoingUpstream() {
  const signs: string[] = []
  const answer = async (request: IncomingMessage): Promise<readonly [number, unknown] | null> => {
    const { url = '' } = request
    signs.push(new URL(url, 'http://x').searchParams.get('sign') ?? '')
    const id = String((JSON.parse(await bodyOf(request)) as { taskId?: unknown }).taskId)
    const echo = `GET http://upstream${url} or ${url.toLowerCase()} with ${JSON.stringify(request.headers)} and ${text('accessKeySecret')}`
    const image = `http://pictures.example/a.png?Expires=4102444800&Signature=${text('resultSignature')}`
    if (id.startsWith('refused')) return [403, { code: 'IncompleteSignature', message: echo, requestId: echo }]
    if (id.startsWith('failed')) return [200, { resCode: 200, data: { taskStatus: 'failed', taskMessage: echo } }]
    if (id.startsWith('word')) return [200, { resCode: 200, data: { taskStatus: `word ${echo}` } }]
    if (id.startsWith('code')) return [200, { resCode: 1000, resMessage: echo, data: { echo } }]
    if (id.startsWith('broken')) return [502, echo]
    if (id.startsWith('reset')) return null
    return [
      200,
      { resCode: 200, data: { taskStatus: 'finished', taskId: id, imageUrl: image, images: [{ imageUrl: image }] } },
    ]
  }
  const listener: RequestListener = (request, response) => {
    void answer(request).then((given) => {
      if (given === null) {
        request.socket.destroy()
        return
      }
      const [status, body] = given
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(typeof body === 'string' ? body : JSON.stringify(body))
    })
  }
  const port = await listening(createServer(listener))
  return { url: `http://127.0.0.1:${port}`, signs }
}

/** A receiver that is content, one that says back everything at 500, and one that cannot be trusted. */
async function receivers() {
  const received: Written[] = []
  const listener: RequestListener = (request, response) => {
    void bodyOf(request).then((body) => {
      const bytes = Buffer.from(`${request.url}\n${JSON.stringify(request.headers)}\n${body}`)
      received.push({ place: 'webhook', what: `${request.url}`, bytes })
      const isEcho = request.url?.startsWith('/echo') === true
      response.writeHead(isEcho ? 500 : 204, isEcho ? { 'x-echo': text('receiverEcho') } : {})
      response.end(isEcho ? `${text('receiverEcho')} ${bytes.toString()}` : '')
    })
  }
  const port = await listening(createServer(listener))
  const tlsPort = await listening(createTlsServer(makeCertificate(), listener) as unknown as Server)
  return {
    received,
    url: `http://127.0.0.1:${port}`,
    tlsUrl: `https://127.0.0.1:${tlsPort}`,
    plainAsTls: `https://127.0.0.1:${port}`,
  }
}

function filesIn(directory: string): readonly Written[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith('ringback.db'))
    .map((name) => ({ place: 'database', what: name, bytes: readFileSync(join(directory, name)) }))
}

/** The daemon with a secret in each of the ways in: the environment, `.env`, and files. */
async function aDaemon(upstreamUrl: string) {
  const directory = aDirectory()
  const file = (name: string, secret: string) => {
    const path = join(directory, name)
    writeFileSync(path, `${secret}\n`, { mode: 0o600 })
    return path
  }
  writeFileSync(join(directory, '.env'), `RINGBACK_SIGNING_SECRET=${text('signingSecret')}\n`, { mode: 0o600 })
  const env = {
    RINGBACK_DATABASE_URL: 'file:./ringback.db',
    RINGBACK_PORT: '0',
    RINGBACK_LOG_LEVEL: 'debug',
    RINGBACK_API_TOKEN: '',
    RINGBACK_API_TOKEN_FILE: file('token', text('apiToken')),
    RINGBACK_API_READ_TOKEN_FILE: file('read-token', text('readToken')),
    RINGBACK_SECRET_KEY_FILE: file('key', text('sealingKey')),
    RINGBACK_CALLBACK_ALLOW: '127.0.0.0/8',
    RINGBACK_POLL_INTERVAL_MIN: '100ms',
    RINGBACK_POLL_INTERVAL_MAX: '200ms',
    RINGBACK_POLL_RATE: '1000',
    RINGBACK_RETRY_SCHEDULE: '0s,100ms',
    AIDGE_BASE_URL: upstreamUrl,
    AIDGE_ACCESS_KEY_NAME: '500123',
    AIDGE_ACCESS_KEY_SECRET: text('accessKeySecret'),
  }
  // Into a file, so that no byte of it is missed, however early it comes.
  const daemon = await startDaemonProcess(env, directory, { prelude: 'exec 2>stderr.txt' })
  const written: Written[] = []
  const stdout: Buffer[] = []
  daemon.child.stdout?.on('data', (chunk: string | Buffer) => stdout.push(Buffer.from(chunk)))
  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${daemon.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${text('apiToken')}`, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const answer = await response.text()
    const isSecretShown = response.ok && /^\/v1\/endpoints($|.*rotate)/.test(path) && method === 'POST'
    const answered = headers['authorization']?.endsWith(text('readToken')) ? 'look' : 'answer'
    const place = response.ok ? (isSecretShown ? 'once' : path.startsWith('/v1/') ? answered : 'document') : 'problem'
    const head = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n')
    written.push({ place, what: `${method} ${path} → ${response.status}`, bytes: Buffer.from(`${head}\n\n${answer}`) })
    return { status: response.status, body: JSON.parse(answer) as Record<string, unknown> }
  }
  /** The lines from before we listened, and every byte since. */
  const output = (): readonly Written[] => [
    { place: 'log', what: 'lines', bytes: Buffer.from(daemon.lines.map((line) => JSON.stringify(line)).join('\n')) },
    { place: 'log', what: 'stdout', bytes: Buffer.concat(stdout) },
    { place: 'stderr', what: 'of the daemon', bytes: readFileSync(join(directory, 'stderr.txt')) },
  ]
  return { directory, env, daemon, written, ask, output }
}

type Running = Awaited<ReturnType<typeof aDaemon>>

const secretive = (base: string) => `${base}/${text('callbackPath')}?token=${text('callbackQuery')}`

async function register({ ask }: Running, taskId: string, callbackUrl: string): Promise<string> {
  const { status, body } = await ask('POST', '/v1/tasks', { taskId, callbackUrl, metadata: { note: text('metadata') } })
  expect(status, JSON.stringify(body)).toBe(201)
  return String(body['id'])
}

const LOOKING = { authorization: `Bearer ${text('readToken')}` }

/** What a caller can do wrong with a secret in hand. */
async function refusedCalls({ ask }: Running): Promise<void> {
  const wrong = { authorization: `Bearer ${text('wrongToken')}` }
  const good = { taskId: 'x', callbackUrl: 'https://shop.example/' }
  const calls = [
    await ask('GET', '/v1/tasks', undefined, wrong),
    await ask('GET', '/v1/tasks', undefined, {
      authorization: `Basic ${Buffer.from(`me:${text('wrongToken')}`).toString('base64')}`,
    }),
    await ask('GET', `/v1/tasks?token=${text('queryToken')}`),
    await ask('GET', `/v1/tasks?api_key=${text('queryToken')}`, undefined, { cookie: `session=${text('cookie')}` }),
    await ask('GET', `/nothing?token=${text('queryToken')}`, undefined, { cookie: `session=${text('cookie')}` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `https://me:${text('userinfo')}@shop.example/` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `https://${text('userinfo')}@shop.example/` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `ftp://me:${text('userinfo')}@shop.example/` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `https://me:${text('userinfo')}@10.0.0.1/` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `https://10.0.0.1/?token=${text('mistyped')}` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `/hooks?token=${text('mistyped')}` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: `https:// shop.example/${text('mistyped')}` }),
    await ask('POST', '/v1/tasks', { ...good, callbackUrl: [`https://shop.example/?token=${text('mistyped')}`] }),
    await ask('POST', '/v1/tasks', `{"taskId":"x","callbackUrl":"https://shop.example/?t=${text('mistyped')}"`),
    await ask('POST', '/v1/tasks', `{'callbackUrl':'https://shop.example/?t=${text('mistyped')}'}`),
    await ask('POST', '/v1/tasks', `token ${text('mistyped')}`),
    await ask('POST', '/v1/tasks', { ...good, metadata: [text('mistyped')] }),
    await ask('POST', '/v1/endpoints', { url: 'https://shop.example/', secret: text('mistyped') }),
    await ask('POST', '/v1/endpoints', { url: 'https://shop.example/', secret: [text('mistyped')] }),
    await ask('POST', '/v1/endpoints', { url: `https://me:${text('userinfo')}@shop.example/` }),
    await ask('POST', '/v1/endpoints', { url: 'https://shop.example/', headers: { 'x-a': `${text('mistyped')}\n` } }),
    await ask('POST', '/v1/endpoints', { url: 'https://shop.example/', headers: { host: text('mistyped') } }),
    await ask('POST', '/v1/endpoints', { url: 'https://shop.example/', headers: [text('mistyped')] }),
    await ask('POST', `/v1/endpoints/ep_1/test?x=${text('mistyped')}`, {}, LOOKING),
    await ask('GET', '/v1/events', undefined, LOOKING),
    await ask('POST', '/v1/tasks/bulk', {
      tasks: [{ ...good, callbackUrl: `http://me:${text('userinfo')}@a` }],
    }),
  ]
  expect(calls.filter(({ status }) => status < 400).length).toBe(1)
}

test('through a day with refusals, echoes, TLS faults and failures no secret leaves its place', async () => {
  const upstream = await anEchoingUpstream()
  const hooks = await receivers()
  const running = await aDaemon(upstream.url)
  const { ask, written, daemon, directory, env } = running
  const { body: endpoint } = await ask('POST', '/v1/endpoints', {
    url: secretive(`${hooks.url}/own`),
    secret: text('endpointSecret'),
    headers: { authorization: `Bearer ${text('customHeader')}` },
    asymmetric: true,
  })
  // One that says them back.
  const echoing = { url: secretive(`${hooks.url}/echo`), headers: { 'x-key': text('customHeader') } }
  await ask('POST', '/v1/endpoints', echoing)
  await ask('POST', `/v1/endpoints/${endpoint['id']}/rotate-secret`, { secret: text('rotatedSecret') })

  const targets = [
    `${hooks.url}/good`,
    `${hooks.url}/own`,
    `${hooks.url}/echo`,
    hooks.tlsUrl,
    hooks.plainAsTls,
    `http://127.0.0.1:${await freePort()}`,
  ]
  const ids: string[] = []
  for (const [index, target] of targets.entries()) {
    for (const life of ['good', 'failed', 'code'])
      ids.push(await register(running, `${life}-${index}`, secretive(target)))
  }
  for (const life of ['word', 'broken', 'reset']) ids.push(await register(running, life, secretive(targets[0] ?? '')))
  await refusedCalls(running)
  for (const id of ids.slice(0, 3 * targets.length)) await ask('GET', `/v1/tasks/${id}?wait=20`)
  // The last to be told is told twice in vain.
  await expect
    .poll(async () => (await ask('GET', '/v1/deliveries?status=pending')).body['items'], { timeout: 20_000 })
    .toEqual([])
  // Refused from here on, which pauses all queries.
  ids.push(await register(running, 'refused', secretive(targets[0] ?? '')))
  await daemon.logged('upstream.refused')

  for (const id of ids) await ask('GET', `/v1/tasks/${id}`)
  const { body: deliveries } = await ask('GET', '/v1/deliveries?limit=500')
  for (const { id, eventId } of deliveries['items'] as { id: string; eventId: string }[]) {
    await ask('GET', `/v1/deliveries/${id}`)
    await ask('GET', `/v1/events/${eventId}`)
    await ask('GET', `/v1/deliveries/${id}`, undefined, LOOKING)
  }
  for (const id of ids) await ask('GET', `/v1/tasks/${id}`, undefined, LOOKING)
  for (const path of ['/v1/tasks', '/v1/endpoints', '/livez', '/readyz', '/openapi.json', '/nothing'])
    await ask('GET', path)
  const files = filesIn(directory)
  const command = await commandsAgainst(running)
  expect(await daemon.kill('SIGTERM')).toBe(0)
  // Without its key the daemon cannot open the endpoint's secrets; nor may it show them.
  const { RINGBACK_SECRET_KEY_FILE: _, ...keyless } = env
  const again = await startDaemonProcess(keyless, directory)
  await again.kill('SIGTERM')

  const all = [...written, ...hooks.received, ...files, ...filesIn(directory), ...command, ...running.output()]
  judge(
    [...all, { place: 'log', what: 'without the key', bytes: Buffer.from(JSON.stringify(again.lines)) }],
    upstream.signs,
  )

  // The search can find: each of these is where it belongs.
  for (const [canary, place] of [
    ['callbackQuery', 'database'],
    ['callbackQuery', 'answer'],
    ['callbackPath', 'webhook'],
    ['resultSignature', 'webhook'],
    ['resultSignature', 'database'],
    ['metadata', 'webhook'],
    ['metadata', 'answer'],
    ['metadata', 'look'],
    ['receiverEcho', 'answer'],
    ['endpointSecret', 'once'],
    ['rotatedSecret', 'once'],
    ['customHeader', 'webhook'],
  ] as const) {
    expect(foundIn(all, canary, place), `${canary} in ${place}`).toBe(true)
  }
  // Private keys are made by the daemon: nobody is ever shown one, and at rest it is sealed.
  expect(all.filter(({ bytes }) => bytes.includes('whsk_')).map(({ what }) => what)).toEqual([])
  expect(hooks.received.some(({ bytes }) => bytes.includes(' v1a,'))).toBe(true)
  expect(upstream.signs.length).toBeGreaterThan(20)
  expect(new Set(daemon.lines.map((line) => line['level']))).toEqual(new Set(['debug', 'info', 'warn', 'error']))
}, 240_000)

/** Commands beside a running daemon: with its token, with a wrong one, and with what does not belong on a command line. */
async function commandsAgainst({ daemon, directory, env }: Running): Promise<readonly Written[]> {
  const { RINGBACK_API_TOKEN_FILE: _, ...tokenless } = env
  const url = { RINGBACK_URL: daemon.url }
  const wrong = { ...tokenless, ...url, RINGBACK_API_TOKEN: text('wrongToken') }
  const right = { ...env, ...url }
  const runs: readonly (readonly [readonly string[], Record<string, string>])[] = [
    [['config'], right],
    [['config', '--json'], right],
    [['config'], wrong],
    [['tasks', 'list'], wrong],
    [['tasks', 'list', '--json'], wrong],
    [['tasks', 'add', 'cli-1', '--callback-url', `https://me:${text('userinfo')}@shop.example/`], right],
    [['tasks', 'show', 'task_unknown'], wrong],
    [['deliveries', 'list', '--json'], wrong],
    [['health'], wrong],
    [['serve', `--signing-secret=${text('mistyped')}`], right],
    [['serve', '--api-token', text('mistyped')], right],
    [['tasks', 'list', `--token=${text('mistyped')}`], right],
    [['config'], { ...right, RINGBACK_URL: `http://me:${text('userinfo')}@127.0.0.1:1` }],
    [['tasks', 'list'], { ...right, RINGBACK_URL: `http://127.0.0.1:1/?token=${text('mistyped')}` }],
  ]
  const results = await Promise.all(
    runs.map(async ([args, given]) => [args, await runProgram(args, given, directory)] as const),
  )
  return results.map(([args, { stdout, stderr }]) => ({
    place: 'command',
    what: args[0] === undefined ? '' : args.slice(0, 2).join(' '),
    bytes: Buffer.from(`${stdout}\n${stderr}`),
  }))
}

test('bad settings at the start are named without their values, wherever they stand', async () => {
  const directory = aDirectory()
  writeFileSync(
    join(directory, '.env'),
    `RINGBACK_SIGNING_SECRET whsec_${text('mistyped')}\nRINGBACK_API_TOKN=${text('mistyped')}\n`,
    { mode: 0o600 },
  )
  const secretFile = join(directory, 'secret')
  writeFileSync(secretFile, `${text('mistyped')} with spaces`, { mode: 0o600 })
  const base = { RINGBACK_PORT: '0', RINGBACK_DATABASE_URL: 'file:./ringback.db', RINGBACK_LOG_LEVEL: 'debug' }
  const each: readonly Record<string, string>[] = [
    {},
    { RINGBACK_SIGNING_SECRET: text('mistyped') },
    { RINGBACK_SIGNING_SECRET: `whsec_${text('mistyped')}` },
    { RINGBACK_SECRET_KEY: text('mistyped') },
    { RINGBACK_API_TOKEN: `${text('apiToken')} and more` },
    { RINGBACK_API_TOKEN: text('apiToken'), RINGBACK_API_TOKEN_FILE: secretFile },
    { RINGBACK_API_TOKEN_FILE: secretFile },
    { AIDGE_ACCESS_KEY_SECRET_FILE: secretFile },
    { AIDGE_ACCESS_KEY_SECRET: text('accessKeySecret') },
    { AIDGE_ACCESS_KEY_NAME: '1', AIDGE_ACCESS_KEY_SECRET: `${text('accessKeySecret')}\u00e9` },
    { AIDGE_BASE_URL: `https://me:${text('userinfo')}@api.example` },
    { AIDGE_BASE_URL: `https://api.example/?key=${text('mistyped')}` },
    { AIDGE_BASE_URL: `https//me:${text('userinfo')}@api.example` },
    { RINGBACK_DATABASE_URL: `postgres://me:${text('userinfo')}@db.example/ringback` },
    { RINGBACK_DATABASE_URL: `mysql://me:${text('userinfo')}@db.example/ringback` },
    { RINGBACK_DATABASE_URL: `file:./none/ringback.db?key=${text('mistyped')}` },
    { RINGBACK_URL: `http://me:${text('userinfo')}@127.0.0.1` },
    { RINGBACK_CALLBACK_ALLOW: `me:${text('userinfo')}@10.0.0.0/8` },
    { AIDGE_KINDS: `[{"name":"a","queryPath":"/q?key=${text('mistyped')}"}]` },
  ]
  const written: Written[] = []
  for (const given of each) {
    for (const command of ['serve', 'config']) {
      const { exitCode, stdout, stderr } = await runProgram([command], { ...base, ...given }, directory)
      expect(exitCode, `${command} with ${JSON.stringify(given)}`).toBe(78)
      written.push({
        place: 'command',
        what: `${command} ${JSON.stringify(given)}`,
        bytes: Buffer.from(`${stdout}\n${stderr}`),
      })
    }
  }
  judge(written)
})

test('a daemon that ends by a damaged database takes its secrets with it', async () => {
  const upstream = await anEchoingUpstream()
  const hooks = await receivers()
  const running = await aDaemon(upstream.url)
  const { daemon, directory, env, written } = running
  await register(running, 'good-1', secretive(`${hooks.url}/good`))
  await register(running, 'word', secretive(`${hooks.url}/good`))
  const ended = once(daemon.child, 'exit')
  // All of it but the header, so that it is still taken for a database.
  const path = join(directory, 'ringback.db')
  for (const name of [path, `${path}-wal`]) {
    const bytes = readFileSync(name)
    writeFileSync(name, Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(Math.max(0, bytes.length - 100), 0x5a)]))
  }
  await running
    .ask('POST', '/v1/tasks', { taskId: 'late', callbackUrl: secretive(`${hooks.url}/good`) })
    .catch(() => null)
  await running.ask('GET', '/v1/tasks').catch(() => null)
  await ended
  const again = await runProgram(['serve'], env, directory)
  expect(again.exitCode).not.toBe(0)
  const end = {
    place: 'stderr',
    what: 'of the next start',
    bytes: Buffer.from(`${again.stdout}${again.stderr}`),
  } as const
  judge([...written, ...running.output(), end], upstream.signs)
  expect(daemon.lines.map((line) => line['event'])).toContain('store.damaged')
})
