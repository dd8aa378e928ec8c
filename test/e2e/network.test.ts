/**
 * The built daemon under load behind a network that fails in every way, at random instants: late, slow, byte by byte,
 * silent, forgotten, reset, cut short, between it and the upstream, and between it and receivers. Then the network is
 * well again, and nothing is lost: each task is told under one event id, again only where an answer did not come back,
 * and that is never where a receiver stands beside the network. The second test kills and halts the process meanwhile.
 *
 * `SECONDS_OF_CHAOS=1800` makes an hour of it (the default is eight seconds each); `SEED=…` repeats the weather and the
 * load, though not the history: processes are not deterministic.
 */

import { once, setMaxListeners } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import {
  aStage,
  type Clients,
  createClients,
  eventually,
  memoryOf,
  remainsAt,
  type Stage,
  seededRandom,
  untilRandomInstant,
} from '../support/chaos.ts'
import { type ChaosProxy, startChaosProxy, type Weather } from '../support/chaos-proxy.ts'
import {
  expectSound,
  hearingOf,
  pendingCount,
  type RecordedAttempt,
  recordedAttempts,
} from '../support/chaos-verdict.ts'
import { type DaemonProcess, spawnDaemon, startDaemonProcess } from '../support/daemon-process.ts'

const SECONDS = Number(process.env['SECONDS_OF_CHAOS'] ?? 8)
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))
/** How long one kind of weather lasts at most. */
const WEATHER_MS_MAX = 700
/** Between two calls of a client. */
const PAUSE_MS_MAX = 60
/**
 * For what the bad weather left undone: a query to nowhere is given up after half a minute, and as long as it keeps its
 * place others wait. After a long run thousands of tasks have to be asked about.
 */
const QUIET_MS_MAX = 45_000 + SECONDS * 1_000
const TEST_MS_MAX = SECONDS * 1_000 + QUIET_MS_MAX + 60_000
/** A receiver's answer that does not come is waited for this long. */
const DELIVERY_TIMEOUT = '1500ms'
/** As many attempts as can be set, so that none is given up, and no wait that a soak would notice. */
const RETRY_SCHEDULE = ['0s', ...Array.from({ length: 49 }, (_, index) => (index < 10 ? '200ms' : '1s'))].join(',')

const LIVES = ['ok', 'ok-100ms', 'fail-50ms', 'ok-300ms', 'http-500x1-ok', 'code-1000', 'garbagex1-ok', 'partial-20ms']
const expectedType = (taskId: string) => (/^(fail|code-1000)/.test(taskId) ? 'task.failed' : 'task.succeeded')

type Random = () => number

/** `half_open` last: where a connection must not be lost for good, it is left out. */
const WEATHERS: readonly ((random: Random) => Weather)[] = [
  () => ({ kind: 'calm' }),
  (random) => ({ kind: 'latency', delayMs: 10 + random() * 300 }),
  (random) => ({ kind: 'throttle', bytesPerSecond: 1_000 + random() * 20_000 }),
  () => ({ kind: 'drip', everyMs: 1 }),
  () => ({ kind: 'silence' }),
  () => ({ kind: 'refuse' }),
  (random) => ({ kind: 'cut', of: 'answer', afterBytes: Math.floor(random() * 250), by: 'reset' }),
  (random) => ({ kind: 'cut', of: 'answer', afterBytes: Math.floor(random() * 250), by: 'end' }),
  (random) => ({ kind: 'cut', of: 'request', afterBytes: Math.floor(random() * 1_500), by: 'reset' }),
  (random) => ({ kind: 'cut', of: 'request', afterBytes: Math.floor(random() * 1_500), by: 'end' }),
  () => ({ kind: 'half_open' }),
]

interface Region {
  readonly stage: Stage
  readonly env: Readonly<Record<string, string>>
  readonly upstream: ChaosProxy
  readonly receivers: readonly ChaosProxy[]
  readonly clients: Clients
}

