/** The story of one task as a list of what happened, the earliest first. */

import { z } from '@hono/zod-openapi'
import { type EpochMs, toIso } from '../core/time.ts'
import type { Attempt } from '../store/attempts.ts'
import type { Delivery, Poll, Task } from '../store/store.ts'
import { instant, instantOrNull } from './schemas.ts'

/** Polls that were answered alike are one entry; of a task that was answered otherwise each time the last ones matter. */
export const TIMELINE_POLLS_MAX = 1_000

const at = { at: instant }
const text = z.string().nullable()

export const timelineSchema = z
  .object({
    id: z.string(),
    entries: z.array(
      z.union([
        z.object({ ...at, what: z.literal('registered'), submittedAt: instantOrNull, deadlineAt: instant }),
        z.object({
          ...at,
          what: z.literal('polled'),
          pollNumber: z.number().int(),
          firstPollNumber: z.number().int().openapi({
            description:
              'Polls that were answered alike are one entry, placed at the last: this was the number of the first.',
          }),
          firstAt: instant,
          durationMs: z.number(),
          observation: z.string(),
          detail: z.string(),
          httpStatus: z.number().int().nullable(),
          requestId: text,
          nextPollAt: instantOrNull,
          reason: text.openapi({ description: 'Why the next poll is when it is; null after the last.' }),
        }),
        z.object({ ...at, what: z.literal('settled'), status: z.string(), eventId: text }),
        z.object({
          ...at,
          what: z.literal('delivery_made'),
          deliveryId: z.string(),
          endpointId: z.string(),
          callbackUrl: text,
          status: z.string().openapi({ description: 'What it is now.' }),
        }),
        z.object({
          ...at,
          what: z.literal('attempted'),
          deliveryId: z.string(),
          attemptNumber: z.number().int(),
          isManual: z.boolean(),
          durationMs: z.number(),
          statusCode: z.number().int().nullable(),
          failure: text,
          detail: text,
          verdict: z.string(),
          nextAttemptAt: instantOrNull,
        }),
      ]),
    ),
  })
  .openapi('Timeline')

type Entry = z.infer<typeof timelineSchema>['entries'][number]

/** `rank` orders what happened within one millisecond as it must have been. */
interface Placed {
  readonly ms: EpochMs
  readonly rank: number
  readonly entry: Entry
}

interface Story {
  readonly task: Task
  readonly polls: readonly Poll[]
  readonly deliveries: readonly Delivery[]
  readonly attempts: readonly Attempt[]
}

export function timelineOf({ task, polls, deliveries, attempts }: Story): z.infer<typeof timelineSchema> {
  const placed = [
    registered(task),
    ...polls.map(polled),
    ...(task.settledAt === null ? [] : [settled(task, task.settledAt)]),
    ...deliveries.map(made),
    ...attempts.map(attempted),
  ]
  const entries = placed.sort((a, b) => a.ms - b.ms || a.rank - b.rank).map(({ entry }) => entry)
  return { id: task.id, entries }
}

function registered({ registeredAt, submittedAt, deadlineAt }: Task): Placed {
  const entry = {
    at: toIso(registeredAt),
    what: 'registered',
    submittedAt: isoOrNull(submittedAt),
    deadlineAt: toIso(deadlineAt),
  } as const
  return { ms: registeredAt, rank: 0, entry }
}

function polled({ askedAt, firstAskedAt, nextPollAt, ...poll }: Poll): Placed {
  const { pollNumber, firstPollNumber, durationMs, observation, detail, httpStatus, requestId, reason } = poll
  const firstAt = toIso(firstAskedAt)
  const facts = { pollNumber, firstPollNumber, firstAt, durationMs, observation, detail, httpStatus, requestId, reason }
  const entry = { at: toIso(askedAt), what: 'polled', ...facts, nextPollAt: isoOrNull(nextPollAt) } as const
  return { ms: askedAt, rank: 1, entry }
}

function settled({ status, eventId }: Task, settledAt: EpochMs): Placed {
  return { ms: settledAt, rank: 2, entry: { at: toIso(settledAt), what: 'settled', status, eventId } }
}

function made({ id, endpointId, callbackUrl, status, createdAt }: Delivery): Placed {
  const entry = {
    at: toIso(createdAt),
    what: 'delivery_made',
    deliveryId: id,
    endpointId,
    callbackUrl,
    status,
  } as const
  return { ms: createdAt, rank: 3, entry }
}

function attempted({ startedAt, nextAttemptAt, ...attempt }: Attempt): Placed {
  const { deliveryId, attemptNumber, isManual, durationMs, statusCode, failure, detail, verdict } = attempt
  const facts = { deliveryId, attemptNumber, isManual, durationMs, statusCode, failure, detail, verdict }
  const entry = { at: toIso(startedAt), what: 'attempted', ...facts, nextAttemptAt: isoOrNull(nextAttemptAt) } as const
  return { ms: startedAt, rank: 4, entry }
}

function isoOrNull(at: EpochMs | null): string | null {
  return at === null ? null : toIso(at)
}
