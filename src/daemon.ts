/**
 * The composition root: makes the concrete parts, starts them in order and stops them in reverse.
 *
 * Start: store → outgoing connections → scheduler, dispatcher, janitor → HTTP. Stop: HTTP (nothing new comes in), then no
 * more claims, then what is under way ends or is given back within the grace, then connections and store.
 */

import { randomBytes } from 'node:crypto'
import { MessageChannel, Worker } from 'node:worker_threads'
import type { Config } from './config.ts'
import { assert, ConfigError, type DamagedError } from './core/errors.ts'
import { parseSecretKey } from './core/secret-key.ts'
import { ED25519_SEED_BYTES, formatPrivateKey, formatSecret, parseSecret, type SigningKey } from './core/signature.ts'
import { after, SECOND } from './core/time.ts'
import { createEngine, type Engine, type EngineOptions } from './engine/engine.ts'
import { type Chore, startPace } from './engine/pace.ts'
import { createApp } from './http/app.ts'
import { type RunningServer, startServer } from './http/server.ts'
import type { GuardUrl, Log, Post, Upstream } from './ports.ts'
import { keepSecret } from './secret-file.ts'
import { databasePathOf } from './setting.ts'
import { DISK_SETTINGS } from './store/sqlite/disk.ts'
import type { Store } from './store/store.ts'
import { type NearWorld, openStoreBehind } from './store/thread/near.ts'
import type { StoreThreadData } from './store-thread.ts'
import { skipOptimizingWebAssembly, systemClock, systemCpuMs, systemNewId } from './system.ts'
import { createAidgeUpstream } from './upstream/aidge/client.ts'
import { AIDGE_KINDS, type AidgeKind, parseKinds } from './upstream/aidge/kinds.ts'
import { createVault } from './vault.ts'
import { type AllowList, createAddressGuard, parseAllowList } from './webhook/address-guard.ts'
import { createPost } from './webhook/post.ts'

export interface Daemon {
  /** Where the API listens. */
  readonly url: string
  readonly apiToken: string
  /** Null when the token came from the settings. */
  readonly tokenPath: string | null
  readonly signingSecret: string
  /** Null when the secret came from the settings. */
  readonly signingSecretPath: string | null
  stop(): Promise<void>
  /** Resolves when the daemon has stopped, by `stop` or because it cannot go on. */
  readonly stopped: Promise<{ exitCode: number }>
}

/** Sources that are not built cannot be loaded by a thread: there, in tests, the store is in the daemon's own. */
const HAS_STORE_THREAD = import.meta.url.endsWith('.js')

/** The vendor's own limit for an answer; a longer wait would only hold a slot. */
const QUERY_TIMEOUT_MS = 30 * SECOND
/**
 * A lease outlives the longest request by this, or two daemons could have one item in hand. A query may be asked twice
 * (clock skew), and the record has to be written before the lease ends.
 */
const LEASE_MARGIN_MS = 30 * SECOND
const POLL_LEASE_MS = 2 * QUERY_TIMEOUT_MS + LEASE_MARGIN_MS

/** A loop sleeps a second at most, and waits a few more for a store that is busy. */
const WATCH = { cpuMs: systemCpuMs, silentMsMax: 30 * SECOND }
/** As for any fault of our own: the supervisor starts us again. */
const STALLED_EXIT_CODE = 70

/** @throws ConfigError (also for a port that is taken), LockedError, DamagedError */
export async function startDaemon(config: Config, { log, version }: { log: Log; version: string }): Promise<Daemon> {
  const { promise: stopped, resolve: resolveStopped } = withResolvers<{ exitCode: number }>()
  const onDamaged = (error: DamagedError) => {
    log.error({ event: 'store.damaged', error }, error.message)
    resolveStopped({ exitCode: error.exitCode })
  }
  const problems = adapterProblems(config)
  if (problems.length > 0) throw new ConfigError(problems)
  const path = databasePathOf(config.databaseUrl)
  const onStalled = () => resolveStopped({ exitCode: STALLED_EXIT_CODE })
  const vaultKey = parseSecretKey(config.secretKey)
  const store = await openStore({ path, vaultKey }, { log, onDamaged })
  const undo: (() => Promise<unknown>)[] = [() => store.close()]
  try {
    const secrets = keepSecrets(config, path)
    const origins: string[] = []
    const outgoing = openOutgoing(config, { log, version }, () => origins)
    undo.push(outgoing.close)
    const world = { clock: systemClock, newId: systemNewId, random: Math.random, log }
    const engine = createEngine(
      { ...world, ...outgoing, store, signingKeys: [secrets.signingKey], watch: { ...WATCH, onStalled } },
      engineOptions(config),
    )
    keepOperatorEndpoint(config, store, outgoing.guardUrl, log)
    skipOptimizingWebAssembly()
    engine.start()
    // What still waits for the store then, because its disk is full or its lock is taken, is refused when it closes.
    undo.push(() => atMost(config.shutdownGraceMs + SECOND, engine.stop(config.shutdownGraceMs)))
    const pace = startPace(choresOf(engine), log)
    undo.push(pace.stop)
    const stoppingNow = new AbortController()
    const tokens = { token: secrets.apiToken, readToken: config.apiReadToken || null }
    const api = { store, clock: systemClock, log, version, ...tokens, stopping: stoppingNow.signal }
    const secretMaking = { newSecret: makeSigningSecret, newPrivateKey: makePrivateKey, guardUrl: outgoing.guardUrl }
    const app = createApp({ ...api, ...secretMaking, ...engine })
    const server = await startServer(app, { host: config.host, port: config.port, log })
    undo.push(() => closeServer(server, config.shutdownGraceMs))
    const url = urlOf(server)
    origins.push(url)
    log.info({ event: 'daemon.started', url, version, databaseId: store.databaseId }, `listening on ${url}`)

    let stopping: Promise<void> | null = null
    async function stopInReverse(): Promise<void> {
      engine.health.stopping()
      stoppingNow.abort()
      await undoAll(undo, log)
      log.info({ event: 'daemon.stopped' }, 'stopped; what was under way has ended or was given back')
      resolveStopped({ exitCode: 0 })
    }
    const stop = () => {
      stopping ??= stopInReverse()
      return stopping
    }
    const { apiToken, tokenPath, signingSecret, signingSecretPath } = secrets
    return { url, apiToken, tokenPath, signingSecret, signingSecretPath, stop, stopped }
  } catch (error) {
    await undoAll(undo, log)
    throw error
  }
}

