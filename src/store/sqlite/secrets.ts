/** Secrets of endpoints' own, sealed when the operator gave a key. Opened when they sign, and never shown again. */

import type Database from 'better-sqlite3'
import { expiriesAfterRotation, type SecretLife, type Signer } from '../../core/endpoint.ts'
import { assert } from '../../core/errors.ts'
import type { EndpointId } from '../../core/ids.ts'
import {
  type Ed25519Key,
  formatPublicKey,
  parsePrivateKey,
  parseSecret,
  type SigningAlgorithm,
  type SigningKey,
} from '../../core/signature.ts'
import type { EpochMs } from '../../core/time.ts'
import type { Vault } from '../../ports.ts'

/** For an operator who gave no key: the mode of the database file is all that guards the secrets in it. */
export const UNSEALED: Vault = {
  keyId: null,
  seal: (secret) => secret,
  open: (sealed, keyId) => (keyId === null ? sealed : null),
}

interface SecretRow {
  readonly id: number
  /** Of a private key: its public half in the open, a space, and the sealed key. */
  readonly sealed: string
  readonly keyId: string | null
  readonly algorithm: SigningAlgorithm
  readonly byDaemon: 0 | 1
  readonly createdAt: EpochMs
  readonly expiresAt: EpochMs | null
}

