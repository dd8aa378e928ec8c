/** `ringback jobs`: how far the sending of many deliveries is, and stopping it. */

import { type Command, Option } from 'commander'
import { JOB_STATUSES } from '../core/job.ts'
import { type Answer, type Row, textOf, withApi } from './client.ts'
import { type Cli, isJson, say } from './command.ts'
import { type ListOptions, limitFlag, printPages } from './pages.ts'
import { addClientFlags } from './settings.ts'
import { type Column, printFields, printJsonText, printTable } from './table.ts'

const COLUMNS: readonly Column<Row>[] = [
  { title: 'job', value: (job) => textOf(job, 'id') },
  { title: 'status', value: (job) => textOf(job, 'status') },
  { title: 'queued', value: (job) => `${textOf(job, 'queuedCount')} of ${textOf(job, 'totalCount')}` },
  { title: 'endpoint', value: (job) => textOf(job, 'endpointId') || 'all' },
  { title: 'of', value: (job) => textOf(job, 'deliveryStatus') },
  { title: 'since', value: (job) => textOf(job, 'since') || '-' },
  { title: 'created', value: (job) => textOf(job, 'createdAt') },
  { title: 'finished', value: (job) => textOf(job, 'finishedAt') || '-' },
]

const FIELDS = [
  'id',
  'status',
  'queuedCount',
  'totalCount',
  'endpointId',
  'deliveryStatus',
  'since',
  'until',
  'eventType',
  'createdAt',
  'updatedAt',
  'finishedAt',
] as const

export function addJobs(program: Command, cli: Cli): void {
  const jobs = program.command('jobs').description('see how far recoveries and bulk redeliveries are, and stop them')
  addList(jobs, cli)
  addShow(jobs, cli)
  addCancel(jobs, cli)
}

function addList(jobs: Command, cli: Cli): void {
  const list = jobs
    .command('list')
    .description('newest first')
    .addOption(new Option('--status <status>', 'only these').choices(JOB_STATUSES))
    .addOption(limitFlag())
    .option('--all', 'all pages')
  addClientFlags(list).action(async (options: ListOptions, command: Command) => {
    const { status, limit, all } = options
    await printPages(cli, command, { path: '/v1/jobs', query: { status }, columns: COLUMNS, limit, all })
  })
}

function addShow(jobs: Command, cli: Cli): void {
  const show = jobs.command('show').description('how far one is').argument('<id>', 'the job (job_…)')
  addClientFlags(show).action(async (id: string, _: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.get(`/v1/jobs/${encodeURIComponent(id)}`)
      if (isJson(command)) return printJsonText(cli.io, answer.text)
      printFields(
        cli.io,
        FIELDS.map((name) => [name, textOf(answer.body, name)] as const).filter(([, value]) => value !== ''),
      )
    })
  })
}

function addCancel(jobs: Command, cli: Cli): void {
  const cancel = jobs
    .command('cancel')
    .description('stop one; what it has queued stays queued')
    .argument('<id>', 'the job (job_…)')
  addClientFlags(cancel).action(async (id: string, _: unknown, command: Command) => {
    await withApi(cli.io, command, async (api) => {
      const answer = await api.post(`/v1/jobs/${encodeURIComponent(id)}/cancel`)
      if (isJson(command)) printJsonText(cli.io, answer.text)
      else printTable(cli.io, COLUMNS, [answer.body])
    })
  })
}

/** What was begun, or, of a dry run, how many it would be. */
export function printBegun(cli: Cli, command: Command, { status, text, body }: Answer): void {
  if (isJson(command)) printJsonText(cli.io, text)
  else if (status === 200) cli.io.stdout.write(`${textOf(body, 'totalCount')}\n`)
  else printTable(cli.io, COLUMNS, [body])
  if (status === 200) say(cli.io, 'a dry run: so many would be queued, and nothing was changed')
  else say(cli.io, `begun; \`ringback jobs show ${textOf(body, 'id')}\` shows how far it is`)
}
