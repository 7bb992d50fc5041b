/** Start vectors of block power iteration. */
import { fmix32 } from './hash.js';

/**
 * Vectors that are iterated: more than are wanted, because the error of the third shrinks by its eigenvalue
 * over the ninth a step.
 */
export const BLOCK = 8;

/**
 * (8, embedDim) numbers between -1 and 1 that look random and are the same everywhere (MurmurHash3's
 * finaliser of their index).
 */
export function startVectors(embedDim: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: BLOCK * embedDim },
    (_, i) => (fmix32(Math.imul(i + 1, 0x9e3779b9)) >>> 8) * 2 ** -23 - 1,
  );
}