/** The latest first: what was started last stands on what was started before. One that fails does not stop the others. */
async function undoAll(undo: (() => Promise<unknown>)[], log: Log): Promise<void> {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) {
    try {
      await step()
    } catch (error) {
      log.error({ event: 'daemon.stop_failed', error }, 'a part of the daemon could not be stopped in order')
    }
  }
}

interface Secrets extends Pick<Daemon, 'apiToken' | 'tokenPath' | 'signingSecret' | 'signingSecretPath'> {
  readonly signingKey: SigningKey
}

function keepSecrets(config: Config, databasePath: string): Secrets {
  const tokenPath = config.apiToken ? null : `${databasePath}.token`
  const signingSecretPath = config.signingSecret ? null : `${databasePath}.signing-secret`
  const apiToken = tokenPath === null ? config.apiToken : keepSecret(tokenPath, makeToken)
  const signingSecret =
    signingSecretPath === null ? config.signingSecret : keepSecret(signingSecretPath, makeSigningSecret)
  const signingKey = parseSecret(signingSecret)
  if (signingKey === null)
    throw new ConfigError([
      `${signingSecretPath} does not hold a whsec_ secret: restore it, or delete it and a new one is made`,
    ])
  return { apiToken, tokenPath, signingSecret, signingSecretPath, signingKey }
}

/** The prefix lets secret scanners find a token that was committed by mistake. */
const makeToken = () => `rb_${randomBytes(24).toString('base64url')}`
const makeSigningSecret = () => formatSecret(randomBytes(32))
const makePrivateKey = () => formatPrivateKey(randomBytes(ED25519_SEED_BYTES))

interface Outgoing {
  readonly guardUrl: GuardUrl
  readonly post: Post
  readonly upstream: Upstream
  close(): Promise<void>
}

/** Everything that opens connections to others. `ownOrigins`: calling back into ourselves would be a loop. */
function openOutgoing(
  config: Config,
  { log, version }: { log: Log; version: string },
  ownOrigins: () => readonly string[],
): Outgoing {
  const userAgent = `ringback/${version}`
  const guard = createAddressGuard({ allow: allowListOf(config), ownOrigins })
  const { post, close: closePost } = createPost({ guard, connectionsMax: config.deliveryConcurrency, userAgent })
  const upstream = createAidgeUpstream({
    clock: systemClock,
    log,
    credential: {
      name: 'aidge',
      baseUrl: config.aidgeBaseUrl,
      accessKeyName: config.aidgeAccessKeyName,
      accessKeySecret: config.aidgeAccessKeySecret,
      trial: config.aidgeTrial,
    },
    kinds: kindsOf(config),
    timeoutMs: QUERY_TIMEOUT_MS,
    connectionsMax: config.pollConcurrency,
    userAgent,
  })
  const close = async () => void (await Promise.all([closePost(), upstream.close()]))
  return { guardUrl: guard.judgeUrl, post, upstream, close }
}

/**
 * In a thread of its own neither SQLite nor a flush of the disk holds up what is on the wire. What only that thread needs,
 * SQLite and all that knows it, is not loaded in this one.
 */
async function openStore({ path, vaultKey }: Omit<StoreThreadData, 'port'>, near: NearWorld): Promise<Store> {
  if (!HAS_STORE_THREAD) {
    const { openSqliteStore } = await import('./store/sqlite/store.ts')
    const vault = vaultKey === null ? undefined : createVault(vaultKey)
    const world = { clock: systemClock, newId: systemNewId, disk: DISK_SETTINGS, vault }
    return openSqliteStore({ ...near, ...world, path })
  }
  const { port1, port2 } = new MessageChannel()
  const workerData: StoreThreadData = { port: port2, path, vaultKey }
  const thread = new Worker(new URL('./store-thread.js', import.meta.url), { workerData, transferList: [port2] })
  // What nobody caught there ends the process as what nobody caught here does.
  thread.once('error', (error) => {
    throw error
  })
  return openStoreBehind(port1, near)
}

