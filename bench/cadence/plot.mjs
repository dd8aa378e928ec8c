/** A picture: when a task is asked about, over how likely it ends then. */

import { play, ringback } from './play.mjs'
import { createChance, fixedAges, kindsOfDuration, oracleAges } from './worlds.mjs'

const WIDTH = 820
const PANEL = { height: 150, left: 150, right: 20, top: 26, gap: 34 }
const COST_MS = 500
const MEDIAN_MS = 20_000
const SHOWN = { 'log-normal σ 0.3': 50_000, bimodal: 150_000, exponential: 80_000 }
const LANES = 4

export function plotOf(seed) {
  const panels = Object.entries(SHOWN).map(([name, untilMs], index) => panelOf({ name, untilMs, index, seed }))
  const height = panels.length * (PANEL.height + PANEL.gap) + PANEL.top
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    '<title>When Ringback asks, over how long tasks take</title>',
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n')
}

function panelOf({ name, untilMs, index, seed }) {
  const { durations } = kindsOfDuration(MEDIAN_MS)[name]
  const top = PANEL.top + index * (PANEL.height + PANEL.gap)
  const bottom = top + PANEL.height - LANES * 16
  const x = (ageMs) => (PANEL.left + ((WIDTH - PANEL.left - PANEL.right) * ageMs) / untilMs).toFixed(1)
  const lanes = Object.entries(asksOf(durations, seed, untilMs)).map(([who, ages], lane) => {
    const y = bottom + 12 + lane * 16
    const ticks = ages.map((age) => `<path d="M${x(age)} ${y - 5}v9" stroke="${COLOURS[lane]}" stroke-width="1.6"/>`)
    return `<text x="${PANEL.left - 8}" y="${y + 4}" text-anchor="end" fill="${COLOURS[lane]}">${who}</text>${ticks.join('')}`
  })
  const seconds = Array.from({ length: 6 }, (_, step) => (untilMs * step) / 5)
  const labels = seconds.map(
    (age) =>
      `<text x="${x(age)}" y="${top + PANEL.height + 14}" text-anchor="middle" fill="#555">${age / 1_000} s</text>`,
  )
  return [
    `<text x="${PANEL.left}" y="${top - 8}" font-weight="bold">${name}: a task asked about that runs on, a query worth ${COST_MS / 1_000} s</text>`,
    densityOf(durations, untilMs, x, top, bottom),
    ...lanes,
    ...labels,
  ].join('\n')
}

const COLOURS = ['#c0392b', '#27704f', '#555', '#999']

function asksOf(durations, seed, untilMs) {
  return {
    'ringback, learned': learnedAges(durations, seed, untilMs),
    'knows the distribution': oracleAges(durations, COST_MS).filter((age) => age <= untilMs),
    'fixed 5 s': fixedAges(5_000, untilMs),
    'back-off ×1.5 1→10 s': backOffAges(untilMs),
  }
}

function learnedAges(durations, seed, untilMs) {
  const draw = createChance(seed)
  const strategy = ringback(COST_MS, createChance(seed + 1))
  const durationsMs = Array.from({ length: 500 }, () => durations.draw(draw))
  let now = 0
  const onCompletion = (_count, at) => {
    now = at
  }
  play({ strategy, durationsMs, everyMs: MEDIAN_MS / 10, rate: null, chance: createChance(seed + 2), onCompletion })
  return strategy.ages(untilMs, now).filter((age) => age <= untilMs)
}

function backOffAges(untilMs) {
  const ages = []
  for (let age = 0, wait = 1_000; age + wait <= untilMs; wait = Math.min(10_000, wait * 1.5)) {
    age += wait
    ages.push(age)
  }
  return ages
}

function densityOf({ survival }, untilMs, x, top, bottom) {
  const steps = 240
  const step = untilMs / steps
  const densities = Array.from({ length: steps }, (_, index) => survival(index * step) - survival((index + 1) * step))
  const most = Math.max(...densities)
  const points = densities.map(
    (density, index) => `${x((index + 0.5) * step)},${(bottom - (density / most) * (bottom - top)).toFixed(1)}`,
  )
  return `<polygon points="${x(0)},${bottom} ${points.join(' ')} ${x(untilMs)},${bottom}" fill="#dce6f2" stroke="#7d9cc0"/>`
}
