/** A roll of what is under way: entered and struck out all the time, and called only now and then. */

export interface Roll<Member> {
  /** Returns how to strike it out again. */
  enter(member: Member): () => void
  count(): number
  /** Everyone on it at the moment, in no order. */
  members(): readonly Member[]
}

/**
 * A `Set` would do, and cost much more. When one has no room left for what comes, V8 makes another table and has the old
 * one point to it; once such a table has grown old, it keeps the next one alive, that one its next, and each of them what
 * stood in it: of a Set that is entered and left for every task a sixth of the garbage outlives its time, and the
 * garbage collector takes three times as long.
 */
export function createRoll<Member>(): Roll<Member> {
  const entries: { readonly member: Member; place: number }[] = []
  return {
    enter(member) {
      const entry = { member, place: entries.length }
      entries.push(entry)
      return () => {
        if (entries[entry.place] !== entry) return
        const last = entries.pop()
        if (last === undefined || last === entry) return
        entries[entry.place] = last
        last.place = entry.place
      }
    },
    count: () => entries.length,
    members: () => entries.map(({ member }) => member),
  }
}
