/** Answers that depend on a text alone, kept for the next time that it is asked about. */

/** At most `countMax` answers are kept: when one more comes they are all forgotten, which costs less than to find the oldest. */
export function remembered<Answer>(countMax: number, answer: (text: string) => Answer): (text: string) => Answer {
  const answers = new Map<string, Answer>()
  return (text) => {
    const known = answers.get(text)
    if (known !== undefined) return known
    const found = answer(text)
    if (answers.size >= countMax) answers.clear()
    answers.set(text, found)
    return found
  }
}
