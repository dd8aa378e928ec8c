/** Runs many histories and writes down what became of them; two files share the seeds between two processes. */

import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Report, seedText, simulate } from './simulate.ts'

/** What one process found, for the summary. */
export interface Findings {
  readonly passed: number
  readonly failed: readonly { readonly seed: string; readonly violations: readonly string[] }[]
  readonly marks: Readonly<Record<string, number>>
  readonly totals: Readonly<Record<string, number>>
}

const CORPUS = join(import.meta.dirname, 'seeds.txt')

/** Seeds that failed once: always tried first. */
export function corpus(): readonly number[] {
  const lines = readFileSync(CORPUS, 'utf8').split('\n')
  return lines
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map(Number)
}

declare module 'vitest' {
  interface TaskMeta {
    /** What went wrong first, and where: who caught a mutant. */
    caught?: string
  }
}

export function hunt(shard: number, shardCount: number): void {
  const { SEED, SIM_SEEDS = '300', SIM_FROM = '1', SIM_MS_MAX = '0', SIM_OUT, MUTANT } = process.env
  const wanted = Array.from({ length: Number(SIM_SEEDS) }, (_, index) => Number(SIM_FROM) + index)
  const known = corpus()
  const all = SEED === undefined ? [...new Set([...known, ...wanted])] : [Number(SEED)]
  const seeds = all.filter((_, index) => index % shardCount === shard)

  test(
    `${seeds.length} histories are as they must be`,
    async ({ task }) => {
      const failed: { seed: string; violations: readonly string[] }[] = []
      const marks: Record<string, number> = {}
      const totals: Record<string, number> = {}
      for (const seed of seeds) {
        const report = await simulate(seed)
        for (const [name, count] of report.marks) marks[name] = (marks[name] ?? 0) + count
        for (const [name, count] of Object.entries(report.stats)) totals[name] = (totals[name] ?? 0) + count
        if (SEED !== undefined) process.stdout.write(`${report.history}\n`)
        if (report.violations.length === 0) continue
        failed.push({ seed: seedText(seed), violations: report.violations.slice(0, 5) })
        task.meta.caught ??= `${report.violations[0]?.split(':')[0]} at seed ${seedText(seed)}`
        if (MUTANT !== undefined) break
        if (!known.includes(seed)) remember(report)
      }
      const findings: Findings = { passed: seeds.length - failed.length, failed, marks, totals }
      if (SIM_OUT !== undefined) writeFileSync(join(SIM_OUT, `shard-${shard}.json`), JSON.stringify(findings))
      expect(failed.map(({ seed, violations }) => `SEED=${seed} npm run test:sim — ${violations[0]}`)).toEqual([])
    },
    Number(SIM_MS_MAX),
  )
}

function remember({ seed, violations }: Report): void {
  const name = violations[0]?.split(':')[0] ?? 'unknown'
  appendFileSync(CORPUS, `${seedText(seed)} # ${name}\n`)
}
