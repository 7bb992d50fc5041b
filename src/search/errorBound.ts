/**
 * `scoreError`: bounds the rounding error of a score that a GPU computes in f32.
 *
 * WGSL allows the result of an addition or a product to be either of the two f32 values around the exact
 * result, which is a relative error of at most u = 2^-23. A compiler may also reorder sums, fuse operations
 * and flush subnormal numbers to zero. For any order of summation, |computed - exact| ≤ γ(n) · Σ |query_i ·
 * vector_i| with γ(n) = n·u / (1 - n·u), where n is the largest number of roundings that one product goes
 * through (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). By the Cauchy-Schwarz inequality,
 * the sum on the right is at most the length of the query times the length of the vector.
 *
 * Decoding adds no error for f32 and f16: a stored f16 number is never subnormal. The kernel decodes f16 by
 * shifting bits, which leaves the number too small by the factor 2^112; the query is multiplied by this
 * factor. For int8, the product of number and scale is rounded on the GPU and on the CPU.
 */
import type { VectorStorage } from './journal.js';

/**
 * Factor by which a query is multiplied if the vectors are f16. It corrects for the kernel's decoding of f16,
 * which leaves each number too small by this factor.
 */
export const F16_FACTOR: number = 2 ** 112;

const UNIT = 2 ** -23;
const SMALLEST_NORMAL = 2 ** -126;

/**
 * A query vector multiplied by a power of two, so that its largest absolute component is between 0.5 and 1.
 * The multiplication is exact.
 */
export interface ScaledQuery {
  readonly values: Float32Array<ArrayBuffer>;
  /** Factor that converts a score of the scaled query to a score of the original query. */
  readonly scale: number;
  /** Length of the scaled query. */
  readonly norm: number;
}

export function scaledQuery(vector: Float32Array<ArrayBuffer>): ScaledQuery {
  let largest = 0;
  for (let i = 0; i < vector.length; i++) largest = Math.max(largest, Math.abs(vector[i]!));
  const scale = largest === 0 ? 1 : 2 ** (Math.floor(Math.log2(largest)) + 1);
  const values = vector.map((value) => value / scale);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += values[i]! ** 2;
  return { values, scale, norm: Math.sqrt(squares) };
}

/**
 * Returns an upper bound of |f32 score - exact score|, valid for every query of length `queryNorm` or less
 * and every vector of length `vectorNorm` or less.
 */
export function scoreError(
  dim: number,
  storage: VectorStorage,
  queryNorm: number,
  vectorNorm: number,
): number {
  const roundings = dim + (storage === 'int8' ? 8 : 2);
  const gamma = (roundings * UNIT) / (1 - roundings * UNIT);
  // The GPU may flush values below the smallest normal f32 to zero. In each term of the sum, this can happen
  // to four values, each of which is multiplied by at most one of the two lengths.
  const flushed = 4 * dim * SMALLEST_NORMAL * (1 + queryNorm + vectorNorm);
  return gamma * queryNorm * vectorNorm + flushed;
}
