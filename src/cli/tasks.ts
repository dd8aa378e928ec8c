/** `ringback tasks`: hand over tasks, see how they are, call them off. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { isId } from '../core/ids.ts'
import { TASK_STATUSES } from '../core/task.ts'
import { parseDuration, SECOND } from '../core/time.ts'
import { ATTEMPT_COLUMNS } from './attempts.ts'
import { type Answer, type Api, problemText, type Row, rowOf, rowsOf, textOf, withApi } from './client.ts'
import { type Cli, isJson, say } from './command.ts'
import { CommandError } from './exit.ts'
import { type ListOptions, limitFlag, printPages } from './pages.ts'
import { registrationsFrom } from './registrations.ts'
import { addClientFlags } from './settings.ts'
import { type Column, printFields, printJsonLines, printJsonText, printTable } from './table.ts'

export function addTasks(program: Command, cli: Cli): void {
  const tasks = program.command('tasks').description('register tasks and see what became of them')
  addAdd(tasks, cli)
  addList(tasks, cli)
  addShow(tasks, cli)
  addWait(tasks, cli)
  addPoll(tasks, cli)
  addCancel(tasks, cli)
}

interface AddOptions {
  readonly callbackUrl?: string
  readonly endpoint?: string
  readonly kind?: string
  readonly metadata?: Row
  readonly deadline?: string
  readonly submittedAt?: string
}

function addAdd(tasks: Command, cli: Cli): void {
  const add = tasks
    .command('add')
    .description('watch tasks; "-" reads ids or JSON objects from stdin, one a line')
    .argument('<task-id...>', 'what Aidge calls the task')
    .option('--callback-url <url>', 'where to send the webhook')
    .option('--endpoint <id>', 'the endpoint to send it to, instead of a URL (ep_…)')
    .option('--kind <name>', 'which product of Aidge (default virtual-model-generation)')
    .option('--metadata <json>', 'a JSON object that comes back in the webhook', readMetadata)
    .option('--deadline <when>', 'when to give up: 30m, 2h, or an instant such as 2026-11-22T18:00:00Z')
    .option('--submitted-at <instant>', 'when the task was given to Aidge')
    .addHelpText('after', ADD_EXAMPLES)
  addClientFlags(add).action(async (ids: readonly string[], options: AddOptions, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const counts = await addAll(cli, api, ids, sharedFieldsOf(options), isJson(command))
      if (counts.failed > 0) cli.end('failed')
      say(cli.io, `${counts.added} new, ${counts.known} known already, ${counts.failed} refused`)
    })
  })
}

const ADD_EXAMPLES = `
examples:
  ringback tasks add 9f2c1e77 --callback-url https://shop.example/hooks
  ringback tasks add - --callback-url https://shop.example/hooks < ids.txt
  echo '{"taskId":"9f2c1e77","metadata":{"order":1180}}' | ringback tasks add - --endpoint ep_01kb0qv4k2x8`

function readMetadata(text: string): Row {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row
  } catch {
    // The same complaint as for JSON that is no object.
  }
  throw new InvalidArgumentError('expected a JSON object such as {"order":1180}.')
}

function sharedFieldsOf({ callbackUrl, endpoint, kind, metadata, deadline, submittedAt }: AddOptions): Row {
  const fields = { callbackUrl, endpointId: endpoint, kind, metadata, deadline, submittedAt }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

interface AddCounts {
  readonly added: number
  readonly known: number
  readonly failed: number
}

async function addAll(cli: Cli, api: Api, ids: readonly string[], shared: Row, asJson: boolean): Promise<AddCounts> {
  let counts: AddCounts = { added: 0, known: 0, failed: 0 }
  for await (const batch of registrationsFrom(ids, cli.io.stdin, shared)) {
    for (const problem of batch.problems) say(cli.io, `ringback: ${problem}`)
    const results = await register(api, batch.registrations)
    printAdded(cli, results, batch.registrations, asJson)
    counts = {
      added: counts.added + results.filter(({ status }) => status === 201).length,
      known: counts.known + results.filter(({ status }) => status === 200).length,
      failed: counts.failed + results.filter(({ status }) => Number(status) >= 400).length + batch.problems.length,
    }
  }
  return counts
}

/** One goes the plain way, so that its problem decides the exit code; many go in bulk. */
async function register(api: Api, registrations: readonly Row[]): Promise<readonly Row[]> {
  const [first] = registrations
  if (first === undefined) return []
  if (registrations.length > 1) {
    return rowsOf((await api.post('/v1/tasks/bulk', { tasks: registrations })).body, 'results')
  }
  const { status, body } = await api.post('/v1/tasks', first)
  return [{ status, task: body }]
}

