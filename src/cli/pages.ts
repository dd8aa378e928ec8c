/** Lists that come in pages. */

import { InvalidArgumentError, Option } from 'commander'
import { type Api, type Row, rowsOf, textOf } from './client.ts'
import { type Cli, say } from './command.ts'

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

interface PageQuery {
  readonly query: Readonly<Record<string, string | undefined>>
  readonly limit: number | undefined
  /** Every page, as large as pages can be. */
  readonly isAll: boolean
}

/** Shows one page, or all of them, and says on stderr when there is nothing, or more than was shown. */
export async function eachPage(
  cli: Pick<Cli, 'io'>,
  api: Api,
  path: string,
  { query, limit, isAll }: PageQuery,
  show: (rows: readonly Row[], isFirst: boolean) => void,
): Promise<void> {
  const count = String(isAll ? PAGE_COUNT_MAX : (limit ?? PAGE_COUNT_MAX))
  let cursor: string | undefined
  let shownCount = 0
  do {
    const { body } = await api.get(path, { ...query, limit: count, cursor })
    const rows = rowsOf(body, 'items')
    show(rows, shownCount === 0)
    shownCount += rows.length
    cursor = textOf(body, 'nextCursor') || undefined
  } while (isAll && cursor !== undefined)
  if (shownCount === 0) say(cli.io, 'nothing matches')
  else if (cursor !== undefined) say(cli.io, `these are the newest ${shownCount}; --all shows the rest too`)
}
