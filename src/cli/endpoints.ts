/** `ringback endpoints`: where webhooks go, and what is wrong when they do not arrive. */

import { readFileSync } from 'node:fs'
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { isId } from '../core/ids.ts'
import { TRIAL_TYPES } from '../core/trial.ts'
import { type Answer, type Api, type Row, rowOf, rowsOf, textOf, textsOf, withApi } from './client.ts'
import { type Cli, isJson, say } from './command.ts'
import { CommandError } from './exit.ts'
import { printBegun } from './jobs.ts'
import { type ListOptions, limitFlag, printPages } from './pages.ts'
import { addClientFlags } from './settings.ts'
import { type Column, printFields, printJsonLines, printJsonText, printTable } from './table.ts'

export function addEndpoints(program: Command, cli: Cli): void {
  const endpoints = program.command('endpoints').description('see and change where webhooks go, and try it out')
  addAdd(endpoints, cli)
  addList(endpoints, cli)
  addShow(endpoints, cli)
  addTest(endpoints, cli)
  addRotateSecret(endpoints, cli)
  addTurn(endpoints, cli, 'pause', 'send nothing to it; its backlog is kept')
  addTurn(endpoints, cli, 'resume', 'send to it again, its backlog first')
  addRecover(endpoints, cli)
  addRemove(endpoints, cli)
}

const STATUSES = ['enabled', 'paused', 'disabled'] as const
const WHICH = 'its id (ep_…), its name or its URL'

const COLUMNS: readonly Column<Row>[] = [
  { title: 'endpoint', value: (endpoint) => textOf(endpoint, 'id') },
  { title: 'name', value: (endpoint) => textOf(endpoint, 'name') || '-' },
  { title: 'to', value: (endpoint) => withoutQuery(textOf(endpoint, 'url')) || 'comes and asks' },
  { title: 'status', value: statusOf },
  { title: 'created', value: (endpoint) => textOf(endpoint, 'createdAt') },
]

function statusOf(endpoint: Row): string {
  const reason = textOf(endpoint, 'disabledReason')
  return reason === '' ? textOf(endpoint, 'status') : `${textOf(endpoint, 'status')} (${reason})`
}

/** The query string of a callback URL may be a secret of its receiver. */
export function withoutQuery(url: string): string {
  return url.split('?', 1)[0] ?? url
}

interface AddOptions {
  readonly name?: string
  readonly eventType?: readonly string[]
  readonly rate?: number
  readonly concurrency?: number
  readonly asymmetric?: boolean
  readonly secretFile?: string
}

function addAdd(endpoints: Command, cli: Cli): void {
  const add = endpoints
    .command('add')
    .description('make one with a secret of its own, which is shown this once')
    .argument('[url]', 'where to send to; none: its receiver comes and asks')
    .option('--name <name>', 'what you call it')
    .option('--event-type <type...>', 'tell it of these only')
    .option('--rate <number>', 'attempts a second at most', readNumber)
    .option('--concurrency <number>', 'attempts at once at most', readNumber)
    .option('--asymmetric', 'sign with ed25519 as well')
    .addOption(secretFlag())
    .addHelpText('after', ADD_EXAMPLES)
  addClientFlags(add).action(async (url: string | undefined, options: AddOptions, command: Command) => {
    const { name, eventType: eventTypes, rate, concurrency, asymmetric, secretFile } = options
    const secret = await secretOf(cli, secretFile)
    await withApi(cli.io, command, async (api) => {
      const wishes = { name, eventTypes, rate, concurrency, asymmetric, secret }
      const answer = await api.post('/v1/endpoints', { url: url ?? null, ...wishes })
      printOne(cli, command, answer)
      say(cli.io, 'keep the secret now: it is not shown again')
    })
  })
}

const ADD_EXAMPLES = `
examples:
  ringback endpoints add https://shop.example/hooks --name shop
  pass show shop/webhook | ringback endpoints add https://shop.example/hooks --secret-file -`

function secretFlag(): Option {
  return new Option('--secret-file <path>', 'a file with the whsec_… secret to use, "-" for stdin; made when left out')
}

function readNumber(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('expected a number.')
  return value
}

