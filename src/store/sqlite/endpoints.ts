/** Endpoints: made by hand, or found or made by their URL. When each is sent to is in turns.ts. */

import type Database from 'better-sqlite3'
import type { Endpoint, EndpointHealth, EndpointSettings, EndpointStatus } from '../../core/endpoint.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { EpochMs } from '../../core/time.ts'
import type { NewId, Vault } from '../../ports.ts'
import { type CustomHeaderTable, headerNamesOf } from './custom-headers.ts'
import type { SecretTable } from './secrets.ts'

/** Where an endpoint is; nowhere, when its receiver comes and asks. */
export interface EndpointAddress {
  readonly id: EndpointId
  readonly url: string | null
  readonly status: EndpointStatus
}

/** One that can be sent to. */
export interface ReachableEndpoint extends EndpointAddress {
  readonly url: string
}

const COLUMNS = `id, url, name, status, disabled_reason as disabledReason, is_operator as isOperator, headers,
  event_types as eventTypes, rate_max as rateMax, concurrency_max as concurrencyMax, slots, failing_since as failingSince,
  probe_at as probeAt, probe_count as probeCount, created_at as createdAt, updated_at as updatedAt`

interface EndpointRow
  extends Pick<Endpoint, 'id' | 'url' | 'name' | 'status' | 'disabledReason' | 'rateMax' | 'concurrencyMax'>,
    EndpointHealth,
    Pick<Endpoint, 'createdAt' | 'updatedAt'> {
  readonly isOperator: 0 | 1
  readonly headers: string | null
  readonly eventTypes: string | null
}

/** One of its secrets or headers was sealed with another key than ours. */
const IS_SEALED_OTHERWISE = `((headers_key_id is not null and headers_key_id is not :keyId) or id in (
  select endpoint_id from _secrets
  where key_id is not null and key_id is not :keyId and (expires_at is null or expires_at > :now)))`

/** All but the headers, which are sealed and have a table of their own. */
type OpenSettings = Omit<EndpointSettings, 'headers'>

export interface EndpointTableParts {
  readonly secrets: SecretTable
  readonly customHeaders: CustomHeaderTable
  readonly vault: Vault
}

export function createEndpointTable(
  db: Database.Database,
  newId: NewId,
  { secrets, customHeaders, vault }: EndpointTableParts,
) {
  const byUrl = db.prepare<[string], EndpointAddress>(
    `select id, url, status from _endpoints where url = ? and status <> 'deleted'`,
  )
  const byId = db.prepare<[EndpointId], EndpointRow>(
    `select ${COLUMNS} from _endpoints where id = ? and status <> 'deleted'`,
  )
  const insert = db.prepare(
    `insert into _endpoints (id, url, host, name, event_types, rate_max, concurrency_max, status, created_at, updated_at)
     values (:id, :url, :host, :name, :eventTypes, :rateMax, :concurrencyMax, 'enabled', :now, :now)`,
  )
  const update = db.prepare(
    `update _endpoints set url = :url, host = :host, name = :name, event_types = :eventTypes, rate_max = :rateMax,
       concurrency_max = :concurrencyMax, updated_at = :now
     where id = :id`,
  )
  const sealedOtherwise = db.prepare<[object], { id: EndpointId }>(
    `select id from _endpoints where status = 'enabled' and ${IS_SEALED_OTHERWISE}`,
  )
  const readableAgain = db.prepare<[object], { id: EndpointId }>(
    `select id from _endpoints where disabled_reason = 'secret_unreadable' and not ${IS_SEALED_OTHERWISE}`,
  )

  function find(id: EndpointId, now: EpochMs): Endpoint | undefined {
    const row = byId.get(id)
    return row === undefined ? undefined : { ...toEndpoint(row), ...secrets.shownOf(id, now) }
  }

  return {
    findOrMake(url: string, now: EpochMs): EndpointAddress {
      const known = byUrl.get(url)
      if (known !== undefined) return known
      const id = newId('ep')
      insert.run({ ...columnsOf({ ...UNSET, url }), id, now })
      return { id, url, status: 'enabled' }
    },
    find,
    findByUrl(url: string, now: EpochMs): Endpoint | undefined {
      const known = byUrl.get(url)
      return known === undefined ? undefined : find(known.id, now)
    },
    create(
      settings: Partial<EndpointSettings>,
      keys: { secret: string; privateKey?: string },
      now: EpochMs,
    ): EndpointId {
      const id = newId('ep')
      insert.run({ ...columnsOf({ ...UNSET, ...settings }), id, now })
      if (settings.headers !== undefined) customHeaders.set(id, settings.headers)
      secrets.add(id, keys.secret, now)
      if (keys.privateKey !== undefined) secrets.beginPrivateKey(id, keys.privateKey, now)
      return id
    },
    /** What `changes` leaves out stays. */
    update(endpoint: Endpoint, changes: Partial<EndpointSettings>, now: EpochMs): void {
      update.run({ ...columnsOf({ ...endpoint, ...changes }), id: endpoint.id, now })
      if (changes.headers !== undefined) customHeaders.set(endpoint.id, changes.headers)
    },
    /**
     * Endpoints whose secrets or headers were sealed with another key than ours cannot be sent to: a signature made with
     * anything else would be garbage to their receivers. With the right key they can again.
     */
    compareWithVault(now: EpochMs): { sealedOtherwise: readonly EndpointId[]; readableAgain: readonly EndpointId[] } {
      const { keyId } = vault
      return {
        sealedOtherwise: sealedOtherwise.all({ keyId, now }).map(({ id }) => id),
        readableAgain: readableAgain.all({ keyId, now }).map(({ id }) => id),
      }
    },
  }
}

function toEndpoint(row: EndpointRow): Omit<Endpoint, 'secrets' | 'publicKeys'> {
  const { eventTypes, headers, isOperator, failingSince, slots, probeAt, probeCount, ...rest } = row
  return {
    ...rest,
    headerNames: headerNamesOf(headers),
    eventTypes: eventTypes === null ? null : (JSON.parse(eventTypes) as string[]),
    health: { failingSince, slots, probeAt, probeCount },
    isOperator: isOperator === 1,
  }
}

const UNSET: OpenSettings = { url: null, name: null, eventTypes: null, rateMax: null, concurrencyMax: null }

function columnsOf({ url, name, eventTypes, rateMax, concurrencyMax }: OpenSettings) {
  const host = url === null ? null : hostOf(url)
  return {
    url,
    host,
    name,
    eventTypes: eventTypes === null ? null : JSON.stringify(eventTypes),
    rateMax,
    concurrencyMax,
  }
}

/** With the port: two ports are two servers. */
function hostOf(url: string): string {
  return new URL(url).host
}

export type EndpointTable = ReturnType<typeof createEndpointTable>
