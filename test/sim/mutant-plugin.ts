/** Plants one mutant into the sources as the tests load them. What is built and shipped has no switch for it. */

import type { Mutant } from './mutants.ts'

interface SourcePlugin {
  readonly name: string
  readonly enforce: 'pre'
  transform(code: string, id: string): string | null
}

export function mutantPlugin({ name, changes }: Mutant): SourcePlugin {
  return {
    name: `ringback-mutant-${name}`,
    enforce: 'pre',
    transform(code, id) {
      const path = id.split('?')[0] ?? id
      const here = changes.filter(({ file }) => path.endsWith(`/src/${file}`))
      if (here.length === 0) return null
      return here.reduce((text, { find, replace }) => plant(text, find, replace, `${name} in ${path}`), code)
    },
  }
}

/** A mutant that is not where it should be tests nothing: the source has changed, and so must the mutant. */
export function plant(text: string, find: string, replace: string, where: string): string {
  const parts = text.split(find)
  if (parts.length === 1)
    throw new Error(`the mutant ${where} does not apply any more: nothing reads ${JSON.stringify(find)}`)
  return parts.join(replace)
}
