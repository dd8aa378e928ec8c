/**
 * Watches the daemon's writing connection from below: which one it is, when a group commit is about to happen and when
 * it has. The connection and what it does are the real ones; only here can a process die between a commit and its answer.
 */

import Database from 'better-sqlite3'

export interface CommitWatch {
  /** May throw what the disk would throw; then nothing is committed. */
  before(): void
  /** May throw what the disk would throw although all of it is there. */
  after(): void
}

type Watched = Database.Database
const watches = new WeakMap<Watched, CommitWatch>()
let lastWriter: Watched | null = null

const prototype = Database.prototype as Watched
const { pragma, prepare } = prototype

/** Only the connection that is going to write turns the write-ahead log on. */
prototype.pragma = function (this: Watched, source: string, options?: Database.PragmaOptions) {
  if (source === 'journal_mode = wal') lastWriter = this
  return pragma.call(this, source, options)
} as typeof pragma

prototype.prepare = function (this: Watched, source: string) {
  const statement = prepare.call(this, source)
  if (source !== 'commit') return statement
  return {
    run: () => {
      const watch = watches.get(this)
      watch?.before()
      const result = (statement as Database.Statement<[]>).run()
      watch?.after()
      return result
    },
  }
} as unknown as typeof prepare

/** Opens a store by `open` and watches its writer from then on. */
export function watchCommits<T>(open: () => T, watch: CommitWatch): { opened: T; writer: Watched } {
  lastWriter = null
  const opened = open()
  if (lastWriter === null) throw new Error('no connection turned the write-ahead log on: the witness sees nothing')
  watches.set(lastWriter, watch)
  return { opened, writer: lastWriter }
}

export function diskError(code: string, message: string): Error {
  return new Database.SqliteError(message, code)
}
