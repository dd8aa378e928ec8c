/** The log's line of each thing that the operator is told: here and nowhere else, once it is on disk. */

import { inWords, type OperatorEvent, type OperatorEventType } from '../core/operator-event.ts'
import type { Log } from '../ports.ts'

/** Null: the disk says it itself and at once, because it may be long until it can be written down. */
const LEVELS: Readonly<Record<OperatorEventType, 'info' | 'error' | null>> = {
  'endpoint.disabled': 'error',
  'endpoint.enabled': 'info',
  'delivery.exhausted': 'error',
  'upstream.refused': 'error',
  'upstream.recovered': 'info',
  'disk.low': null,
}

export function logTold(log: Log, { id, fact }: OperatorEvent): void {
  const { type, ...fields } = fact
  const level = LEVELS[type]
  if (level !== null) log[level]({ event: type, operatorEventId: id, ...fields }, inWords(fact))
}
