/** Endpoints' own headers: names in the open, values sealed like secrets. Opened when they are sent, and never shown. */

import type Database from 'better-sqlite3'
import type { CustomHeaders } from '../../core/custom-headers.ts'
import type { EndpointId } from '../../core/ids.ts'
import type { Vault } from '../../ports.ts'

interface HeadersRow {
  readonly headers: string | null
  readonly keyId: string | null
}

const NONE: CustomHeaders = {}

export function createCustomHeaderTable(db: Database.Database, vault: Vault) {
  const select = db.prepare<[EndpointId], HeadersRow>(
    'select headers, headers_key_id as keyId from _endpoints where id = ?',
  )
  const update = db.prepare('update _endpoints set headers = :headers, headers_key_id = :keyId where id = :id')
  const unsealed = db.prepare<[], { id: EndpointId; headers: string }>(
    'select id, headers from _endpoints where headers is not null and headers_key_id is null',
  )
  /** Opened once for each text that stands in a row. */
  const opened = new Map<EndpointId, { readonly text: string; readonly headers: CustomHeaders }>()

  function set(id: EndpointId, headers: CustomHeaders): void {
    const isNone = Object.keys(headers).length === 0
    const sealed = mapped(headers, (value, name) => vault.seal(value, placeOf(id, name)))
    update.run({ id, headers: isNone ? null : JSON.stringify(sealed), keyId: isNone ? null : vault.keyId })
  }

  function openText(id: EndpointId, text: string, keyId: string | null): CustomHeaders | null {
    const known = opened.get(id)
    if (known?.text === text) return known.headers
    const values = mapped(JSON.parse(text) as CustomHeaders, (value, name) =>
      vault.open(value, keyId, placeOf(id, name)),
    )
    if (Object.values(values).includes(null)) return null
    const headers = values as CustomHeaders
    opened.set(id, { text, headers })
    return headers
  }

  return {
    /** In place of all that were there. */
    set,

    /** Null when one of them cannot be opened. */
    openOf(id: EndpointId): CustomHeaders | null {
      const row = select.get(id)
      return row === undefined || row.headers === null ? NONE : openText(id, row.headers, row.keyId)
    },

    /** Seals what was kept open before a key was given. */
    sealAll(): void {
      if (vault.keyId === null) return
      for (const { id, headers } of unsealed.all()) set(id, JSON.parse(headers) as CustomHeaders)
    },
  }
}

/** Of what stands in the column. */
export function headerNamesOf(text: string | null): readonly string[] {
  return text === null ? [] : Object.keys(JSON.parse(text) as CustomHeaders)
}

/** A sealed value does not open under another name: who may write the database may not turn one header into another. */
function placeOf(id: EndpointId, name: string): string {
  return `${id} header ${name.toLowerCase()}`
}

function mapped<T>(headers: CustomHeaders, change: (value: string, name: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, change(value, name)]))
}

export type CustomHeaderTable = ReturnType<typeof createCustomHeaderTable>
