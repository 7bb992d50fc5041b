/** Cosine similarity of two vectors. */
import { OptionError } from '../errors.js';

/**
 * Returns the cosine of the angle between two vectors, -1 to 1. It is 0 if a vector is all zeros.
 * @throws OptionError OPTION_VALUE, if the vectors differ in length
 * @example
 * ```js
 * const [a, b] = await model.embed([fileA, fileB]);
 * cosineSimilarity(a, b); // 1 for equal images
 * ```
 */
export function cosineSimilarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length)
    throw new OptionError(
      'OPTION_VALUE',
      `cosineSimilarity: expected two vectors of equal length, found ${a.length} and ${b.length}. Compare vectors that the same model made.`,
    );
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot === 0 ? 0 : dot / Math.sqrt(aa * bb);
}
