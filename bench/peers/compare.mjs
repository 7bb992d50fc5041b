// Compares the outputs of two engines, in Node and in pages.

/** The largest absolute difference of two outputs, and the smallest cosine of a token. */
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
      if (!(error <= maxAbsError)) maxAbsError = error; // also if NaN
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
 * True if the output of the other engine agrees with the output of this library. If not, no ratio of times
 * is printed. In fp32, both engines differ from float64 by about 1e-5. In fp16, the other engine computes
 * everything in f16, while this library rounds only the weight matrices. The bound for fp16 is therefore
 * loose: it shows that both engines run the same model, but not that their numbers agree closely.
 */
export const agrees = ({ maxAbsError, minCosine }, dtype) =>
  dtype === 'fp32' ? maxAbsError <= 1e-3 : minCosine >= 0.99;
