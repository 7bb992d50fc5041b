// Distances between found and expected values, and the tolerances for them. Runs in Node and in browsers, so
// it uses the APIs of neither.

/**
 * Largest allowed absolute error of fp32 features against float64. A CPU in float32 reaches 6e-6; a GPU may
 * sum in another order.
 */
export const FP32_MAX_ERROR = 2e-5;

/** Largest absolute difference. A NaN in either array makes it NaN. */
export function maxError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length)
    throw new Error(`expected ${expected.length} values, found ${found.length}`);
  let worst = 0;
  for (let i = 0; i < found.length; i++) {
    const error = Math.abs(found[i]! - expected[i]!);
    if (Number.isNaN(error)) return NaN;
    worst = Math.max(worst, error);
  }
  return worst;
}

/** Smallest cosine between corresponding rows of `columns` numbers. A NaN or a row of zeros makes it NaN. */
export function minCosine(found: ArrayLike<number>, expected: ArrayLike<number>, columns: number): number {
  let smallest = 1;
  for (let row = 0; row < expected.length; row += columns) {
    let [dot, a, b] = [0, 0, 0];
    for (let i = row; i < row + columns; i++) {
      dot += found[i]! * expected[i]!;
      a += found[i]! ** 2;
      b += expected[i]! ** 2;
    }
    const cosine = dot / Math.sqrt(a * b);
    if (Number.isNaN(cosine)) return NaN;
    smallest = Math.min(smallest, cosine);
  }
  return smallest;
}
