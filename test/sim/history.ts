/** The history of one seed in lines that a person can read: what happened, when, to whom. */

export interface History {
  note(line: string): void
  text(): string
}

function clockText(ms: number): string {
  const pad = (value: number, width: number) => String(value).padStart(width, '0')
  const seconds = Math.floor(ms / 1000)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map((part) => pad(part, 2))
  return `${parts.join(':')}.${pad(ms % 1000, 3)}`
}

export function createHistory(now: () => number): History {
  const lines: string[] = []
  return {
    note: (line) => void lines.push(`${clockText(now())}  ${line}`),
    text: () => lines.join('\n'),
  }
}
