/** What the tasks of the demo go through, as lives that the sandbox reads from their ids. */

export interface Fate {
  readonly life: string
  readonly expectedType: 'task.succeeded' | 'task.failed'
  /** Where the webhook goes; what leads to `/flaky` is refused at first. */
  readonly path: '/hooks' | '/flaky'
}

export interface FatedTask extends Fate {
  readonly taskId: string
}

function fate(life: string, expectedType: Fate['expectedType'], path: Fate['path'] = '/hooks'): Fate {
  return { life, expectedType, path }
}

const FATES: readonly Fate[] = [
  fate('ok-400ms', 'task.succeeded'),
  fate('ok', 'task.succeeded'),
  fate('partial-800ms', 'task.succeeded'),
  fate('code-1000', 'task.failed'),
  fate('ok-1500ms', 'task.succeeded'),
  fate('fail-600ms', 'task.failed'),
  fate('http-500x1-ok-300ms', 'task.succeeded'),
  fate('ok-200ms', 'task.succeeded', '/flaky'),
  fate('garbagex1-ok-500ms', 'task.succeeded'),
  fate('ok-2500ms', 'task.succeeded'),
  fate('resetx1-ok', 'task.succeeded'),
]

/**
 * Only once, and only where there is room for it: being throttled slows down every task of the credential, as it should,
 * and would make a demo of many tasks a demo of waiting.
 */
const THROTTLED = fate('gateway-ApiCallLimitx1-1s-ok', 'task.succeeded')
const THROTTLED_INDEX = 11

export function fatedTasks(count: number): readonly FatedTask[] {
  return Array.from({ length: count }, (_, index) => {
    const next = index === THROTTLED_INDEX ? THROTTLED : (FATES[index % FATES.length] ?? THROTTLED)
    return { ...next, taskId: `${next.life}-demo-${String(index + 1).padStart(3, '0')}` }
  })
}
