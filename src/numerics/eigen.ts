/**
 * Computes eigenvectors on the CPU, in float64: of a small symmetric matrix, or of a large symmetric matrix
 * restricted to the space of a few vectors (Rayleigh-Ritz method).
 */

/**
 * Eigenvalues, the largest first, and their eigenvectors of length 1: `vectors[k]` belongs to `values[k]`.
 */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: readonly Float64Array[];
}

/**
 * Computes all eigenvectors of a symmetric (n, n) matrix by cyclic Jacobi rotations (Golub and Van Loan,
 * Matrix Computations, 4th ed., 8.5). The method is slow for large n, but accurate up to rounding for every
 * matrix.
 */
export function symmetricEigen(matrix: ArrayLike<number>, n: number): Eigen {
  const a = Float64Array.from(matrix);
  const v = new Float64Array(n * n); // row k becomes eigenvector k
  for (let k = 0; k < n; k++) v[k * n + k] = 1;
  let norm = 0;
  for (const value of a) norm += value * value;
  for (let sweep = 0; sweep < 50; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p * n + q]! ** 2;
    if (!(off > norm * 1e-32)) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const apq = a[p * n + q]!;
        if (apq === 0) continue;
        const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = t * c;
        for (let i = 0; i < n; i++) rotate(a, i * n + p, i * n + q, c, s);
        for (let i = 0; i < n; i++) rotate(a, p * n + i, q * n + i, c, s);
        for (let i = 0; i < n; i++) rotate(v, p * n + i, q * n + i, c, s);
      }
    }
  }
  const order = Array.from({ length: n }, (_, k) => k).sort((i, j) => a[j * n + j]! - a[i * n + i]!);
  return {
    values: Float64Array.from(order, (k) => a[k * n + k]!),
    vectors: order.map((k) => v.slice(k * n, (k + 1) * n)),
  };
}

function rotate(a: Float64Array, i: number, j: number, c: number, s: number): void {
  const x = a[i]!;
  const y = a[j]!;
  a[i] = c * x - s * y;
  a[j] = s * x + c * y;
}

/** Approximate eigenvectors of a large symmetric matrix from a block of vectors. */
export interface RitzPairs extends Eigen {
  /**
   * `shares[k][i]` is the coefficient of input vector `i` in the linear combination that gives eigenvector
   * `vectors[k]`.
   */
  readonly shares: readonly Float64Array[];
  /** For each eigenvector: an estimate of its error, as an angle in radians. */
  readonly errors: readonly number[];
}

/**
 * Shortest length of a given vector's component orthogonal to the earlier vectors. `ritzPairs` leaves out a
 * vector whose component is shorter.
 */
const SHORT = 0.5;

/**
 * Approximates eigenvectors of a symmetric positive semidefinite matrix C by the best vectors in the space
 * that the `count` given vectors span. Uses only the given vectors and their products with C.
 * @param vectors (count, dim): approximately orthonormal vectors. Vectors much shorter than 1 are left out
 * @param products (count, dim): the product of C with each of `vectors`
 */
export function ritzPairs(
  vectors: ArrayLike<number>,
  products: ArrayLike<number>,
  count: number,
  dim: number,
): RitzPairs {
  const basis: { vector: Float64Array; product: Float64Array; share: Float64Array }[] = [];
  for (let k = 0; k < count; k++) {
    const vector = new Float64Array(dim);
    const product = new Float64Array(dim);
    for (let i = 0; i < dim; i++) {
      vector[i] = vectors[k * dim + i]!;
      product[i] = products[k * dim + i]!;
    }
    const share = new Float64Array(count);
    share[k] = 1;
    for (let pass = 0; pass < 2; pass++) {
      for (const other of basis) {
        const along = -dot(other.vector, vector);
        addScaled(vector, along, other.vector);
        addScaled(product, along, other.product);
        addScaled(share, along, other.share);
      }
    }
    const length = Math.sqrt(dot(vector, vector));
    if (!(length >= SHORT)) continue;
    for (const part of [vector, product, share]) for (let i = 0; i < part.length; i++) part[i]! /= length;
    basis.push({ vector, product, share });
  }
  const size = basis.length;
  const projected = new Float64Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      projected[i * size + j] =
        (dot(basis[i]!.vector, basis[j]!.product) + dot(basis[j]!.vector, basis[i]!.product)) / 2;
    }
  }
  const { values, vectors: mixes } = symmetricEigen(projected, size);
  // Upper bound of the eigenvalues of directions outside of the space, once the block iteration has
  // converged.
  const outside = size === count ? values[size - 1]! : 0;
  const mixed = mixes.map((mix, k) => {
    const vector = new Float64Array(dim);
    const residual = new Float64Array(dim);
    const share = new Float64Array(count);
    mix.forEach((factor, i) => {
      addScaled(vector, factor, basis[i]!.vector);
      addScaled(residual, factor, basis[i]!.product);
      addScaled(share, factor, basis[i]!.share);
    });
    addScaled(residual, -values[k]!, vector);
    return {
      vector,
      share,
      error: Math.sqrt(dot(residual, residual)) / Math.max(values[k]! - outside, Number.MIN_VALUE),
    };
  });
  return {
    values,
    vectors: mixed.map(({ vector }) => vector),
    shares: mixed.map(({ share }) => share),
    errors: mixed.map(({ error }) => error),
  };
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function addScaled(to: Float64Array, factor: number, from: Float64Array): void {
  for (let i = 0; i < to.length; i++) to[i]! += factor * from[i]!;
}

/**
 * Returns the factor, 1 or -1, that makes an eigenvector unique: the entries of the vector multiplied by this
 * factor have a positive sum of cubes. The largest entries decide the sign, but the sum depends smoothly on
 * the vector. So the sign does not flip through rounding on a different adapter, or in the next frame of a
 * video.
 */
export function signOf(vector: Float64Array): 1 | -1 {
  let cubes = 0;
  let sum = 0;
  for (const value of vector) {
    cubes += value ** 3;
    sum += Math.abs(value) ** 3;
  }
  if (Math.abs(cubes) > 1e-9 * sum) return cubes < 0 ? -1 : 1;
  // The sum of the cubes is almost 0, as for the vector (1, -1). The first entry that is not small decides
  // the sign.
  const largest = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const first = vector.find((value) => Math.abs(value) > largest / 2) ?? 0;
  return first < 0 ? -1 : 1;
}