async function aRegion(random: Random): Promise<Region> {
  const stage = await aStage({ receiving: { receivedMax: 10_000_000 } })
  const upstream = await startChaosProxy({ targetUrl: stage.sandbox.url })
  const nameOf = (request: string) => /webhook-id: (\S+)\r\n/.exec(request)?.[1] ?? null
  const open = () => startChaosProxy({ targetUrl: stage.receiver.url, nameOf })
  const receivers = [await open(), await open()]
  const callbackUrls = [...receivers.map(({ url }, index) => `${url}/far-${index}`), `${stage.receiver.url}${NEAR}`]
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)]!
  const clients = createClients({
    count: 4,
    nextTask: (index) => ({ taskId: `${pick(LIVES)}-n${index}`, callbackUrl: pick(callbackUrls) }),
    pause: () => untilRandomInstant(random, PAUSE_MS_MAX),
  })
  const env = {
    ...stage.env,
    AIDGE_BASE_URL: upstream.url,
    RINGBACK_DELIVERY_TIMEOUT: DELIVERY_TIMEOUT,
    RINGBACK_RETRY_SCHEDULE: RETRY_SCHEDULE,
    RINGBACK_SHUTDOWN_GRACE: '500ms',
  }
  return { stage, env, upstream, receivers, clients }
}

/** The path of the receiver that stands beside the network. */
const NEAR = '/near'

/** Every kind in its turn, as cards are dealt: none stays out for long. */
async function changeWeather(proxy: ChaosProxy, random: Random, stop: AbortSignal, isLossy: boolean): Promise<void> {
  const weathers = isLossy ? WEATHERS : WEATHERS.slice(0, -1)
  for (let deck: Weather[] = []; !stop.aborted; ) {
    if (deck.length === 0) deck = shuffled(random, weathers).map((weather) => weather(random))
    proxy.turn(deck.pop()!)
    await untilRandomInstant(random, WEATHER_MS_MAX)
  }
  proxy.turn({ kind: 'calm' })
}

function shuffled<T>(random: Random, values: readonly T[]): readonly T[] {
  return values
    .map((value) => ({ value, place: random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ value }) => value)
}

/** All of it until `stop`, and then calm. Each proxy has a weather of its own. */
async function storm({ upstream, receivers }: Region, stop: AbortSignal): Promise<void> {
  // A query that goes nowhere keeps its place for half a minute: too long for the short run.
  const lasting = changeWeather(upstream, seededRandom(SEED + 1), stop, SECONDS > 60)
  const others = receivers.map((proxy, index) => changeWeather(proxy, seededRandom(SEED + 2 + index), stop, true))
  await Promise.all([lasting, ...others])
}

interface Judged {
  readonly eventCount: number
  readonly repeatCount: number
  readonly unansweredCount: number
  readonly failures: ReadonlySet<string | null>
}

/** `excusesFor`: reasons beside the network for a POST of that event too many. */
async function judge(region: Region, excusesFor: (eventId: string) => number = () => 0): Promise<Judged> {
  const { stage, upstream, receivers, clients } = region
  const { receiver, path } = stage
  // What is still on its way is lost now, and known to be.
  for (const proxy of [upstream, ...receivers]) await proxy.close()
  expectSound(path)
  const { eventIds, postCounts } = hearingOf(receiver.received, expectedType)
  const lost = [...clients.acknowledged].filter((id) => !eventIds.has(id))
  expect(lost, 'acknowledged and never told').toEqual([])

  expect(receiver.received.some((one) => one.path === NEAR)).toBe(true)
  // None of these is near: whoever was told twice there has to be excused by the daemon's own record, or by its death.
  const unanswered = receivers.flatMap((proxy) => proxy.unanswered)
  const unansweredCounts = countEach(unanswered)
  const attempts = recordedAttempts(path)
  const attemptsOf = groupByEvent(attempts)
  let repeatCount = 0
  for (const [eventId, postCount] of postCounts) {
    const recorded = attemptsOf.get(eventId) ?? []
    expect(recorded.at(-1)?.status, `the end of ${eventId}`).toBe(204)
    const failed = recorded.slice(0, -1)
    expect(failed.filter(({ status }) => status !== null)).toEqual([])
    // An answer that comes as the deadline passes has come back for the network, and too late for the daemon.
    const lateCount = failed.filter(({ failure }) => failure === 'timeout').length
    const excuseCount = (unansweredCounts.get(eventId) ?? 0) + lateCount + excusesFor(eventId)
    expect(postCount - 1, `POSTs of ${eventId} that nothing explains`).toBeLessThanOrEqual(excuseCount)
    repeatCount += postCount - 1
  }
  const failures = new Set(attempts.map(({ failure }) => failure))
  return { eventCount: eventIds.size, repeatCount, unansweredCount: unanswered.length, failures }
}

