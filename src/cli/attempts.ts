/** The attempts of a delivery as people see them. */

import { type Row, textOf } from './client.ts'
import type { Column } from './table.ts'

export const ATTEMPT_COLUMNS: readonly Column<Row>[] = [
  { title: 'attempt', value: (attempt) => textOf(attempt, 'attemptNumber') },
  { title: 'started', value: (attempt) => textOf(attempt, 'startedAt') },
  { title: 'took', value: (attempt) => `${Math.round(Number(attempt['durationMs'] ?? 0))} ms` },
  { title: 'answer', value: (attempt) => textOf(attempt, 'statusCode') || textOf(attempt, 'failure') },
  { title: 'verdict', value: (attempt) => textOf(attempt, 'verdict') },
  { title: 'next', value: (attempt) => textOf(attempt, 'nextAttemptAt') || '-' },
]
