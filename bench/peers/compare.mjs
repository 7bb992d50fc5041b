// Whether two engines compute the same. Runs in Node and in pages.

/** How far two outputs are apart: the largest difference, and the smallest cosine of a token. */
export function compare(a, b, embedDim) {
  if (a.length !== b.length)
    throw new Error(`Outputs of ${a.length} and ${b.length} values cannot be compared.`);
  let maxAbsError = 0;
  let minCosine = 1;
  for (let token = 0; token < a.length; token += embedDim) {
    let ab = 0,
      aa = 0,
      bb = 0;
    for (let i = token; i < token + embedDim; i++) {
      const error = Math.abs(a[i] - b[i]);
      if (!(error <= maxAbsError)) maxAbsError = error; // NaN too
      ab += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    const cosine = ab / Math.sqrt(aa * bb);
    if (!(cosine >= minCosine)) minCosine = cosine;
  }
  return { maxAbsError, minCosine };
}

/**
 * Whether the peer computes what we do; no ratio is printed where it does not. In fp32 both are some 1e-5
 * from float64. In fp16 the peer computes in f16 from end to end, and we round the matrices alone: the bound
 * is one for "the same model", not for equal numbers.
 */
export const agrees = ({ maxAbsError, minCosine }, dtype) =>
  dtype === 'fp32' ? maxAbsError <= 1e-3 : minCosine >= 0.99;
