/** Start vectors of block power iteration. */
import { fmix32 } from './hash.js';

/**
 * Number of iterated vectors: more than needed, because each step shrinks the error of the third by the ratio
 * of the ninth eigenvalue to the third.
 */
export const BLOCK = 8;

/**
 * (8, embedDim) pseudo-random numbers between -1 and 1, the same on every machine (MurmurHash3's finaliser of
 * their index).
 */
export function startVectors(embedDim: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: BLOCK * embedDim },
    (_, i) => (fmix32(Math.imul(i + 1, 0x9e3779b9)) >>> 8) * 2 ** -23 - 1,
  );
}
