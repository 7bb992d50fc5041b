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
  return Float32Array.from({ length: BLOCK * embedDim }, (_, i) => {
    let h = Math.imul(i + 1, 0x9e3779b9);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 8) * 2 ** -23 - 1;
  });
}
