/** The probability of each row of x (patches, dim): logistic(row · weights / |row| + bias). */
export function segmentPatches(x: ArrayLike<number>, weights: ArrayLike<number>, bias: number): Float64Array {
  const dim = weights.length;
  const out = new Float64Array(x.length / dim);
  for (let patch = 0; patch < out.length; patch++) {
    let product = 0;
    let squares = 0;
    for (let i = 0; i < dim; i++) {
      const value = x[patch * dim + i]!;
      product += value * weights[i]!;
      squares += value * value;
    }
    out[patch] = 1 / (1 + Math.exp(-((squares > 0 ? product / Math.sqrt(squares) : 0) + bias)));
  }
  return out;
}
