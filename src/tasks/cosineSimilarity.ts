/** How alike two vectors are. */
import { OptionError } from '../errors.js';

/** Cosine of the angle between two vectors of one length, -1 to 1. */
export function cosineSimilarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length)
    throw new OptionError(
      'OPTION_VALUE',
      `cosineSimilarity: expected two vectors of one length, found ${a.length} and ${b.length}. They come from different models.`,
    );
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  return dot === 0 ? 0 : dot / Math.sqrt(aa * bb);
}