/** What the parts behind the settings say of them: nothing has been opened or made yet. */
export function adapterProblems(config: Config): readonly string[] {
  const allow = parseAllowList(config.callbackAllow)
  const kinds = parseKinds(kindsJson(config))
  return [
    ...('problems' in allow ? allow.problems.map((problem) => `RINGBACK_CALLBACK_ALLOW: ${problem}`) : []),
    ...('problems' in kinds ? kinds.problems.map((problem) => `AIDGE_KINDS: ${problem}`) : []),
    ...('allow' in allow ? operatorUrlProblems(config, allow.allow) : []),
  ]
}

/** By its text alone, like every callback's; the URL itself may carry a secret. */
function operatorUrlProblems({ operatorUrl, host, port }: Config, allow: AllowList): readonly string[] {
  if (operatorUrl === '') return []
  const guard = createAddressGuard({ allow, ownOrigins: () => [urlOf({ host, port })] })
  const verdict = guard.judgeUrl(operatorUrl)
  return verdict.isAllowed ? [] : [`RINGBACK_OPERATOR_URL: ${verdict.message}`]
}

/** Its row is written before anything is told; a disk that is full now must not keep the daemon from starting. */
function keepOperatorEndpoint({ operatorUrl }: Config, store: Store, guardUrl: GuardUrl, log: Log): void {
  const verdict = operatorUrl === '' ? null : guardUrl(operatorUrl)
  const url = verdict?.isAllowed ? verdict.url : null
  store.keepOperatorEndpoint({ now: systemClock.now(), url }).catch((error: unknown) => {
    log.error({ event: 'operator.failed', error }, 'the endpoint of RINGBACK_OPERATOR_URL could not be kept')
  })
}

function allowListOf(config: Config): AllowList {
  const parsed = parseAllowList(config.callbackAllow)
  assert('allow' in parsed, 'the allow list was checked before anything was opened')
  return parsed.allow
}

/** The vendor's kinds and those that were added by configuration, which may replace one of the same name. */
function kindsOf(config: Config): readonly AidgeKind[] {
  const parsed = parseKinds(kindsJson(config))
  assert('kinds' in parsed, 'the kinds were checked before anything was opened')
  return [...new Map([...AIDGE_KINDS, ...parsed.kinds].map((kind) => [kind.name, kind])).values()]
}

const kindsJson = ({ aidgeKinds }: Config) => (aidgeKinds === '' ? '[]' : aidgeKinds)

function engineOptions(config: Config): EngineOptions {
  return {
    pollConcurrency: config.pollConcurrency,
    budget: { rate: config.pollRate },
    cadence: {
      intervalMinMs: config.pollIntervalMinMs,
      intervalMaxMs: config.pollIntervalMaxMs,
      pollCostMs: config.pollCostMs,
    },
    taskDeadlineMs: config.taskDeadlineMs,
    pollLeaseMs: POLL_LEASE_MS,
    deliveryConcurrency: config.deliveryConcurrency,
    endpointConcurrency: config.endpointConcurrency,
    deliveryDeadlineMs: config.deliveryTimeoutMs,
    deliveryLeaseMs: config.deliveryTimeoutMs + LEASE_MARGIN_MS,
    retryScheduleMs: config.retryScheduleMs,
    retentionMs: config.retentionMs,
    idleMs: SECOND,
    probeEveryMs: 5 * SECOND,
  }
}

/** Minutes and hours in UTC; whatever is due to the second is no chore. */
function choresOf({ janitor }: Engine): readonly Chore[] {
  return [
    { name: 'forget', expression: '17 * * * *', run: janitor.forgetOld },
    { name: 'checkpoint', expression: '* * * * *', run: janitor.checkpoint },
  ]
}

/** A request that waits for a task to end would hold up the stop for as long as it likes. */
async function closeServer(server: RunningServer, graceMs: number): Promise<void> {
  const callOff = systemClock.wakeAt(after(systemClock.now(), Math.min(graceMs, SECOND)), () => server.closeNow())
  await server.close()
  callOff()
}

function urlOf({ host, port }: Pick<RunningServer, 'host' | 'port'>): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Resolves when `work` has ended, or after `ms`. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const { promise: isOver, resolve } = withResolvers<void>()
  const endAt = after(systemClock.now(), ms)
  let callOff = () => {}
  // The clock wakes once a minute in any case.
  const look = () => {
    if (systemClock.now() >= endAt) resolve()
    else callOff = systemClock.wakeAt(endAt, look)
  }
  look()
  await Promise.race([work, isOver])
  callOff()
}

/** Promise.withResolvers came with Node 22. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
