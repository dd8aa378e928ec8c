/**
 * A TCP proxy on loopback that treats connections as bad networks do. What it does can be changed at any moment, and
 * holds for the connections that are open as well as for new ones.
 *
 * It also knows what no end of a connection can know: which requests were passed on without the head of an answer
 * coming back. Whoever sends those again sends them twice with good reason.
 */

import { EventEmitter, once, setMaxListeners } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { onTestFinished } from 'vitest'

export type Weather =
  | { readonly kind: 'calm' }
  /** Every piece comes later. */
  | { readonly kind: 'latency'; readonly delayMs: number }
  | { readonly kind: 'throttle'; readonly bytesPerSecond: number }
  /** Byte by byte. */
  | { readonly kind: 'drip'; readonly everyMs: number }
  /** Nothing passes; what was held back passes when the weather changes, as TCP sends again what got no answer. */
  | { readonly kind: 'silence' }
  /** As behind a router that has forgotten the connection: it stays open, and nothing passes ever again. */
  | { readonly kind: 'half_open' }
  /** Connections, open ones too, are reset at once. */
  | { readonly kind: 'refuse' }
  /** Ended after so many more bytes of that direction, by a reset or as if all had been said. */
  | { readonly kind: 'cut'; readonly of: Direction; readonly afterBytes: number; readonly by: 'reset' | 'end' }

export type Direction = 'request' | 'answer'

export interface ChaosProxy {
  /** To be used in place of the target's. */
  readonly url: string
  /** Names of requests that were passed on and whose connection ended before the head of an answer had come back. */
  readonly unanswered: readonly string[]
  /** How often each kind of weather did something to somebody. */
  readonly met: ReadonlyMap<Weather['kind'], number>
  turn(weather: Weather): void
  close(): Promise<void>
}

export interface ChaosProxyOptions {
  readonly targetUrl: string
  /** Finds a request's name in what has passed of it. */
  readonly nameOf?: (request: string) => string | null
}

/** How finely a throttled connection is portioned. */
const PORTIONS_PER_SECOND = 20

