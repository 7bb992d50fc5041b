/** The nearest patches of two images on the CPU in float64: references of patch_directions and nearest_patch. */

type Numbers = ArrayLike<number>;

/** Rows of x (count, dim), each scaled to length 1. A row of zeros stays zero. */
export function patchDirections(x: Numbers, count: number, dim: number): Float64Array {
  const out = new Float64Array(count * dim);
  for (let row = 0; row < count; row++) {
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += x[row * dim + i]! ** 2;
    const length = Math.sqrt(squares);
    for (let i = 0; i < dim; i++) out[row * dim + i] = length > 0 ? x[row * dim + i]! / length : 0;
  }
  return out;
}

/** The cosines of all rows of two matrices: (countA, countB). */
export function cosines(a: Numbers, b: Numbers, countA: number, countB: number, dim: number): Float64Array {
  const [left, right] = [patchDirections(a, countA, dim), patchDirections(b, countB, dim)];
  const out = new Float64Array(countA * countB);
  for (let row = 0; row < countA; row++)
    for (let col = 0; col < countB; col++) {
      let sum = 0;
      for (let i = 0; i < dim; i++) sum += left[row * dim + i]! * right[col * dim + i]!;
      out[row * countB + col] = sum;
    }
  return out;
}

/** A score and the index of its row or column. */
export interface Match {
  readonly score: number;
  readonly index: number;
}

/** The highest score of each row of a matrix (rows, stride) of which `cols` columns are valid; the first of equals. */
export function nearestInRows(scores: Numbers, rows: number, cols: number, stride = cols): Match[] {
  return Array.from({ length: rows }, (_, row) => {
    let index = 0;
    for (let col = 1; col < cols; col++)
      if (scores[row * stride + col]! > scores[row * stride + index]!) index = col;
    return { score: scores[row * stride + index]!, index };
  });
}

/** The highest score of each column of a matrix (rows, stride); the first of equals. */
export function nearestInColumns(scores: Numbers, rows: number, cols: number, stride = cols): Match[] {
  return Array.from({ length: cols }, (_, col) => {
    let index = 0;
    for (let row = 1; row < rows; row++)
      if (scores[row * stride + col]! > scores[index * stride + col]!) index = row;
    return { score: scores[index * stride + col]!, index };
  });
}
