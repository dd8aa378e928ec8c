/** What the statements of claims have in common. */

/**
 * `limit :limit`. SQLite plans by the value of a parameter that stands there alone, and so compiles the statement again
 * whenever one is bound (some 40 µs, with better-sqlite3 12 and 13); a sum it takes as it comes.
 */
export const LIMIT = 'limit :limit + 0'