export async function startChaosProxy({ targetUrl, nameOf = () => null }: ChaosProxyOptions): Promise<ChaosProxy> {
  const target = new URL(targetUrl)
  const unanswered: string[] = []
  const met = new Map<Weather['kind'], number>()
  const lines = new Set<Line>()
  const sky: Sky = {
    weather: { kind: 'calm' },
    changes: new EventEmitter().setMaxListeners(0),
    meet: (kind) => void met.set(kind, (met.get(kind) ?? 0) + 1),
  }
  const server = createServer((client) => {
    const line = openLine(client, connect(Number(target.port), target.hostname), { sky, nameOf })
    lines.add(line)
    void line.ended.then((name) => {
      lines.delete(line)
      if (name !== null) unanswered.push(name)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const close = async () => {
    const isClosed = server.listening ? once(server.close(), 'close') : null
    const ends = [...lines].map(({ ended }) => ended)
    for (const line of lines) line.end('reset')
    await Promise.all([isClosed, ...ends])
  }
  onTestFinished(close)
  return {
    url: `${target.protocol}//127.0.0.1:${port}`,
    unanswered,
    met,
    turn(weather) {
      sky.weather = weather
      for (const line of lines) line.turn()
      sky.changes.emit('turn')
    },
    close,
  }
}

interface Sky {
  weather: Weather
  readonly changes: EventEmitter
  meet(kind: Weather['kind']): void
}

/** One connection: two sockets, and what is between them. */
interface Line {
  /** The weather is another. */
  turn(): void
  end(by: 'reset' | 'end'): void
  /** Resolves with the name of a request that has got no answer by the end. */
  readonly ended: Promise<string | null>
}

interface Surroundings {
  readonly sky: Sky
  readonly nameOf: (request: string) => string | null
}

function openLine(client: Socket, server: Socket, { sky, nameOf }: Surroundings): Line {
  const life = new AbortController()
  const { signal } = life
  setMaxListeners(0, signal)
  const tally = createTally(nameOf)
  /** Nothing passes any more, whatever the weather becomes. */
  let isForgotten = false
  let untilCut = Number.POSITIVE_INFINITY
  const bothClosed = Promise.all([client, server].map((socket) => new Promise((done) => socket.once('close', done))))

  function end(by: 'reset' | 'end'): void {
    life.abort()
    for (const socket of [client, server]) {
      if (by === 'reset') reset(socket)
      else socket.destroySoon()
    }
  }

  function turn(): void {
    const { weather } = sky
    untilCut = weather.kind === 'cut' ? weather.afterBytes : Number.POSITIVE_INFINITY
    if (weather.kind !== 'refuse') return
    sky.meet('refuse')
    end('reset')
  }

  /** What may pass next of `rest`; null when it never will. */
  async function passage(rest: Buffer, direction: Direction): Promise<Buffer | null> {
    for (;;) {
      const { weather } = sky
      isForgotten ||= weather.kind === 'half_open'
      if (isForgotten) {
        sky.meet('half_open')
        return null
      }
      if (weather.kind !== 'calm') sky.meet(weather.kind)
      switch (weather.kind) {
        case 'silence':
          await once(sky.changes, 'turn', { signal })
          continue
        case 'latency':
          await wait(weather.delayMs, undefined, { signal })
          return rest
        case 'throttle':
          await wait(1_000 / PORTIONS_PER_SECOND, undefined, { signal })
          return rest.subarray(0, Math.ceil(weather.bytesPerSecond / PORTIONS_PER_SECOND))
        case 'drip':
          await wait(weather.everyMs, undefined, { signal })
          return rest.subarray(0, 1)
        case 'cut':
          return weather.of === direction ? rest.subarray(0, untilCut) : rest
        default:
          return rest
      }
    }
  }

  async function carry(from: Socket, to: Socket, direction: Direction): Promise<void> {
    for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (let rest = chunk; rest.length > 0; ) {
        const piece = await passage(rest, direction)
        if (piece === null) break
        if (to.destroyed) return end('reset')
        tally[direction](piece)
        if (piece.length > 0 && !to.write(piece)) await once(to, 'drain', { signal })
        rest = rest.subarray(piece.length)
        const { weather } = sky
        if (weather.kind !== 'cut' || weather.of !== direction) continue
        untilCut -= piece.length
        if (untilCut <= 0) return end(weather.by)
      }
    }
    if (!isForgotten) to.end()
  }

  turn()
  for (const [from, to, direction] of [
    [client, server, 'request'],
    [server, client, 'answer'],
  ] as const) {
    from.on('error', () => {})
    // One that breaks takes the other with it; one that has said all of it does not: the rest may still be on its way.
    from.once('close', (isBroken) => (isBroken || (isForgotten && from === client) ? end('reset') : undefined))
    carry(from, to, direction).catch(() => end('reset'))
  }
  return { turn, end, ended: bothClosed.then(tally.unanswered) }
}

/** Node cannot reset a socket that is being opened or closed: it would wait for ever for its end. */
function reset(socket: Socket): void {
  if (socket.connecting || socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

interface Tally extends Readonly<Record<Direction, (piece: Buffer) => void>> {
  /** The name of the request under way, when the head of its answer has not passed. */
  unanswered(): string | null
}

/** One request at a time on a connection, as HTTP/1.1 clients have it that do not pipeline. */
function createTally(nameOf: (request: string) => string | null): Tally {
  let request = ''
  let answer = ''
  let name: string | null = null
  return {
    request(piece) {
      // Whatever came before it belongs to the request before.
      if (request === '') answer = ''
      request += piece.toString('latin1')
      name = nameOf(request)
    },
    answer(piece) {
      answer += piece.toString('latin1')
      if (!answer.includes('\r\n\r\n')) return
      request = ''
      name = null
    },
    unanswered: () => name,
  }
}
