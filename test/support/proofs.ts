/** Documents name the tests that hold what they say, as `[name](path/to/file)`; whether these tests are there. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

export interface Proof {
  readonly name: string
  /** From the root of the project. */
  readonly file: string
}

export function proofsOf(text: string): readonly Proof[] {
  const links = text.matchAll(/\[([^\]]+)\]\((?:\.\.\/)?(test\/[^)]+)\)/g)
  return [...links].map(([, name = '', file = '']) => ({ name, file }))
}

/** To its closing quotation mark: words in a comment are no test. */
export function isTestIn({ name, file }: Proof): boolean {
  const path = join(ROOT, file)
  if (!existsSync(path)) return false
  const source = readFileSync(path, 'utf8')
  return ["'", '`'].some((mark) => source.includes(`${name}${mark}`))
}
