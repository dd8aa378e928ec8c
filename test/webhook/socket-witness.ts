/**
 * Counts what this process really does to the network, below every library: each TCP connection that is tried and each
 * name that the system is asked for appears as a resource of Node's own, whoever opened it.
 */

import { createHook } from 'node:async_hooks'

const CONNECTING: ReadonlySet<string> = new Set(['TCPCONNECTWRAP', 'PIPECONNECTWRAP'])
const ASKING: ReadonlySet<string> = new Set(['GETADDRINFOREQWRAP', 'QUERYWRAP'])

export interface Touched {
  readonly connects: number
  readonly lookUps: number
}

/** What `act` did to the network until it was done. */
export async function touching<T>(act: () => Promise<T>): Promise<{ value: T; touched: Touched }> {
  let connects = 0
  let lookUps = 0
  const hook = createHook({
    init(_id, type) {
      if (CONNECTING.has(type)) connects += 1
      if (ASKING.has(type)) lookUps += 1
    },
  }).enable()
  try {
    const value = await act()
    return { value, touched: { connects, lookUps } }
  } finally {
    hook.disable()
  }
}

export const NOTHING: Touched = { connects: 0, lookUps: 0 }
