import { describe, expect, it } from 'vitest';
import { dot, ritzPairs, signOf, symmetricEigen } from '../../src/numerics/eigen.ts';
import { Random } from '../random.ts';
import { angleBetween, jacobi } from '../reference/pca.ts';

/**
 * Tolerance relative to the largest eigenvalue. Jacobi's method is exact to a few float64 roundings, of which n may
 * accumulate.
 */
const FLOAT64 = 1e-12;

function randomSymmetric(random: Random, n: number): Float64Array {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = 2 * random.next() - 1;
  return a;
}

const apply = (a: Float64Array, n: number, v: ArrayLike<number>): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => dot(a.subarray(i * n, (i + 1) * n), v));

describe('symmetricEigen', () => {
  it('solves a matrix with a known solution', () => {
    const { values, vectors } = symmetricEigen([2, 1, 1, 2], 2);
    expect(values[0]).toBeCloseTo(3, 14);
    expect(values[1]).toBeCloseTo(1, 14);
    expect(Math.abs(vectors[0]![0]! - vectors[0]![1]!)).toBeLessThan(1e-14);
  });

  it.each([1, 2, 3, 8, 23])('gives A v = λ v, orthonormal v and descending λ for size %i', (n) => {
    const random = new Random(n);
    for (let repeat = 0; repeat < 20; repeat++) {
      const a = randomSymmetric(random, n);
      const { values, vectors } = symmetricEigen(a, n);
      vectors.forEach((v, k) => {
        apply(a, n, v).forEach((entry, i) =>
          expect(Math.abs(entry - values[k]! * v[i]!)).toBeLessThan(FLOAT64),
        );
        vectors.forEach((w, j) => expect(Math.abs(dot(v, w) - (j === k ? 1 : 0))).toBeLessThan(FLOAT64));
        if (k > 0) expect(values[k]!).toBeLessThanOrEqual(values[k - 1]!);
      });
    }
  });

  it('handles zeros, repeated eigenvalues and huge ranges', () => {
    expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
    expect([...symmetricEigen([5, 0, 0, 0, 5, 0, 0, 0, 5], 3).values]).toEqual([5, 5, 5]);
    const { values } = symmetricEigen([1e30, 1e10, 1e10, 1], 2);
    expect(values.every(Number.isFinite)).toBe(true);
    expect(symmetricEigen([], 0).values).toHaveLength(0);
  });
});

describe('ritzPairs', () => {
  const n = 12;
  const random = new Random(7);
  const root = randomSymmetric(random, n);
  const squared = new Float64Array(n * n); // positive semidefinite: root · rootᵀ
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      squared[i * n + j] = dot(root.subarray(i * n, (i + 1) * n), root.subarray(j * n, (j + 1) * n));
  const oracle = jacobi(squared, n);
  const block = (vectors: readonly ArrayLike<number>[]): [Float64Array, Float64Array] => [
    Float64Array.from(vectors.flatMap((v) => Array.from(v))),
    Float64Array.from(vectors.flatMap((v) => [...apply(squared, n, v)])),
  ];

  it('finds eigenvectors in the span of the given vectors, however they are mixed', () => {
    const space = oracle.vectors.slice(0, 4);
    const mixed = Array.from({ length: 4 }, (_, k) => {
      const mix = space.map((_v, j) => (j === k ? 1 : 0.2 * random.next()));
      const v = Float64Array.from({ length: n }, (_, i) =>
        space.reduce((sum, each, j) => sum + mix[j]! * each[i]!, 0),
      );
      return v;
    });
    const pairs = ritzPairs(...block(mixed), 4, n);
    for (let k = 0; k < 3; k++) {
      expect(pairs.values[k]).toBeCloseTo(oracle.values[k]!, 10);
      expect(angleBetween(pairs.vectors[k]!, oracle.vectors[k]!)).toBeLessThan(1e-9);
      expect(pairs.errors[k]).toBeLessThan(1e-9);
      const remixed = Float64Array.from({ length: n }, (_, i) =>
        mixed.reduce((sum, v, j) => sum + pairs.shares[k]![j]! * v[i]!, 0),
      );
      expect(angleBetween(remixed, pairs.vectors[k]!)).toBeLessThan(1e-9);
    }
  });

  it('estimates its error', () => {
    const tilted = oracle.vectors
      .slice(0, 4)
      .map((v, k) => v.map((entry, i) => entry + 1e-3 * oracle.vectors[8 + k]![i]!));
    const { vectors, errors } = ritzPairs(...block(tilted), 4, n);
    for (let k = 0; k < 3; k++) {
      const angle = (angleBetween(vectors[k]!, oracle.vectors[k]!) * Math.PI) / 180;
      expect(angle).toBeGreaterThan(5e-4);
      expect(errors[k]! / angle).toBeGreaterThan(0.5);
      expect(errors[k]! / angle).toBeLessThan(10);
    }
  });

  it('omits zero, short and linearly dependent vectors', () => {
    const [a, b] = oracle.vectors as [Float64Array, Float64Array];
    const pairs = ritzPairs(...block([a, new Float64Array(n), a, b, b.map((entry) => entry * 1e-3)]), 5, n);
    expect(pairs.values).toHaveLength(2);
    expect(pairs.values[0]).toBeCloseTo(oracle.values[0]!, 10);
    expect(pairs.values[1]).toBeCloseTo(oracle.values[1]!, 10);
    expect(ritzPairs(new Float64Array(24), new Float64Array(24), 2, n).values).toHaveLength(0);
  });
});

describe('signOf', () => {
  it('is the sign of the dominant entries', () => {
    expect(signOf(Float64Array.of(0.1, -0.9, 0.1))).toBe(-1);
    expect(signOf(Float64Array.of(-0.1, 0.9, -0.1))).toBe(1);
  });

  it('selects the same one of a vector and its opposite, and does not change with rounding', () => {
    const random = new Random(3);
    for (let repeat = 0; repeat < 300; repeat++) {
      const vector = Float64Array.from(random.uniform(384));
      const sign = signOf(vector);
      expect(signOf(vector.map((entry) => -entry))).toBe(-sign);
      expect(signOf(vector.map((entry) => entry * (1 + 1e-6 * random.next())))).toBe(sign);
    }
  });

  it('is defined for balanced vectors and for zeros', () => {
    expect(signOf(Float64Array.of(0, -1, 1))).toBe(-1);
    expect(signOf(Float64Array.of(0, 1, -1))).toBe(1);
    expect(signOf(new Float64Array(4))).toBe(1);
  });
});
