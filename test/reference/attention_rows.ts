/** Float64 reference of shaders/attention_rows.wgsl. */

const HEAD_DIM = 64;

export interface AttentionRowsSize {
  readonly numTokens: number;
  /** Width of all heads of the model. `firstHead` and `numHeads` select the heads to compute. */
  readonly embedDim: number;
  readonly firstHead: number;
  readonly numHeads: number;
  readonly image: number;
  readonly firstQuery: number;
  readonly numQueries: number;
}

/** qkv (batch · numTokens, 3 · embedDim) → (numHeads, numQueries, numTokens). */
export function attentionRows(
  { numTokens, embedDim, firstHead, numHeads, image, firstQuery, numQueries }: AttentionRowsSize,
  qkv: Float32Array,
): Float64Array {
  const out = new Float64Array(numHeads * numQueries * numTokens);
  for (let head = 0; head < numHeads; head++) {
    const first = image * numTokens * 3 * embedDim + (firstHead + head) * HEAD_DIM;
    for (let query = 0; query < numQueries; query++) {
      const q = first + (firstQuery + query) * 3 * embedDim;
      const row = out.subarray((head * numQueries + query) * numTokens).subarray(0, numTokens);
      for (let token = 0; token < numTokens; token++) {
        const k = first + token * 3 * embedDim + embedDim;
        for (let d = 0; d < HEAD_DIM; d++) row[token]! += qkv[q + d]! * qkv[k + d]!;
        row[token]! /= Math.sqrt(HEAD_DIM);
      }
      const maximum = row.reduce((most, score) => Math.max(most, score), -Infinity);
      row.forEach((score, token) => (row[token] = Math.exp(score - maximum)));
      const sum = row.reduce((total, weight) => total + weight, 0);
      row.forEach((weight, token) => (row[token] = weight / sum));
    }
  }
  return out;
}

/** (numHeads, n) → (n). */
export function meanOfHeads(rows: Float64Array, numHeads: number): Float64Array {
  const count = rows.length / numHeads;
  return Float64Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let head = 0; head < numHeads; head++) sum += rows[head * count + i]!;
    return sum / numHeads;
  });
}
