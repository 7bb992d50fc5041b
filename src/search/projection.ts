/**
 * `projectRows`: the first two principal components of the vectors, by a block Krylov method (Golub and Van
 * Loan, Matrix Computations, 4th ed., 10.3) in float64. Each step multiplies the covariance matrix by four
 * vectors in one pass over the data, without forming the matrix.
 */
import { dot, signOf, symmetricEigen } from '../numerics/eigen.js';
import { startVectors } from '../numerics/startVectors.js';
import type { Items } from './items.js';
import { Pace } from './searchCpu.js';

/** Number of vectors that one pass multiplies by the covariance matrix. */
const BLOCK = 4;
const MAX_PASSES = 24;
/**
 * A principal component has converged when its residual is less than this fraction of the largest eigenvalue.
 */
const TOLERANCE = 1e-7;
/**
 * A vector counts as linearly dependent on the basis if less than this fraction of its length is left after
 * orthogonalization, because such a remainder is only rounding error.
 */
const DEPENDENT = 1e-10;

/**
 * Computes the coordinates of every row on the first two principal components, (count, 2). Returns undefined
 * if an existing row of the vector table changed during the computation, because the components could then
 * mix old and new vectors.
 * @param whole true to run without yielding to the event loop, so that no vector can change during the
 *   computation
 */
export async function projectRows(
  items: Items,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<Float64Array | undefined> {
  const { vectors } = items;
  const { dim, count, moves } = vectors;
  const pace = new Pace();
  const row32 = new Float32Array(dim);
  /**
   * Calls `visit` for every row. Stops and returns false if an existing row of the vector table has changed
   * since the computation began.
   */
  const pass = async (visit: (values: Float32Array, row: number) => void): Promise<boolean> => {
    for (let row = 0; row < count; row++) {
      if (row % 128 === 0 && !whole) {
        await pace.rest(signal);
        if (vectors.moves !== moves) return false;
      }
      visit(vectors.decode(row, row32), row);
    }
    return true;
  };
  const mean = new Float64Array(dim);
  let squares = 0;
  const meanPass = await pass((values) => {
    for (let i = 0; i < dim; i++) {
      mean[i] = mean[i]! + values[i]!;
      squares += values[i]! ** 2;
    }
  });
  if (!meanPass) return undefined;
  for (let i = 0; i < dim; i++) mean[i] = mean[i]! / count;
  const points = new Float64Array(2 * count);
  if (squares === 0) return points;

  const basis: Float64Array[] = [];
  const products: Float64Array[] = [];
  const start = startVectors(dim);
  let next: Float64Array[] = Array.from({ length: BLOCK }, (_, k) =>
    Float64Array.from(start.subarray(k * dim, (k + 1) * dim)),
  );
  let components: readonly Float64Array[] = [];
  for (let step = 0; step < MAX_PASSES; step++) {
    const fresh = next.flatMap((vector) => {
      const independent = orthonormal(vector, basis);
      if (independent) basis.push(independent);
      return independent ? [independent] : [];
    });
    if (fresh.length === 0) break;
    const made = await covarianceTimes(fresh, mean, count, pass);
    if (!made) return undefined;
    products.push(...made);
    const small = symmetricEigen(
      basis.flatMap((a) => products.map((b) => dot(a, b))),
      basis.length,
    );
    components = small.vectors.slice(0, 2).map((share) => combined(share, basis));
    const residuals = small.vectors.slice(0, 2).map((share, k) => {
      const product = combined(share, products);
      return Math.sqrt(
        components[k]!.reduce((sum, value, i) => sum + (product[i]! - small.values[k]! * value) ** 2, 0),
      );
    });
    if (basis.length >= 2 && Math.max(...residuals) <= TOLERANCE * small.values[0]!) break;
    next = made;
  }
  const signed = components.map((vector) => {
    const sign = signOf(vector);
    return vector.map((value) => sign * value);
  });
  const placed = await pass((values, row) => {
    for (const [k, vector] of signed.entries()) {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += (values[i]! - mean[i]!) * vector[i]!;
      points[2 * row + k] = sum;
    }
  });
  return placed ? points : undefined;
}

/**
 * Orthogonalizes a vector against an orthonormal basis, and scales it to length 1. Returns undefined if the
 * vector is linearly dependent on the basis. Two rounds of Gram-Schmidt are enough (Kahan and Parlett).
 */
function orthonormal(vector: Float64Array, basis: readonly Float64Array[]): Float64Array | undefined {
  const length = Math.sqrt(dot(vector, vector));
  if (!(length > 0)) return undefined;
  const left = vector.map((value) => value / length);
  for (let again = 0; again < 2; again++) {
    for (const other of basis) {
      const share = dot(left, other);
      for (let i = 0; i < left.length; i++) left[i] = left[i]! - share * other[i]!;
    }
  }
  const rest = Math.sqrt(dot(left, left));
  return rest > DEPENDENT ? left.map((value) => value / rest) : undefined;
}

/** Returns a linear combination of vectors with the coefficients `shares`. */
function combined(shares: Float64Array, vectors: readonly Float64Array[]): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  for (const [k, vector] of vectors.entries())
    for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + shares[k]! * vector[i]!;
  return sum;
}

/** Multiplies the covariance matrix by up to four vectors in one pass over the rows. */
async function covarianceTimes(
  directions: readonly Float64Array[],
  mean: Float64Array,
  count: number,
  pass: (visit: (values: Float32Array) => void) => Promise<boolean>,
): Promise<Float64Array[] | undefined> {
  const dim = mean.length;
  const zeros = new Float64Array(dim);
  const [a, b, c, d] = [0, 1, 2, 3].map((k) => directions[k] ?? zeros) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const sums = [
    new Float64Array(dim),
    new Float64Array(dim),
    new Float64Array(dim),
    new Float64Array(dim),
  ] as const;
  const [sumA, sumB, sumC, sumD] = sums;
  const centered = new Float64Array(dim);
  const done = await pass((values) => {
    let [p, q, r, s] = [0, 0, 0, 0];
    for (let i = 0; i < dim; i++) {
      const value = values[i]! - mean[i]!;
      centered[i] = value;
      p += value * a[i]!;
      q += value * b[i]!;
      r += value * c[i]!;
      s += value * d[i]!;
    }
    for (let i = 0; i < dim; i++) {
      const value = centered[i]!;
      sumA[i] = sumA[i]! + p * value;
      sumB[i] = sumB[i]! + q * value;
      sumC[i] = sumC[i]! + r * value;
      sumD[i] = sumD[i]! + s * value;
    }
  });
  return done ? sums.slice(0, directions.length).map((sum) => sum.map((value) => value / count)) : undefined;
}