/** Secrets are no flags: every user of a machine can read its command lines. */
async function secretOf(cli: Cli, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  if (path !== '-') return readFileSync(path, 'utf8').trim()
  const chunks: string[] = []
  for await (const chunk of cli.io.stdin) chunks.push(typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString())
  return chunks.join('').trim()
}

function addList(endpoints: Command, cli: Cli): void {
  const list = endpoints
    .command('list')
    .description('newest first')
    .addOption(new Option('--status <status>', 'only these').choices(STATUSES))
    .addOption(limitFlag())
    .option('--all', 'all pages')
  addClientFlags(list).action(async (options: ListOptions, command: Command) => {
    const { status, limit, all } = options
    await printPages(cli, command, { path: '/v1/endpoints', query: { status }, columns: COLUMNS, limit, all })
  })
}

function addShow(endpoints: Command, cli: Cli): void {
  const show = endpoints.command('show').description('one endpoint').argument('<endpoint>', WHICH)
  addClientFlags(show).action(async (which: string, _: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      printOne(cli, command, await api.get(`/v1/endpoints/${await findEndpoint(api, which)}`))
    })
  })
}

function addTest(endpoints: Command, cli: Cli): void {
  const test = endpoints
    .command('test')
    .description('send a made-up event to it now: exit 0 when it answers 2xx, 1 when not')
    .argument('<endpoint>', WHICH)
    .option('--type <type>', 'what the event is of (default endpoint.test)')
  addClientFlags(test).action((which: string, { type }: { type?: string }, command: Command) =>
    tryEndpoint(cli, command, which, type),
  )
}

/** `ringback trigger`: what `endpoints test --type` does, said the other way round. */
export function addTrigger(program: Command, cli: Cli): void {
  const trigger = program
    .command('trigger')
    .description('send a made-up event of a type to an endpoint now: exit 0 when it answers 2xx, 1 when not')
    .addArgument(new Argument('<type>', 'what the event is of').choices(TRIAL_TYPES))
    .argument('<endpoint>', WHICH)
  addClientFlags(trigger).action((type: string, which: string, _: unknown, command: Command) =>
    tryEndpoint(cli, command, which, type),
  )
}

async function tryEndpoint(cli: Cli, command: Command, which: string, type: string | undefined): Promise<void> {
  await withApi(cli.io, command, async (api) => {
    const path = `/v1/endpoints/${await findEndpoint(api, which)}/test`
    const answer = await api.post(path, type === undefined ? undefined : { type })
    if (isJson(command)) printJsonText(cli.io, answer.text)
    else printFields(cli.io, trialFields(answer.body))
    if (answer.body['ok'] !== true) cli.end('failed')
  })
}

const STEPS = [
  ['dns', 'dnsMs'],
  ['connect', 'connectMs'],
  ['tls', 'tlsMs'],
  ['answer', 'answerMs'],
] as const

function trialFields(trial: Row): readonly (readonly [string, string])[] {
  const timings = rowOf(trial, 'timings')
  const steps = STEPS.flatMap(([word, name]) => {
    const ms = textOf(timings, name)
    return ms === '' ? [] : [`${word} ${ms} ms`]
  })
  const fields = [
    ['result', trial['ok'] === true ? 'ok' : 'failed'],
    ['answer', textOf(trial, 'summary') || textOf(trial, 'status')],
    ['took', steps.join(' · ')],
    ['body', textOf(trial, 'responseExcerpt')],
    ['remedy', textOf(trial, 'remedy')],
  ] as const
  return fields.filter(([, value]) => value !== '')
}

function addRotateSecret(endpoints: Command, cli: Cli): void {
  const rotate = endpoints
    .command('rotate-secret')
    .description('replace its secret; the new one is shown this once')
    .argument('<endpoint>', WHICH)
    .option('--overlap <duration>', 'how long the old one signs too: 0s to 7d (default 24h)')
    .addOption(secretFlag())
  addClientFlags(rotate).action(
    async (which: string, options: { overlap?: string; secretFile?: string }, command: Command) => {
      const secret = await secretOf(cli, options.secretFile)
      await withApi(cli.io, command, async (api) => {
        const path = `/v1/endpoints/${await findEndpoint(api, which)}/rotate-secret`
        printOne(cli, command, await api.post(path, { overlap: options.overlap, secret }))
        say(cli.io, 'keep the secret now: it is not shown again')
      })
    },
  )
}

