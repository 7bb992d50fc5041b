/**
 * How far a score that a GPU computes in f32 may be from the exact one.
 *
 * WGSL lets an addition or a product be either of the two f32 that enclose the exact value (so each is off by
 * 2^-23 of itself at most), and lets a compiler add in any order, fuse, and flush subnormal numbers to zero.
 * For any order, |computed - exact| ≤ γ(n) · Σ |query_i · vector_i| with γ(n) = n·u / (1 - n·u), u = 2^-23
 * and n the most roundings that one product goes through (Higham, Accuracy and Stability of Numerical
 * Algorithms, 3.1); the sum of magnitudes is no more than the product of the lengths. Decoding is exact for
 * f32 and f16 (no stored f16 is subnormal, and the shift of its exponent is undone by a factor 2^112 in the
 * query). int8 adds the rounding of number · scale, here and there.
 */
import type { VectorStorage } from './journal.js';

/** What makes up for the exponent that decoding f16 leaves as it is. */
export const F16_FACTOR: number = 2 ** 112;

const UNIT = 2 ** -23;
const SMALLEST_NORMAL = 2 ** -126;

/** A query scaled by a power of two, which is exact, so that its largest number is from 0.5 to 1. */
export interface ScaledQuery {
  readonly values: Float32Array<ArrayBuffer>;
  /** What scores are to be multiplied by. */
  readonly scale: number;
  /** Of the scaled query. */
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
 * The bound on |f32 score - exact score| for queries of at most this length and vectors of at most that one.
 */
export function scoreError(
  dim: number,
  storage: VectorStorage,
  queryNorm: number,
  vectorNorm: number,
): number {
  const roundings = dim + (storage === 'int8' ? 8 : 2);
  const gamma = (roundings * UNIT) / (1 - roundings * UNIT);
  // Numbers, products and sums below the smallest normal f32 may count as zero: four a term, with factors up
  // to either length.
  const flushed = 4 * dim * SMALLEST_NORMAL * (1 + queryNorm + vectorNorm);
  return gamma * queryNorm * vectorNorm + flushed;
}
