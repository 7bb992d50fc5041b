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

/** Factor in the query that corrects f16 numbers, which the kernel decodes by shifting bits only. */
export const F16_FACTOR: number = 2 ** 112;

const UNIT = 2 ** -23;
const SMALLEST_NORMAL = 2 ** -126;

/**
 * A query scaled by a power of two, so that its largest number is between 0.5 and 1. The scaling is exact.
 */
export interface ScaledQuery {
  readonly values: Float32Array<ArrayBuffer>;
  /** Factor that turns a score of the scaled query into a score of the query. */
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
 * Upper bound of |f32 score - exact score| for a query of length `queryNorm` or less and a vector of length
 * `vectorNorm` or less.
 */
export function scoreError(
  dim: number,
  storage: VectorStorage,
  queryNorm: number,
  vectorNorm: number,
): number {
  const roundings = dim + (storage === 'int8' ? 8 : 2);
  const gamma = (roundings * UNIT) / (1 - roundings * UNIT);
  // Values below the smallest normal f32 may be flushed to zero: up to four values per term, each multiplied
  // by at most one of the lengths.
  const flushed = 4 * dim * SMALLEST_NORMAL * (1 + queryNorm + vectorNorm);
  return gamma * queryNorm * vectorNorm + flushed;
}
