/** Remembers that something worked a short while ago for another host than the one that now fails. */

const MEMORY_MS = 60_000

export interface Witness {
  readonly saw: (host: string) => void
  readonly sawAnotherThan: (host: string) => boolean
}

/** Two hosts are enough: at least one of them is another than the one in question. `now` is in milliseconds. */
export function createWitness(now: () => number): Witness {
  let latest: { host: string; at: number } | null = null
  let latestOther: { host: string; at: number } | null = null
  return {
    saw(host) {
      if (latest !== null && latest.host !== host) latestOther = latest
      latest = { host, at: now() }
    },
    sawAnotherThan(host) {
      return [latest, latestOther].some((seen) => seen !== null && seen.host !== host && now() - seen.at <= MEMORY_MS)
    },
  }
}