const ADDED_COLUMNS: readonly Column<Row>[] = [
  { title: 'task', value: (result) => textOf(rowOf(result, 'task'), 'id') },
  { title: 'task id', value: (result) => textOf(rowOf(result, 'task'), 'taskId') },
  { title: '', value: (result) => (result['status'] === 201 ? 'new' : 'known') },
  { title: 'status', value: (result) => textOf(rowOf(result, 'task'), 'status') },
]

function printAdded(cli: Cli, results: readonly Row[], registrations: readonly Row[], asJson: boolean): void {
  const isKept = ({ status }: Row) => Number(status) < 400
  if (asJson) printJsonLines(cli.io, results)
  else printTable(cli.io, ADDED_COLUMNS, results.filter(isKept))
  results.forEach((result, index) => {
    if (isKept(result)) return
    const taskId = textOf(registrations[index] ?? {}, 'taskId')
    say(
      cli.io,
      `ringback: ${taskId}: ${problemText(rowOf(result, 'problem'), `refused with ${textOf(result, 'status')}`)}`,
    )
  })
}

interface TaskListOptions extends ListOptions {
  readonly kind?: string
  readonly taskId?: string
}

const LIST_COLUMNS: readonly Column<Row>[] = [
  { title: 'task', value: (task) => textOf(task, 'id') },
  { title: 'task id', value: (task) => textOf(task, 'taskId') },
  { title: 'kind', value: (task) => textOf(task, 'kind') },
  { title: 'status', value: (task) => textOf(task, 'status') },
  { title: 'registered', value: (task) => textOf(task, 'registeredAt') },
  { title: 'settled', value: (task) => textOf(task, 'settledAt') || '-' },
  { title: 'polls', value: (task) => textOf(task, 'pollCount') },
  { title: 'deliveries', value: (task) => deliveryStatuses(task) },
]

function deliveryStatuses(task: Row): string {
  const statuses = rowsOf(task, 'subscriptions').map(
    (subscription) => textOf(subscription, 'deliveryStatus') || 'waiting',
  )
  return [...new Set(statuses)]
    .map((status) => {
      const count = statuses.filter((other) => other === status).length
      return count === 1 ? status : `${count} ${status}`
    })
    .join(', ')
}

function addList(tasks: Command, cli: Cli): void {
  const list = tasks
    .command('list')
    .description('newest first')
    .addOption(new Option('--status <status>', 'only these').choices(TASK_STATUSES))
    .option('--kind <name>', 'only these')
    .option('--task-id <id>', 'only what Aidge calls so')
    .addOption(limitFlag())
    .option('--all', 'all pages')
  addClientFlags(list).action(async (options: TaskListOptions, command: Command) => {
    const { status, kind, taskId, limit, all } = options
    const query = { status, kind, taskId }
    await printPages(cli, command, { path: '/v1/tasks', query, columns: LIST_COLUMNS, limit, all })
  })
}

function addShow(tasks: Command, cli: Cli): void {
  const show = tasks
    .command('show')
    .description('one task with its deliveries and attempts')
    .argument('<id>', 'our id (task_…), or what Aidge calls it')
    .option('--kind <name>', 'which product, where Aidge uses the same id twice')
  addClientFlags(show).action(async (id: string, options: { kind?: string }, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.get(`/v1/tasks/${await findTask(api, id, options.kind)}`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTask(cli, answer.body)
    })
  })
}

function addCancel(tasks: Command, cli: Cli): void {
  const cancel = tasks
    .command('cancel')
    .description('stop watching a task; nobody is told')
    .argument('<id>', 'our id (task_…), or what Aidge calls it')
    .option('--kind <name>', 'which product, where Aidge uses the same id twice')
  addClientFlags(cancel).action(async (id: string, options: { kind?: string }, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.post(`/v1/tasks/${await findTask(api, id, options.kind)}/cancel`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, LIST_COLUMNS.slice(0, 4), [answer.body])
    })
  })
}

/** Below what the API allows at most, and what the client waits for an answer. */
const WAIT_SECONDS_MAX = 25

interface WaitOptions {
  readonly kind?: string
  readonly timeout?: number
}

