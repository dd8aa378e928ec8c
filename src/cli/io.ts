/** What a command may touch of the process it runs in: data on stdout, everything else on stderr. */

export interface Output {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  readonly fd?: number | undefined
}

export type Signal = 'SIGINT' | 'SIGTERM'

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The folder that the `.env` file is looked for in. */
  readonly folder: string
  readonly stdin: AsyncIterable<string | Uint8Array>
  readonly stdout: Output
  readonly stderr: Output
  /** Returns how to stop listening. */
  onSignal(listen: (signal: Signal) => void): () => void
  /** Ends the process in the middle of whatever it does. */
  exitNow(code: number): void
}

/** Colours and lines that are written over are for eyes only. */
export function isForEyes(output: Output, env: Io['env']): boolean {
  return output.isTTY === true && env['TERM'] !== 'dumb'
}

export function hasColor(output: Output, env: Io['env']): boolean {
  return isForEyes(output, env) && (env['NO_COLOR'] ?? '') === ''
}
