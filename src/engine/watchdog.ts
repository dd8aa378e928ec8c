/**
 * The watchdog: notices a loop that has fallen silent, because nobody else would. The process would stay alive and idle
 * for ever; ended, it is started again by its supervisor and has lost nothing.
 *
 * Silence is counted in looks and not in time: a process that was halted (a closed laptop, SIGSTOP, a virtual machine that
 * moves) finds hours gone and no loop at fault. Only when the program itself was computing all that time did something
 * hold up the event loop.
 */

import { after, type EpochMs, SECOND } from '../core/time.ts'
import type { Clock, Log } from '../ports.ts'

export interface Watchdog {
  /** Reports the ends of the ticks of one loop, which is expected to tick from now on. */
  watch(loop: string): () => void
  start(): void
  stop(): void
  /** The clock is another one: what it showed before is not compared with what it shows now. */
  clockMoved(byMs: number): void
  /** The loops that have been silent for half of what they may. */
  silentLoops(): readonly string[]
}

export interface WatchdogDeps {
  readonly clock: Pick<Clock, 'now' | 'wakeAt'>
  readonly log: Log
  /** How long the program has been computing in its life. */
  readonly cpuMs: () => number
  /** Ticks may wait now for something outside that will pass: they are not counted. */
  readonly isExcused: () => boolean
  /** The process should end. Called once. */
  readonly onStalled: (what: string) => void
}

export interface WatchdogOptions {
  /** How long a loop may be silent: three times its longest period, or more. */
  readonly silentMsMax: number
}

const LOOKS_MAX = 6
const LOOKS_SUSPECT = LOOKS_MAX / 2
/** Of the time for which the watchdog could not look. */
const COMPUTING_SHARE = 0.5

export function createWatchdog(deps: WatchdogDeps, { silentMsMax }: WatchdogOptions): Watchdog {
  const { clock, log, cpuMs, isExcused, onStalled } = deps
  const lookEveryMs = silentMsMax / LOOKS_MAX
  /** Looks since the last tick. */
  const missed = new Map<string, number>()
  let lookAt: EpochMs = clock.now()
  let cpuMsBefore = 0
  let callOff = () => {}

  function look(): void {
    const lateMs = clock.now() - lookAt
    const computedMs = cpuMs() - cpuMsBefore
    if (lateMs >= silentMsMax) return lookAfterGap(lateMs, computedMs)
    if (!isExcused()) for (const [loop, count] of missed) missed.set(loop, count + 1)
    const silent = [...missed].filter(([, count]) => count > LOOKS_MAX).map(([loop]) => loop)
    if (silent.length > 0) return stall(`the ${silent.join(' and the ')} has not ticked for ${inSeconds(silentMsMax)}`)
    lookLater()
  }

  function lookAfterGap(lateMs: number, computedMs: number): void {
    if (computedMs >= lateMs * COMPUTING_SHARE) return stall(`the event loop was held up for ${inSeconds(lateMs)}`)
    log.warn({ event: 'watchdog.halted', mark: 'sleep_resume', lateMs }, `halted for ${inSeconds(lateMs)}; going on`)
    lookLater()
  }

  function stall(what: string): void {
    log.error({ event: 'watchdog.stalled', silentLoops: [...missed.keys()].filter(isSilent) }, `${what}: ending`)
    onStalled(what)
  }

  function lookLater(): void {
    lookAt = after(clock.now(), lookEveryMs)
    cpuMsBefore = cpuMs()
    callOff = clock.wakeAt(lookAt, look)
  }

  function isSilent(loop: string): boolean {
    return (missed.get(loop) ?? 0) > LOOKS_SUSPECT
  }

  return {
    watch(loop) {
      missed.set(loop, 0)
      return () => void missed.set(loop, 0)
    },
    start: lookLater,
    stop: () => callOff(),
    clockMoved(byMs) {
      lookAt = after(lookAt, byMs)
    },
    silentLoops: () => [...missed.keys()].filter(isSilent),
  }
}

function inSeconds(ms: number): string {
  return `${Math.round(ms / SECOND)} s`
}
