/**
 * Durations whose distribution is known, and what asking about them costs: the exact J of any plan, the plan that knows the
 * distribution, and the best fixed interval. Nothing here comes from src/: it is the measure of it.
 */

/** Numbers in [0, 1), the same on every run (mulberry32). */
export function createChance(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The complementary error function to 1.2e-7 (Numerical Recipes, erfcc). */
function erfc(x) {
  const t = 1 / (1 + 0.5 * Math.abs(x))
  const terms = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ]
  const polynomial = terms.reduceRight((sum, term) => sum * t + term, 0)
  const tail = t * Math.exp(-x * x + polynomial)
  return x >= 0 ? tail : 2 - tail
}

export function logNormal(medianMs, sigma) {
  return {
    survival: (ageMs) => (ageMs <= 0 ? 1 : erfc(Math.log(ageMs / medianMs) / sigma / Math.SQRT2) / 2),
    draw(chance) {
      const normal = Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance())
      return medianMs * Math.exp(sigma * normal)
    },
  }
}

export function exponential(meanMs) {
  return {
    survival: (ageMs) => (ageMs <= 0 ? 1 : Math.exp(-ageMs / meanMs)),
    draw: (chance) => -meanMs * Math.log(1 - chance()),
  }
}

export function mixed(share, first, second) {
  return {
    survival: (ageMs) => share * first.survival(ageMs) + (1 - share) * second.survival(ageMs),
    draw: (chance) => (chance() < share ? first.draw(chance) : second.draw(chance)),
  }
}

/** The six kinds; `before` is how long tasks take until the jump, `durations` from then on. */
export function kindsOfDuration(medianMs) {
  const same = (durations) => ({ before: durations, durations })
  return {
    'log-normal σ 0.2': same(logNormal(medianMs, 0.2)),
    'log-normal σ 0.3': same(logNormal(medianMs, 0.3)),
    'log-normal σ 0.5': same(logNormal(medianMs, 0.5)),
    bimodal: same(mixed(0.6, logNormal(medianMs, 0.2), logNormal(4 * medianMs, 0.25))),
    exponential: same(exponential(medianMs)),
    'jump to twice as long': { before: logNormal(medianMs, 0.3), durations: logNormal(2 * medianMs, 0.3) },
  }
}

/** J = cost · queries + lag, exactly, of a plan that asks at these ages and ever more slowly after the last. */
export function costOf(ages, { survival }, costMs) {
  let cost = 0
  let from = 0
  let running = 1
  const ask = (at) => {
    const stillRunning = survival(at)
    cost += costMs * running + (at - from) * running - integral(survival, from, at)
    from = at
    running = stillRunning
  }
  for (const at of ages) {
    if (running < 1e-9) return cost
    ask(at)
  }
  for (let wait = Math.max(1, from - (ages.at(-2) ?? 0)); running > 1e-7; wait *= 1.05) ask(from + wait)
  return cost
}

function integral(survival, from, to) {
  const steps = 32
  let sum = 0
  for (let step = 0; step < steps; step += 1) sum += survival(from + ((to - from) * (step + 0.5)) / steps)
  return (sum * (to - from)) / steps
}

const ORACLE_POINTS = 1_200

/** The ages at which whoever knows the distribution asks: the dynamic programme on a fine grid. */
export function oracleAges({ survival }, costMs) {
  let longest = 1_000
  while (survival(longest) > 1e-6) longest *= 1.05
  let shortest = longest
  while (shortest > 10 && survival(shortest) < 1 - 1e-5) shortest /= 1.05
  const ages = [0]
  for (let point = 0; point <= ORACLE_POINTS; point += 1)
    ages.push(shortest * (longest / shortest) ** (point / ORACLE_POINTS))
  const running = ages.map(survival)
  const area = [0]
  for (let index = 1; index < ages.length; index += 1)
    area.push(area[index - 1] + integral(survival, ages[index - 1], ages[index]))
  const last = ages.length - 1
  const value = new Float64Array(ages.length)
  const next = new Int32Array(ages.length)
  value[last] = 3 * costMs * running[last]
  for (let index = last - 1; index >= 0; index -= 1) {
    let best = Number.POSITIVE_INFINITY
    for (let candidate = index + 1; candidate <= last; candidate += 1) {
      const lag = (ages[candidate] - ages[index]) * running[index] - (area[candidate] - area[index])
      if (lag > best) break
      if (lag + value[candidate] >= best) continue
      best = lag + value[candidate]
      next[index] = candidate
    }
    value[index] = best + costMs * running[index]
  }
  const plan = []
  for (let index = next[0]; index < last; index = next[index]) plan.push(ages[index])
  return [...plan, ages[last]]
}

/** The fixed interval that would have been best, known in hindsight. */
export function bestFixedMs(durations, costMs, medianMs) {
  let best = { intervalMs: 0, cost: Number.POSITIVE_INFINITY }
  for (let intervalMs = 100; intervalMs < 5 * medianMs; intervalMs *= 1.03) {
    const cost = costOf(fixedAges(intervalMs, 40 * medianMs), durations, costMs)
    if (cost < best.cost) best = { intervalMs, cost }
  }
  return best.intervalMs
}

export function fixedAges(intervalMs, untilMs) {
  return Array.from({ length: Math.ceil(untilMs / intervalMs) }, (_, index) => (index + 1) * intervalMs)
}