function addTurn(endpoints: Command, cli: Cli, verb: 'pause' | 'resume', description: string): void {
  const turn = endpoints.command(verb).description(description).argument('<endpoint>', WHICH)
  addClientFlags(turn).action(async (which: string, _: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.post(`/v1/endpoints/${await findEndpoint(api, which)}/${verb}`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, COLUMNS, [answer.body])
    })
  })
}

interface RecoverOptions {
  readonly since: string
  readonly until?: string
  readonly dryRun?: boolean
}

function addRecover(endpoints: Command, cli: Cli): void {
  const recover = endpoints
    .command('recover')
    .description('send everything again that it was not told of, oldest first, with a fresh schedule')
    .argument('<endpoint>', WHICH)
    .requiredOption('--since <when>', 'what was made then or later: 24h ago, or an instant')
    .option('--until <when>', 'what was made before then')
    .option('--dry-run', 'only count')
  addClientFlags(recover).action(async (which: string, options: RecoverOptions, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const { since, until, dryRun } = options
      const path = `/v1/endpoints/${await findEndpoint(api, which)}/recover`
      printBegun(cli, command, await api.post(path, { since, until, dryRun }))
    })
  })
}

function addRemove(endpoints: Command, cli: Cli): void {
  const remove = endpoints
    .command('remove')
    .description('delete it; refused while deliveries are pending, unless they are dropped')
    .argument('<endpoint>', WHICH)
    .option('--drop-backlog', 'cancel what is pending')
  addClientFlags(remove).action(async (which: string, options: { dropBacklog?: boolean }, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const id = await findEndpoint(api, which)
      await api.delete(`/v1/endpoints/${id}`, { backlog: options.dropBacklog === true ? 'drop' : undefined })
      if (isJson(command)) printJsonLines(cli.io, [{ id, status: 'deleted' }])
      else say(cli.io, `${id} is deleted`)
    })
  })
}

/** The id of an endpoint that is named by it, by its name or by its URL. */
async function findEndpoint(api: Api, which: string): Promise<string> {
  if (isId('ep', which)) return which
  const found: Row[] = []
  let cursor: string | undefined
  do {
    const { body } = await api.get('/v1/endpoints', { limit: '500', cursor })
    found.push(...rowsOf(body, 'items').filter(({ name, url }) => name === which || url === which))
    cursor = textOf(body, 'nextCursor') || undefined
  } while (cursor !== undefined)
  const [first] = found
  if (first === undefined) {
    throw new CommandError('not_found', `no endpoint is called ${which}`, 'see `ringback endpoints list`')
  }
  if (found.length > 1) {
    const ids = found.map((endpoint) => textOf(endpoint, 'id')).join(', ')
    throw new CommandError('usage', `several endpoints are called ${which}: ${ids}`, 'say which one by its id')
  }
  return textOf(first, 'id')
}

const FIELDS = [
  'id',
  'name',
  'url',
  'status',
  'disabledReason',
  'failingSince',
  'probeAt',
  'eventTypes',
  'rate',
  'concurrency',
  'createdAt',
  'updatedAt',
  'secret',
] as const

function printOne(cli: Cli, command: Command, { text, body }: Answer): void {
  if (isJson(command)) return printJsonText(cli.io, text)
  const given = FIELDS.map((name) => [name, textOf(body, name)] as const)
  const headerNames = ['headers', textsOf(body, 'headerNames').join(', ')] as const
  const secrets = rowsOf(body, 'secrets').map((life) => ['secret since', lifeOf(life)] as const)
  const publicKeys = textsOf(body, 'publicKeys').map((key) => ['public key', key] as const)
  printFields(
    cli.io,
    [...given, headerNames, ...secrets, ...publicKeys].filter(([, value]) => value !== ''),
  )
}

function lifeOf(life: Row): string {
  const end = textOf(life, 'expiresAt')
  return `${textOf(life, 'createdAt')}${end === '' ? '' : ` until ${end}`}`
}
