/** Provides the start vectors of the block power iteration with which a PCA is computed. */
import { fmix32 } from './hash.js';

/**
 * Number of vectors in the iteration. A PCA needs only three. With eight vectors, each step multiplies the
 * error of the third vector by the ratio of the ninth eigenvalue to the third, which is smaller.
 */
export const BLOCK = 8;

/**
 * Returns (8, embedDim) pseudo-random numbers between -1 and 1, the same on every machine. Each number is
 * made from its index by MurmurHash3's finaliser.
 */
export function startVectors(embedDim: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: BLOCK * embedDim },
    (_, i) => (fmix32(Math.imul(i + 1, 0x9e3779b9)) >>> 8) * 2 ** -23 - 1,
  );
}
