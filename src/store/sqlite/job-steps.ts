/** The steps of the port that work on many deliveries, over the tables of jobs and of what is deleted. */

import type Database from 'better-sqlite3'
import { assert } from '../../core/errors.ts'
import type { NewId } from '../../ports.ts'
import type { JobStore } from '../jobs.ts'
import { createDeletion } from './deletion.ts'
import type { EndpointTable } from './endpoints.ts'
import { createJobLookups, createJobTable } from './jobs.ts'
import type { TurnTable } from './turns.ts'

export interface JobStepParts {
  readonly reader: Database.Database
  readonly newId: NewId
  readonly endpoints: Pick<EndpointTable, 'find'>
  readonly turns: Pick<TurnTable, 'bringForwardByHand' | 'nothingWaits'>
  /** For a step that a caller waits for. */
  readonly writeSoon: <T>(step: () => T) => Promise<T>
  /** For a piece of work that comes again when it is refused. */
  readonly piece: <T>(step: () => T) => Promise<T>
  readonly look: <T>(read: () => T) => T
}

export function createJobSteps(db: Database.Database, parts: JobStepParts): Omit<JobStore, 'forgetEndpoints'> {
  const { reader, newId, endpoints, turns, writeSoon, piece, look } = parts
  const jobs = createJobTable(db, newId, turns)
  const deletion = createDeletion(db, { jobs, turns })
  const lookups = createJobLookups(reader)

  return {
    countRedeliverable: async ({ filter, after, limit }) => look(() => lookups.countPiece(filter, after, limit)),

    createJob: ({ now, filter, totalCount }) =>
      writeSoon(() => {
        const endpoint = filter.endpointId === null ? null : endpoints.find(filter.endpointId, now)
        if (endpoint === undefined) return { kind: 'unknown_endpoint' }
        if (endpoint !== null && endpoint.status !== 'enabled') return { kind: 'endpoint_not_enabled', endpoint }
        const inTheWay = jobs.findInTheWay(filter)
        if (inTheWay !== undefined) return { kind: 'job_running', job: inTheWay }
        return { kind: 'created', job: jobs.create(filter, totalCount, now) }
      }),

    advanceJob: ({ now, id, limit }) => piece(() => jobs.advance(id, limit, now)),

    cancelJob: ({ now, id }) =>
      writeSoon(() => {
        if (jobs.find(id) === null) return { kind: 'not_found' }
        const isCanceled = jobs.cancel(id, now)
        const job = jobs.find(id)
        assert(job !== null, `job ${id} is there in its own step`)
        return { kind: isCanceled ? 'canceled' : 'already_ended', job }
      }),

    getJob: async (id) => look(() => lookups.find(id)),
    listJobs: async (query) => look(() => lookups.list(query)),
    listRunningJobs: async () => look(() => lookups.listRunning()),

    deleteEndpoint: ({ now, id, doesDropBacklog }) => writeSoon(() => deletion.delete(id, doesDropBacklog, now)),

    async dropBacklogs({ now, limit }) {
      if (!deletion.isDropping()) return { droppedCount: 0, isMore: false }
      return piece(() => deletion.dropBacklogs(limit, now))
    },
  }
}
