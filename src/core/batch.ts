/** Due tasks, packed into queries: one kind per query, at most `idsPerQuery` ids in each. */

export function packQueries<T extends { readonly kind: string }>(
  tasks: readonly T[],
  idsPerQuery: (kind: string) => number,
): readonly (readonly T[])[] {
  const openByKind = new Map<string, T[]>()
  const queries: T[][] = []
  for (const task of tasks) {
    const open = openByKind.get(task.kind)
    if (open !== undefined && open.length < idsPerQuery(task.kind)) {
      open.push(task)
      continue
    }
    const query = [task]
    queries.push(query)
    openByKind.set(task.kind, query)
  }
  return queries
}
