// Logistic regression with a quadratic penalty, by plain Newton steps on weights and bias: another method than that
// of src/numerics/logistic.ts, which has one unknown for each example.

/** Minimises mean(log(1 + exp(-y · logit))) + penalty / 2 · |weights|², with class weights of 1/2 each. */
export function logisticByWeights(
  x: Float64Array,
  dim: number,
  positive: Uint8Array,
  penalty: number,
): { weights: Float64Array; bias: number } {
  const count = positive.length;
  const positives = positive.filter((each) => each === 1).length;
  const n = dim + 1; // the bias is the last unknown
  const unknowns = new Float64Array(n);
  const valueOf = (i: number, channel: number): number => (channel < dim ? x[i * dim + channel]! : 1);
  for (let step = 0; step < 60; step++) {
    const gradient = new Float64Array(n);
    const hessian = Array.from({ length: n }, () => new Float64Array(n));
    for (let i = 0; i < count; i++) {
      const importance = 0.5 / (positive[i] ? positives : count - positives);
      let logit = 0;
      for (let a = 0; a < n; a++) logit += unknowns[a]! * valueOf(i, a);
      const probability = 1 / (1 + Math.exp(-logit));
      for (let a = 0; a < n; a++) {
        gradient[a]! += importance * (probability - positive[i]!) * valueOf(i, a);
        for (let b = 0; b < n; b++)
          hessian[a]![b]! += importance * probability * (1 - probability) * valueOf(i, a) * valueOf(i, b);
      }
    }
    for (let a = 0; a < dim; a++) {
      gradient[a]! += penalty * unknowns[a]!;
      hessian[a]![a]! += penalty;
    }
    const change = eliminate(hessian, gradient);
    const most = Math.max(...change.map(Math.abs));
    // A step of at most 1 in every unknown keeps the start from overshooting.
    const share = Math.min(1, 1 / most);
    for (let a = 0; a < n; a++) unknowns[a]! -= share * change[a]!;
  }
  return { weights: unknowns.slice(0, dim), bias: unknowns[dim]! };
}

/** Solves matrix · out = right by Gaussian elimination with pivots. */
function eliminate(matrix: Float64Array[], right: Float64Array): Float64Array {
  const n = right.length;
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i]![k]!) > Math.abs(rows[pivot]![k]!)) pivot = i;
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = k + 1; i < n; i++) {
      const factor = rows[i]![k]! / rows[k]![k]!;
      for (let j = k; j <= n; j++) rows[i]![j]! -= factor * rows[k]![j]!;
    }
  }
  const out = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let sum = rows[i]![n]!;
    for (let j = i + 1; j < n; j++) sum -= rows[i]![j]! * out[j]!;
    out[i] = sum / rows[i]![i]!;
  }
  return out;
}
