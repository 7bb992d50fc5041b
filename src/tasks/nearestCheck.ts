/** Checks of nearest patches, because the kernels that find them have no self-test. */
import { Slices } from '../platform/pause.js';

/** Patches of each image that are compared with float64. */
const SAMPLES = 8;
/** Longest time in ms that the check computes without a pause. */
const SLICE_MS = 3;

/**
 * Upper bound of |f32 cosine - exact cosine|. The product of two directions has `embedDim` roundings of at most
 * 2^-23 each, relative to the product of their lengths, which is 1 (see `search/errorBound.ts`). The rest of the
 * factor allows for the lengths, which have fewer roundings, and for WGSL's less accurate divisions and roots.
 */
const cosineError = (embedDim: number): number => 2 * (embedDim + 16) * 2 ** -23;

/** The most similar patch of the other image, for each patch of an image: the result to check. */
interface Matches {
  /** Index of the most similar patch. */
  readonly patches: Uint32Array;
  /** Cosine similarity with that patch. */
  readonly scores: Float32Array;
}

/**
 * Checks every match against the matches of the other image. Both are maxima of one matrix of scores, so the
 * best score of a patch is at most the best score of its match, exactly.
 *
 * @returns a description of the first fault; undefined if there is none
 */
export function consistencyFault(ofA: Matches, ofB: Matches, embedDim: number): string | undefined {
  const highest = 1 + cosineError(embedDim);
  for (const [name, { patches, scores }, other] of [
    ['a', ofA, ofB],
    ['b', ofB, ofA],
  ] as const)
    for (let patch = 0; patch < patches.length; patch++) {
      const score = scores[patch]!;
      const match = patches[patch]!;
      if (!(Math.abs(score) <= highest))
        return `expected a cosine from -1 to 1 for patch ${patch} of ${name}, found ${score}`;
      if (!(other.scores[match]! >= score))
        // also true if the other image has no such patch
        return `expected at least ${score}, the score of patch ${patch} of ${name}, as the best score of its match ${match}, found ${other.scores[match]}`;
    }
  return undefined;
}

/**
 * Computes some matches of both images again in float64.
 *
 * @param tokensA the patch tokens of a: (patches, embedDim)
 * @param tokensB the patch tokens of b: (patches, embedDim)
 * @returns a description of the first fault; undefined if there is none
 * @throws the signal's reason
 */
export async function sampleFault(
  ofA: Matches,
  ofB: Matches,
  tokensA: Float32Array,
  tokensB: Float32Array,
  embedDim: number,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const error = cosineError(embedDim);
  const slices = new Slices(SLICE_MS, signal);
  const [lengthsA, lengthsB] = [lengthsOf(tokensA, embedDim), lengthsOf(tokensB, embedDim)];
  for (const [name, matches, own, ownLengths, other, otherLengths] of [
    ['a', ofA, tokensA, lengthsA, tokensB, lengthsB],
    ['b', ofB, tokensB, lengthsB, tokensA, lengthsA],
  ] as const) {
    const { patches, scores } = matches;
    const count = Math.min(SAMPLES, patches.length);
    for (let sample = 0; sample < count; sample++) {
      await slices.rest();
      const patch = Math.floor(((sample + 0.5) * patches.length) / count);
      const cosineWith = (match: number): number => {
        let sum = 0;
        for (let i = 0; i < embedDim; i++) sum += own[patch * embedDim + i]! * other[match * embedDim + i]!;
        return sum / (ownLengths[patch]! * otherLengths[match]! || 1);
      };
      let best = -Infinity;
      for (let match = 0; match < otherLengths.length; match++) best = Math.max(best, cosineWith(match));
      const score = scores[patch]!;
      const exact = cosineWith(patches[patch]!);
      if (!(Math.abs(score - exact) <= error) || !(best - exact <= 2 * error))
        return `expected a match with the cosine ${best} ± ${error.toExponential(0)} for patch ${patch} of ${name}, found patch ${patches[patch]} with ${score}, and ${exact} in float64`;
    }
  }
  return undefined;
}

/** Returns the length of each token. */
function lengthsOf(tokens: Float32Array, embedDim: number): Float64Array {
  return Float64Array.from({ length: tokens.length / embedDim }, (_, token) => {
    let sum = 0;
    for (let i = token * embedDim; i < (token + 1) * embedDim; i++) sum += tokens[i]! ** 2;
    return Math.sqrt(sum);
  });
}
