/** Plans that are written by hand, for tests that want to know one thing. */

import { SECOND } from '../../src/core/time.ts'
import { OPTIONS } from '../support/world.ts'
import type { Plan } from './faults.ts'

/** Nothing goes wrong. */
export function aPlan(overrides: Partial<Plan> & Pick<Plan, 'safetyMs' | 'taskCount' | 'receivers'>): Plan {
  return {
    seed: 7,
    isLong: false,
    isBehindThread: true,
    operator: null,
    options: {
      ...OPTIONS,
      // What nobody wakes the loops for, the end of a lease above all, is found by looking.
      idleMs: 5 * SECOND,
      retryScheduleMs: [0, 5 * SECOND, 30 * SECOND],
      cadence: { intervalMinMs: SECOND, intervalMaxMs: 10 * SECOND, pollCostMs: SECOND / 2 },
    },
    crashes: { perPoint: 0, max: 0, powerLossShare: 0, target: '' },
    callFailures: 0,
    commitErrors: { perCommit: 0, kinds: [] },
    storeTroubles: [],
    clockJumps: [],
    stops: [],
    stopsUnderWay: { perCall: 0, max: 0 },
    restarts: [],
    weather: [],
    queryNoise: 0,
    postNoise: 0,
    meddling: 0,
    ...overrides,
  }
}
