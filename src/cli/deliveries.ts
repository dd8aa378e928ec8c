/** `ringback deliveries`: which webhooks got through, and sending one again. */

import { type Command, Option } from 'commander'
import { DELIVERY_STATUSES } from '../core/delivery.ts'
import { REDELIVERABLE_STATUSES } from '../core/job.ts'
import { ATTEMPT_COLUMNS } from './attempts.ts'
import { type Row, rowsOf, textOf, withApi } from './client.ts'
import { type Cli, isJson, say } from './command.ts'
import { withoutQuery } from './endpoints.ts'
import { CommandError } from './exit.ts'
import { printBegun } from './jobs.ts'
import { type ListOptions, limitFlag, printPages } from './pages.ts'
import { addClientFlags } from './settings.ts'
import { type Column, printFields, printJsonText, printTable } from './table.ts'

interface DeliveryListOptions extends ListOptions {
  readonly endpoint?: string
  readonly task?: string
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'delivery', value: (delivery) => textOf(delivery, 'id') },
  { title: 'event', value: (delivery) => textOf(delivery, 'eventType') },
  { title: 'task', value: (delivery) => textOf(delivery, 'taskId') },
  { title: 'to', value: (delivery) => withoutQuery(textOf(delivery, 'callbackUrl')) },
  { title: 'status', value: (delivery) => textOf(delivery, 'status') },
  { title: 'attempts', value: (delivery) => textOf(delivery, 'attemptCount') },
  { title: 'last', value: (delivery) => textOf(delivery, 'lastStatusCode') || textOf(delivery, 'lastFailure') || '-' },
  { title: 'next', value: (delivery) => textOf(delivery, 'nextAttemptAt') || '-' },
]

export function addDeliveries(program: Command, cli: Cli): void {
  const deliveries = program.command('deliveries').description('see which webhooks got through, and send them again')
  addList(deliveries, cli)
  addShow(deliveries, cli)
  addRedeliver(deliveries, cli)
}

function addList(deliveries: Command, cli: Cli): void {
  const list = deliveries
    .command('list')
    .description('newest first')
    .addOption(new Option('--status <status>', 'only these').choices(DELIVERY_STATUSES))
    .option('--endpoint <id>', 'only to this endpoint (ep_…)')
    .option('--task <id>', 'only about this task (task_…)')
    .addOption(limitFlag())
    .option('--all', 'all pages')
  addClientFlags(list).action(async (options: DeliveryListOptions, command: Command) => {
    const { status, endpoint, task, limit, all } = options
    const query = { status, endpointId: endpoint, taskId: task }
    await printPages(cli, command, { path: '/v1/deliveries', query, columns: COLUMNS, limit, all })
  })
}

function addShow(deliveries: Command, cli: Cli): void {
  const show = deliveries
    .command('show')
    .description('one delivery with its attempts')
    .argument('<id>', 'the delivery (dlv_…)')
  addClientFlags(show).action(async (id: string, _: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.get(`/v1/deliveries/${encodeURIComponent(id)}`)
      if (isJson(command)) return printJsonText(cli.io, answer.text)
      const fields = FIELDS.map((name) => [name, textOf(answer.body, name)] as const)
      printFields(
        cli.io,
        fields.filter(([, value]) => value !== ''),
      )
      printTable(cli.io, ATTEMPT_COLUMNS, rowsOf(answer.body, 'attempts'))
    })
  })
}

const FIELDS = [
  'id',
  'eventId',
  'eventType',
  'taskId',
  'endpointId',
  'callbackUrl',
  'status',
  'attemptCount',
  'nextAttemptAt',
  'createdAt',
  'settledAt',
  'lastStatusCode',
  'lastFailure',
] as const

interface RedeliverOptions {
  readonly status?: string
  readonly endpoint?: string
  readonly since?: string
  readonly until?: string
  readonly eventType?: string
  readonly dryRun?: boolean
}

function addRedeliver(deliveries: Command, cli: Cli): void {
  const redeliver = deliveries
    .command('redeliver')
    .description('make one more attempt of one now, or send all again that fit a filter')
    .argument('[id]', 'the delivery (dlv_…)')
    .addOption(new Option('--status <status>', 'all that are this').choices(REDELIVERABLE_STATUSES))
    .option('--endpoint <id>', 'only to this endpoint (ep_…)')
    .option('--since <when>', 'only what was made then or later: 24h ago, or an instant')
    .option('--until <when>', 'only what was made before then')
    .option('--event-type <type>', 'only of this type')
    .option('--dry-run', 'only count')
    .addHelpText('after', REDELIVER_EXAMPLES)
  addClientFlags(redeliver).action(async (id: string | undefined, options: RedeliverOptions, command: Command) => {
    const { status, endpoint: endpointId, since, until, eventType, dryRun } = options
    const filter = { endpointId, since, until, eventType, dryRun }
    checkWhich(id, status, Object.values(filter))
    await withApi(cli.io, command, async (api) => {
      if (id === undefined) {
        return printBegun(cli, command, await api.post('/v1/deliveries/redeliver', { status, ...filter }))
      }
      const answer = await api.post(`/v1/deliveries/${encodeURIComponent(id)}/redeliver`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, COLUMNS, [answer.body])
      say(cli.io, `queued; \`ringback deliveries show ${textOf(answer.body, 'id')}\` shows what comes of it`)
    })
  })
}

const REDELIVER_EXAMPLES = `
examples:
  ringback deliveries redeliver dlv_01kb0qv4k2x8
  ringback deliveries redeliver --status exhausted --since 24h --dry-run
  ringback deliveries redeliver --status delivered --endpoint ep_01kb0qv4k2x8 --since 2026-11-22T14:00:00Z`

/** One by its id, or many by their status: to send everything again should not be a slip of the keys. */
function checkWhich(id: string | undefined, status: string | undefined, others: readonly unknown[]): void {
  const remedy = 'name one delivery, or a --status with further filters'
  const hasFilter = status !== undefined || others.some((value) => value !== undefined)
  if (id !== undefined && hasFilter) throw new CommandError('usage', 'one delivery needs no filters', remedy)
  if (id === undefined && status === undefined) throw new CommandError('usage', 'which deliveries?', remedy)
}
