/** PCA on the CPU in float64: references of the kernels, and an independent solution by Jacobi's method. */

type Numbers = ArrayLike<number>;

/** Sums of the chosen rows of x (count, dim), one sum per chunk of rows: (chunks, dim). */
export function pcaColumnSums(x: Numbers, chosen: Numbers, dim: number, chunks: number): Float64Array {
  const count = chosen.length;
  const chunk = Math.ceil(count / chunks);
  const sums = new Float64Array(chunks * dim);
  for (let row = 0; row < count; row++) {
    if (chosen[row] === 0) continue;
    for (let i = 0; i < dim; i++) sums[Math.floor(row / chunk) * dim + i]! += x[row * dim + i]!;
  }
  return sums;
}

/** The chosen rows minus their mean. The other rows become zero. */
export function pcaCenter(
  x: Numbers,
  chosen: Numbers,
  dim: number,
  chunks: number,
): { x: Float64Array; mean: Float64Array; squares: Float64Array } {
  const count = chosen.length;
  const chunk = Math.ceil(count / chunks);
  let chosenCount = 0;
  for (let row = 0; row < count; row++) chosenCount += chosen[row]!;
  const sums = pcaColumnSums(x, chosen, dim, chunks);
  const mean = new Float64Array(dim);
  for (let i = 0; i < chunks * dim; i++) mean[i % dim]! += sums[i]! / chosenCount;
  const out = new Float64Array(count * dim);
  const squares = new Float64Array(chunks * dim);
  for (let row = 0; row < count; row++) {
    if (chosen[row] === 0) continue;
    for (let i = 0; i < dim; i++) {
      const value = x[row * dim + i]! - mean[i]!;
      out[row * dim + i] = value;
      squares[Math.floor(row / chunk) * dim + i]! += value * value;
    }
  }
  return { x: out, mean, squares };
}

/** x (count, dim) · vectorsᵀ, vectors (k, dim). */
export function pcaScores(x: Numbers, vectors: Numbers, dim: number): Float64Array {
  const count = x.length / dim;
  const k = vectors.length / dim;
  const scores = new Float64Array(count * k);
  for (let row = 0; row < count; row++) {
    for (let v = 0; v < k; v++) {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += x[row * dim + i]! * vectors[v * dim + i]!;
      scores[row * k + v] = sum;
    }
  }
  return scores;
}

/** xᵀ · scores, one product per chunk of rows: (chunks, k, dim). */
export function pcaPartials(x: Numbers, scores: Numbers, dim: number, chunks: number): Float64Array {
  const count = x.length / dim;
  const k = scores.length / count;
  const chunk = Math.ceil(count / chunks);
  const partials = new Float64Array(chunks * k * dim);
  for (let row = 0; row < count; row++) {
    const to = Math.floor(row / chunk) * k * dim;
    for (let v = 0; v < k; v++) {
      const score = scores[row * k + v]!;
      for (let i = 0; i < dim; i++) partials[to + v * dim + i]! += score * x[row * dim + i]!;
    }
  }
  return partials;
}

export function pcaProduct(partials: Numbers, chunks: number): Float64Array {
  const length = partials.length / chunks;
  const out = new Float64Array(length);
  for (let i = 0; i < partials.length; i++) out[i % length]! += partials[i]!;
  return out;
}

/** Gram-Schmidt applied twice, which equals CholeskyQR in exact arithmetic. Zero vectors stay zero. */
export function pcaOrthonormalize(product: Numbers, dim: number): Float64Array {
  const out = Float64Array.from(product);
  const rows = out.length / dim;
  const inner = (a: number, b: number): number => {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += out[a * dim + i]! * out[b * dim + i]!;
    return sum;
  };
  for (let k = 0; k < rows; k++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < k; j++) {
        const along = inner(j, k);
        for (let i = 0; i < dim; i++) out[k * dim + i]! -= along * out[j * dim + i]!;
      }
    }
    const length = Math.sqrt(inner(k, k));
    if (length > 0) for (let i = 0; i < dim; i++) out[k * dim + i]! /= length;
  }
  return out;
}

