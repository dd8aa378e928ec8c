/** Lists that come in pages. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Row, rowsOf, textOf, withApi } from './client.ts'
import { type Cli, isJson, say } from './command.ts'
import { type Column, printJsonLines, printTable } from './table.ts'

/** The API's own limit for one page. */
const PAGE_COUNT_MAX = 500

export function limitFlag(): Option {
  return new Option('--limit <number>', `how many, up to ${PAGE_COUNT_MAX}`).default(50).argParser((text) => {
    const count = /^\d{1,4}$/.test(text) ? Number(text) : 0
    if (count < 1 || count > PAGE_COUNT_MAX) {
      throw new InvalidArgumentError(`expected a whole number from 1 to ${PAGE_COUNT_MAX}.`)
    }
    return count
  })
}

/** The flags that every list has. */
export interface ListOptions {
  readonly status?: string
  readonly limit?: number
  readonly all?: boolean
}

interface Listing {
  readonly path: string
  readonly query: Readonly<Record<string, string | undefined>>
  readonly columns: readonly Column<Row>[]
  readonly limit?: number | undefined
  /** Every page, as large as pages can be. */
  readonly all?: boolean | undefined
}

/** Prints one page, or all of them, and says on stderr when there is nothing, or more than was shown. */
export async function printPages(
  cli: Cli,
  command: Command,
  { path, query, columns, limit, all = false }: Listing,
): Promise<void> {
  const count = String(all ? PAGE_COUNT_MAX : (limit ?? PAGE_COUNT_MAX))
  await withApi(cli.io, command, async (api) => {
    let cursor: string | undefined
    let shownCount = 0
    do {
      const { body } = await api.get(path, { ...query, limit: count, cursor })
      const rows = rowsOf(body, 'items')
      if (isJson(command)) printJsonLines(cli.io, rows)
      else printTable(cli.io, columns, rows, { hasTitles: shownCount === 0 })
      shownCount += rows.length
      cursor = textOf(body, 'nextCursor') || undefined
    } while (all && cursor !== undefined)
    if (shownCount === 0) say(cli.io, 'nothing matches')
    else if (cursor !== undefined) say(cli.io, `these are the newest ${shownCount}; --all shows the rest too`)
  })
}