function countEach(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

function groupByEvent(attempts: readonly RecordedAttempt[]): ReadonlyMap<string, readonly RecordedAttempt[]> {
  const groups = new Map<string, RecordedAttempt[]>()
  for (const attempt of attempts) groups.set(attempt.eventId, [...(groups.get(attempt.eventId) ?? []), attempt])
  return groups
}

/** A run in which nothing went wrong would prove nothing. */
function expectStorm({ upstream, receivers }: Region, { failures, repeatCount, unansweredCount }: Judged): void {
  const met = [upstream, ...receivers].flatMap((proxy) => [...proxy.met.keys()])
  const kinds: readonly Weather['kind'][] = ['latency', 'throttle', 'drip', 'silence', 'refuse', 'cut', 'half_open']
  expect(met).toEqual(expect.arrayContaining([...kinds]))
  // In a few seconds the weather may have brought one of them alone.
  const failed = [...failures].filter((failure) => failure === 'timeout' || failure === 'reset')
  expect(failed.length).toBeGreaterThanOrEqual(SECONDS < 60 ? 1 : 2)
  expect(unansweredCount).toBeGreaterThan(0)
  expect(repeatCount).toBeGreaterThan(0)
}

function say(what: string, { clients }: Region, judged: Judged): void {
  const { eventCount, repeatCount, unansweredCount } = judged
  console.log(
    `${what}: ${clients.acknowledged.size} acknowledged, ${eventCount} told, 0 lost, ` +
      `${repeatCount} repeated of ${unansweredCount} whose answers did not come back`,
  )
}

const untilQuiet = ({ stage }: Region) => eventually(() => (pendingCount(stage.path) === 0 ? true : null), QUIET_MS_MAX)

/** Ends after the time that was asked for. */
function aWhile(): AbortSignal {
  const signal = AbortSignal.timeout(SECONDS * 1_000)
  setMaxListeners(0, signal)
  return signal
}

/** A short run is still getting warm; what a long one keeps is a leak. */
const MEMORY_GROWTH_MIB_MAX = SECONDS > 60 ? 16 : 64

test(
  'behind a network that fails in every way nothing is lost, and only what got no answer is sent again',
  async () => {
    console.log(`network: SEED=${SEED} SECONDS_OF_CHAOS=${SECONDS}`)
    const region = await aRegion(seededRandom(SEED))
    const daemon = await startDaemonProcess(region.env)
    const stop = aWhile()
    const memory: number[] = []
    const { clients } = region
    await Promise.all([storm(region, stop), clients.load(daemon, stop), watchMemory(daemon, memory, stop)])
    await untilQuiet(region)
    expect(await daemon.kill('SIGTERM')).toBe(0)

    const judged = await judge(region)
    say('network', region, judged)
    expectStorm(region, judged)
    expect([...clients.statuses.keys()].sort()).toEqual([200, 201])
    expectFlat(memory)
  },
  TEST_MS_MAX,
)

async function watchMemory(daemon: DaemonProcess, samples: number[], stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    const used = memoryOf(daemon, 'VmRSS')
    if (used === null) return
    samples.push(used)
    await untilRandomInstant(() => 1, 200)
  }
}