/**
 * Four values (mask, r, g, b) for each row of x, before clipping: x - mean projected on four directions, scaled and
 * shifted.
 */
export function pcaColor(x: Numbers, table: Numbers, dim: number): Float64Array {
  const count = x.length / dim;
  const out = new Float64Array(count * 4);
  for (let row = 0; row < count; row++) {
    for (let c = 0; c < 4; c++) {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += (x[row * dim + i]! - table[i]!) * table[(c + 1) * dim + i]!;
      out[row * 4 + c] = sum * table[5 * dim + c]! + table[5 * dim + 4 + c]!;
    }
  }
  return out;
}

/** The covariance (dim, dim) of the chosen rows of x, divided by their number. */
export function covariance(x: Numbers, chosen: Numbers, dim: number): Float64Array {
  const centered = pcaCenter(x, chosen, dim, 1).x;
  const out = new Float64Array(dim * dim);
  let count = 0;
  for (let row = 0; row < chosen.length; row++) {
    if (chosen[row] === 0) continue;
    count += 1;
    for (let i = 0; i < dim; i++) {
      const value = centered[row * dim + i]!;
      for (let j = 0; j <= i; j++) out[i * dim + j]! += value * centered[row * dim + j]!;
    }
  }
  for (let i = 0; i < dim; i++)
    for (let j = 0; j <= i; j++) out[j * dim + i] = out[i * dim + j] = out[i * dim + j]! / count;
  return out;
}

/**
 * All eigenvectors of a symmetric matrix, sorted by descending eigenvalue, by one-sided Jacobi rotations (Hestenes
 * 1958). The rows of the matrix are rotated until they are orthogonal; they then equal eigenvectors times
 * eigenvalues. For a matrix (rows, n) that is not square, they equal right singular vectors times singular values. For
 * centred data these are the eigenvectors of its covariance.
 */
export function jacobi(matrix: Float64Array, n: number): { values: number[]; vectors: Float64Array[] } {
  const rows = Array.from({ length: matrix.length / n }, (_, i) => matrix.slice(i * n, (i + 1) * n));
  const count = rows.length;
  for (let sweep = 0; sweep < 40; sweep++) {
    let worst = 0;
    for (let p = 0; p < count; p++) {
      for (let q = p + 1; q < count; q++) {
        const a = rows[p]!;
        const b = rows[q]!;
        let aa = 0;
        let bb = 0;
        let ab = 0;
        for (let i = 0; i < n; i++) {
          const x = a[i]!;
          const y = b[i]!;
          aa += x * x;
          bb += y * y;
          ab += x * y;
        }
        const cosine = Math.abs(ab) / Math.sqrt(aa * bb || 1);
        if (cosine < 1e-13 || Math.min(aa, bb) < 1e-26 * Math.max(aa, bb)) continue;
        worst = Math.max(worst, cosine);
        const theta = (bb - aa) / (2 * ab);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1);
        const s = c * t;
        for (let i = 0; i < n; i++) {
          const x = a[i]!;
          const y = b[i]!;
          a[i] = c * x - s * y;
          b[i] = s * x + c * y;
        }
      }
    }
    if (worst < 1e-12) break;
  }
  const pairs = rows.map((row) => {
    const value = Math.hypot(...row);
    return { value, vector: row.map((entry) => entry / (value || 1)) };
  });
  pairs.sort((a, b) => b.value - a.value);
  return { values: pairs.map(({ value }) => value), vectors: pairs.map(({ vector }) => vector) };
}

/**
 * The angle in degrees between the lines along two vectors. Also accurate for small angles, unlike acos of the cosine.
 */
export function angleBetween(a: Numbers, b: Numbers): number {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  let rest = 0;
  for (let i = 0; i < a.length; i++)
    rest += (a[i]! / Math.sqrt(aa) - ((ab / Math.sqrt(aa * bb)) * b[i]!) / Math.sqrt(bb)) ** 2;
  return (Math.asin(Math.min(1, Math.sqrt(rest))) * 180) / Math.PI;
}
