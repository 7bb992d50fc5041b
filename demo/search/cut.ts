/** Where the list of search results ends. */

/** A list of fewer results than this is shown whole. */
const FEWEST = 6;

/**
 * Returns the number of results to show. The list ends at the largest drop: where the score falls most from
 * one result to the next. Only the better half of the results is considered, because the worst photographs of
 * a collection often have large gaps between them, and these say nothing about the photographs that are alike.
 * @param scores scores of all results, best first
 */
export function largestDrop(scores: readonly number[]): number {
  if (scores.length < FEWEST) return scores.length;
  let [count, largest] = [scores.length, 0];
  for (let i = 1; i <= Math.ceil(scores.length / 2); i++) {
    const drop = scores[i - 1]! - scores[i]!;
    if (drop > largest) [count, largest] = [i, drop];
  }
  return count;
}

/**
 * Returns the threshold that exactly the first `count` results reach. It has as few decimals as possible, at
 * least two.
 */
export function thresholdOf(scores: readonly number[], count: number): number {
  const [last, next] = [scores[count - 1] ?? 0, scores[count] ?? -Infinity];
  for (let digits = 2; digits <= 4; digits++) {
    const rounded = Math.floor(last * 10 ** digits) / 10 ** digits;
    if (rounded > next) return rounded;
  }
  return last;
}

/** Returns the number of results that reach the threshold. */
export const countFrom = (scores: readonly number[], threshold: number): number =>
  scores.filter((score) => score >= threshold).length;

/** Writes a score with two decimals, or with up to four if it has more. */
export function scoreText(score: number): string {
  const text = String(Number(score.toFixed(4)));
  return text.length < score.toFixed(2).length ? score.toFixed(2) : text;
}

/** Writes two scores with as many decimals as show that they differ, at least two. */
export function scoreTexts(a: number, b: number): readonly [a: string, b: string] {
  for (let digits = 2; digits < 4; digits++)
    if (a.toFixed(digits) !== b.toFixed(digits)) return [a.toFixed(digits), b.toFixed(digits)];
  return [a.toFixed(4), b.toFixed(4)];
}