function addWait(tasks: Command, cli: Cli): void {
  const wait = tasks
    .command('wait')
    .description('until a task has ended: exit 0 then, however it ended, and 5 when the time is up')
    .argument('<id>', 'our id (task_…), or what Aidge calls it')
    .option('--timeout <duration>', 'how long at most: 30s, 5m, 1h (default: as long as it takes)', readDuration)
    .option('--kind <name>', 'which product, where Aidge uses the same id twice')
  addClientFlags(wait).action(async (id: string, { kind, timeout }: WaitOptions, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const path = `/v1/tasks/${await findTask(api, id, kind)}`
      const answer = await settledWithin(api, path, timeout ?? Number.POSITIVE_INFINITY)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, LIST_COLUMNS, [answer.body])
      if (answer.body['status'] !== 'pending') return
      say(cli.io, 'it has not ended yet; it goes on being watched')
      cli.end('timed_out')
    })
  })
}

/** The task as soon as it has settled, or as it is when the time is up. */
async function settledWithin(api: Api, path: string, timeoutMs: number): Promise<Answer> {
  let restMs = timeoutMs
  for (;;) {
    const seconds = Math.min(WAIT_SECONDS_MAX, Math.ceil(restMs / SECOND))
    const answer = await api.get(path, { wait: String(seconds) })
    restMs -= seconds * SECOND
    if (answer.body['status'] !== 'pending' || restMs <= 0) return answer
  }
}

function readDuration(text: string): number {
  const durationMs = parseDuration(text)
  if (durationMs === null) throw new InvalidArgumentError('expected a duration such as 30s, 5m or 1h.')
  return durationMs
}

function addPoll(tasks: Command, cli: Cli): void {
  const poll = tasks
    .command('poll')
    .description('ask Aidge about a task now, within the rate')
    .argument('<id>', 'our id (task_…), or what Aidge calls it')
    .option('--kind <name>', 'which product, where Aidge uses the same id twice')
  addClientFlags(poll).action(async (id: string, options: { kind?: string }, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.post(`/v1/tasks/${await findTask(api, id, options.kind)}/poll`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, LIST_COLUMNS, [answer.body])
    })
  })
}

/** Our id of a task that is named by ours or by Aidge's. */
async function findTask(api: Api, id: string, kind: string | undefined): Promise<string> {
  if (isId('task', id)) return id
  const { body } = await api.get('/v1/tasks', { taskId: id, kind })
  const found = rowsOf(body, 'items')
  const [first] = found
  if (first === undefined) {
    throw new CommandError('not_found', `no task is called ${id}`, 'see `ringback tasks list` for those there are')
  }
  if (found.length > 1) {
    const kinds = found.map((task) => textOf(task, 'kind')).join(', ')
    throw new CommandError('usage', `${id} is a task of several kinds: ${kinds}`, 'say which one with --kind')
  }
  return textOf(first, 'id')
}

const TASK_FIELDS = [
  'id',
  'taskId',
  'kind',
  'status',
  'registeredAt',
  'submittedAt',
  'settledAt',
  'deadlineAt',
  'nextPollAt',
  'pollCount',
  'lastObservation',
  'eventId',
  'metadata',
] as const

function printTask(cli: Cli, task: Row): void {
  const given = TASK_FIELDS.map((name) => [name, textOf(task, name)] as const).filter(([, value]) => value !== '')
  printFields(cli.io, [...given, ...outcomeFields(rowOf(task, 'outcome'))])
  for (const delivery of rowsOf(task, 'deliveries')) {
    cli.io.stdout.write('\n')
    printFields(cli.io, [
      ['delivery', textOf(delivery, 'id')],
      ['to', textOf(delivery, 'callbackUrl')],
      ['status', textOf(delivery, 'status')],
    ])
    printTable(cli.io, ATTEMPT_COLUMNS, rowsOf(delivery, 'attempts'))
  }
}

function outcomeFields(outcome: Row): readonly (readonly [string, string])[] {
  const error = rowOf(outcome, 'error')
  const images = rowsOf(outcome, 'images').map((image) => ['image', textOf(image, 'url')] as const)
  const code = textOf(error, 'code')
  const partial = outcome['partial'] === true ? [['partial', 'true'] as const] : []
  return [...partial, ...images, ...(code === '' ? [] : [['error', `${code}: ${textOf(error, 'message')}`] as const])]
}
