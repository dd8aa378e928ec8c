/**
 * A store as if it were in a thread of its own, without one: the calls of one turn of the event loop arrive together and
 * later, the answers of one group too, and what is written in between the caller does not know of yet.
 */

import type { Clock } from '../../src/ports.ts'
import type { Store } from '../../src/store/store.ts'

/** They leave at once, with what was called before them (src/store/thread/near.ts). */
const CLAIMS: ReadonlySet<string> = new Set(['claimDueTasks', 'claimDueDeliveries'])
/** They answer from this side. */
const NEAR: ReadonlySet<string> = new Set(['databaseId', 'impediments', 'onTold', 'close'])

type Method = (params: never) => Promise<unknown>

export function likeAThread(store: Store, clock: Pick<Clock, 'soon'>): Store {
  const there = createPost(clock)
  const back = createPost(clock)
  const callOf = (name: string, method: Method) => (params: never) =>
    new Promise((resolve, reject) => {
      there.send(() => {
        method(params).then(
          (value) => back.send(() => resolve(value)),
          (error: unknown) => back.send(() => reject(error)),
        )
      })
      if (CLAIMS.has(name)) there.leave()
    })
  return new Proxy(store, {
    get(target, name: string) {
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' && !NEAR.has(name) ? callOf(name, member.bind(target) as Method) : member
    },
  })
}

/** One way: what is sent before it leaves arrives together, in order. */
function createPost(clock: Pick<Clock, 'soon'>) {
  let unsent: (() => void)[] = []
  return {
    send(arrive: () => void): void {
      const message = unsent
      if (message.push(arrive) > 1) return
      clock.soon(() => {
        if (unsent === message) unsent = []
        for (const each of message) each()
      })
    },
    /** What is sent after this is another message. */
    leave(): void {
      unsent = []
    },
  }
}