/** The last third beside the third before it: the first third is a process that is getting warm. */
function expectFlat(samples: readonly number[]): void {
  const third = Math.floor(samples.length / 3)
  if (third < 5) return
  const median = (part: readonly number[]) => [...part].sort((a, b) => a - b)[Math.floor(part.length / 2)]!
  const [middle, last] = [median(samples.slice(third, 2 * third)), median(samples.slice(2 * third))]
  console.log(`network: memory ${Math.round(samples[0]!)}, ${Math.round(middle)}, ${Math.round(last)} MiB`)
  expect(last - middle).toBeLessThan(MEMORY_GROWTH_MIB_MAX)
}

type Harm = 'SIGKILL' | 'SIGTERM' | 'SIGSTOP'

const HARM_COUNT_MIN = 4
const LIFE_MS_MAX = 1_000
const HALT_MS_MAX = 500

test(
  'behind such a network, killed, halted and stopped at random instants, it loses nothing either',
  async () => {
    const random = seededRandom(SEED + 100)
    const region = await aRegion(random)
    const stop = aWhile()
    const isOver = storm(region, stop)
    const harms: Harm[] = []
    /** Events whose attempts may have been under way when the process was killed. */
    const underWay: string[] = []
    // A machine that starts slowly still has to start a few times.
    while (!stop.aborted || harms.length < HARM_COUNT_MIN) {
      const daemon = await spawnDaemon(region.env)
      onTestFinished(() => void daemon.child.kill('SIGKILL'))
      const loading = region.clients.repeatUnanswered(daemon).then(() => region.clients.load(daemon, stop))
      harms.push(await harm(daemon, random))
      await loading
      underWay.push(...remainsAt(region.stage.path).pendingEventIds)
    }
    await isOver
    const daemon = await startDaemonProcess(region.env)
    await region.clients.repeatUnanswered(daemon)
    await untilQuiet(region)
    expect(await daemon.kill('SIGTERM')).toBe(0)

    const underWayCounts = countEach(underWay)
    const judged = await judge(region, (eventId) => underWayCounts.get(eventId) ?? 0)
    const harmed = [...countEach(harms)].map(([kind, count]) => `${count} ${kind}`).join(', ')
    say(`network with ${harmed}`, region, judged)
    expect([...region.clients.statuses.keys()].filter((status) => status >= 500 && status !== 503)).toEqual([])
  },
  TEST_MS_MAX,
)

/** Ends the process in the end, whatever comes before that. */
async function harm(daemon: DaemonProcess, random: Random): Promise<Harm> {
  await untilRandomInstant(random, LIFE_MS_MAX)
  const kind = (['SIGKILL', 'SIGTERM', 'SIGSTOP'] as const)[Math.floor(random() * 3)]!
  if (kind === 'SIGTERM') {
    expect(await daemon.kill('SIGTERM')).toBe(0)
    return kind
  }
  if (kind === 'SIGSTOP') {
    daemon.child.kill('SIGSTOP')
    await untilRandomInstant(random, HALT_MS_MAX)
    daemon.child.kill('SIGCONT')
    await untilRandomInstant(random, LIFE_MS_MAX)
  }
  await daemon.kill('SIGKILL')
  return kind
}

test('proxies that the environment names are not asked, neither for queries nor for webhooks', async () => {
  let connectionCount = 0
  const proxy = createServer((socket) => {
    connectionCount += 1
    socket.destroy()
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => void proxy.close())
  const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy', 'npm_config_proxy']
  const { receiver, env } = await aStage()
  const daemon = await startDaemonProcess({
    ...env,
    ...Object.fromEntries(names.map((name) => [name, proxyUrl])),
    // From Node 24 on it makes Node's own clients ask them.
    NODE_USE_ENV_PROXY: '1',
  })
  const body = { taskId: 'ok', callbackUrl: `${receiver.url}/hooks` }
  expect((await daemon.request('/v1/tasks', { method: 'POST', body })).status).toBe(201)
  await receiver.next(({ isVerified }) => isVerified)
  expect(await daemon.kill('SIGTERM')).toBe(0)
  expect(connectionCount).toBe(0)
})