export function createSecretTable(db: Database.Database, vault: Vault) {
  const live = db.prepare<[{ endpointId: EndpointId; now: number }], SecretRow>(
    `select id, sealed, key_id as keyId, algorithm, by_daemon as byDaemon, created_at as createdAt, expires_at as expiresAt
     from _secrets where endpoint_id = :endpointId and (expires_at is null or expires_at > :now) order by id desc`,
  )
  const insert = db.prepare(
    `insert into _secrets (endpoint_id, sealed, key_id, algorithm, by_daemon, created_at)
     values (:endpointId, :sealed, :keyId, :algorithm, :byDaemon, :now)`,
  )
  const expire = db.prepare('update _secrets set expires_at = :at where id = :id')
  const unsealed = db.prepare<[], Pick<SecretRow, 'id' | 'sealed'> & { endpointId: EndpointId }>(
    `select id, endpoint_id as endpointId, sealed from _secrets where key_id is null and by_daemon = 0`,
  )
  const reseal = db.prepare('update _secrets set sealed = :sealed, key_id = :keyId where id = :id')
  /**
   * Opening costs a few microseconds, reading text as a key another few: done once per secret. With its text, as a row
   * number is used again after what had it was deleted, or never committed.
   */
  const opened = new Map<number, { readonly sealed: string; readonly key: SigningKey }>()

  function liveOf(endpointId: EndpointId, algorithm: SigningAlgorithm, now: EpochMs): readonly SecretRow[] {
    return live.all({ endpointId, now }).filter((row) => row.algorithm === algorithm)
  }

  function add(endpointId: EndpointId, secret: string, now: EpochMs): void {
    const sealed = vault.seal(secret, endpointId)
    insert.run({ endpointId, sealed, keyId: vault.keyId, algorithm: 'hmac', byDaemon: 0, now })
  }

  function addDaemon(endpointId: EndpointId, now: EpochMs): void {
    insert.run({ endpointId, sealed: '', keyId: null, algorithm: 'hmac', byDaemon: 1, now })
  }

  function addPrivateKey(endpointId: EndpointId, privateKey: string, now: EpochMs): void {
    const key = parsePrivateKey(privateKey)
    assert(key !== null, 'a private key reads as it was written')
    const sealed = `${formatPublicKey(key)} ${vault.seal(privateKey, endpointId)}`
    insert.run({ endpointId, sealed, keyId: vault.keyId, algorithm: 'ed25519', byDaemon: 0, now })
  }

  function open(endpointId: EndpointId, row: SecretRow): Signer | null {
    if (row.byDaemon === 1) return 'daemon'
    const known = opened.get(row.id)
    if (known?.sealed === row.sealed) return known.key
    const key = openKey(endpointId, row)
    if (key !== null) opened.set(row.id, { sealed: row.sealed, key })
    return key
  }

  function openKey(endpointId: EndpointId, { sealed, keyId, algorithm }: SecretRow): SigningKey | null {
    if (algorithm === 'hmac') {
      const secret = vault.open(sealed, keyId, endpointId)
      return secret === null ? null : parseSecret(secret)
    }
    const { publicKey, rest } = halvesOf(sealed)
    const privateKey = vault.open(rest, keyId, endpointId)
    const key = privateKey === null ? null : parsePrivateKey(privateKey)
    return key !== null && belongsTo(key, publicKey) ? key : null
  }

  /** Those before it go on signing until the overlap has passed. */
  function expireAll(rows: readonly SecretRow[], now: EpochMs, overlapMs: number): void {
    const expiries = expiriesAfterRotation(rows, now, overlapMs)
    for (const [index, { id }] of rows.entries()) {
      const at = expiries[index]
      assert(at !== undefined, 'one expiry per live secret')
      expire.run({ id, at })
    }
  }

  return {
    /** What people may know of them; needs no key to be read. */
    shownOf(endpointId: EndpointId, now: EpochMs): { secrets: readonly SecretLife[]; publicKeys: readonly string[] } {
      const rows = live.all({ endpointId, now })
      return {
        secrets: rows
          .filter(({ algorithm }) => algorithm === 'hmac')
          .map(({ createdAt, expiresAt }) => ({ createdAt, expiresAt })),
        publicKeys: rows
          .filter(({ algorithm }) => algorithm === 'ed25519')
          .map(({ sealed }) => halvesOf(sealed).publicKey),
      }
    },

    /** What signs for the endpoint now, shared secrets first; null when one of its own cannot be opened. */
    signersOf(endpointId: EndpointId, now: EpochMs): readonly Signer[] | null {
      const rows = live.all({ endpointId, now })
      const byAlgorithm = (wanted: SigningAlgorithm) =>
        rows.filter(({ algorithm }) => algorithm === wanted).map((row) => open(endpointId, row))
      const shared = byAlgorithm('hmac')
      const signers = [...(shared.length === 0 ? ['daemon' as const] : shared), ...byAlgorithm('ed25519')]
      return signers.every((signer) => signer !== null) ? signers : null
    },

    add,

    /** The new secret signs at once; those before it go on signing until the overlap has passed. */
    rotate(endpointId: EndpointId, secret: string, now: EpochMs, overlapMs: number): void {
      // Until now the daemon's own secret signed: receivers that know it need the overlap too.
      if (liveOf(endpointId, 'hmac', now).length === 0) addDaemon(endpointId, now)
      expireAll(liveOf(endpointId, 'hmac', now), now, overlapMs)
      add(endpointId, secret, now)
    },

    /** The same for the private key of an endpoint that has one; for any other nothing. */
    rotatePrivateKey(endpointId: EndpointId, privateKey: string, now: EpochMs, overlapMs: number): void {
      const rows = liveOf(endpointId, 'ed25519', now)
      if (rows.length === 0) return
      expireAll(rows, now, overlapMs)
      addPrivateKey(endpointId, privateKey, now)
    },

    /** Unless it signs with one already: then its receiver's public key stays good. */
    beginPrivateKey(endpointId: EndpointId, privateKey: string, now: EpochMs): void {
      if (liveOf(endpointId, 'ed25519', now).length === 0) addPrivateKey(endpointId, privateKey, now)
    },

    endPrivateKeys(endpointId: EndpointId, now: EpochMs): void {
      for (const { id } of liveOf(endpointId, 'ed25519', now)) expire.run({ id, at: now })
    },

    /** Seals what was kept open before a key was given. */
    sealAll(): void {
      const { keyId } = vault
      if (keyId === null) return
      for (const { id, endpointId, sealed } of unsealed.all()) {
        const { publicKey, rest } = halvesOf(sealed)
        const resealed = vault.seal(rest, endpointId)
        reseal.run({ id, sealed: publicKey === '' ? resealed : `${publicKey} ${resealed}`, keyId })
      }
    },
  }
}

/** Of a shared secret all is the rest. */
function halvesOf(sealed: string): { publicKey: string; rest: string } {
  const space = sealed.indexOf(' ')
  return { publicKey: sealed.slice(0, Math.max(0, space)), rest: sealed.slice(space + 1) }
}

/** What receivers were told to trust has to be what signs. */
function belongsTo(key: Ed25519Key, publicKey: string): boolean {
  return formatPublicKey(key) === publicKey
}

export type SecretTable = ReturnType<typeof createSecretTable>
