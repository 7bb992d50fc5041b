/** Float64 reference of shaders/attention.wgsl, with tiles of 32 keys and online softmax. */

const HEAD_DIM = 64;
const TILE = 32;

/** qkv (batch · numTokens, 3 · numHeads · 64) → (batch · numTokens, numHeads · 64). */
export function attention(
  batch: number,
  numTokens: number,
  numHeads: number,
  qkv: Float32Array,
): Float64Array {
  const embedDim = numHeads * HEAD_DIM;
  const out = new Float64Array(batch * numTokens * embedDim);
  for (let image = 0; image < batch; image++) {
    for (let head = 0; head < numHeads; head++) {
      // The query of token t of this image and head is at first + t · 3 · embedDim. The key follows embedDim later,
      // the value 2 · embedDim later.
      const first = image * numTokens * 3 * embedDim + head * HEAD_DIM;
      for (let query = 0; query < numTokens; query++) {
        const q = first + query * 3 * embedDim;
        let maximum = -Infinity;
        let sum = 0;
        const result = new Float64Array(HEAD_DIM);
        for (let tile = 0; tile < numTokens; tile += TILE) {
          const scores = new Float64Array(Math.min(TILE, numTokens - tile));
          for (let key = 0; key < scores.length; key++) {
            const k = first + (tile + key) * 3 * embedDim + embedDim;
            for (let d = 0; d < HEAD_DIM; d++) scores[key]! += qkv[q + d]! * qkv[k + d]!;
            scores[key]! /= Math.sqrt(HEAD_DIM);
          }
          const grown = scores.reduce((most, score) => Math.max(most, score), maximum);
          const shrink = Math.exp(maximum - grown);
          maximum = grown;
          sum *= shrink;
          for (let d = 0; d < HEAD_DIM; d++) result[d]! *= shrink;
          for (let key = 0; key < scores.length; key++) {
            const p = Math.exp(scores[key]! - maximum);
            const v = first + (tile + key) * 3 * embedDim + 2 * embedDim;
            sum += p;
            for (let d = 0; d < HEAD_DIM; d++) result[d]! += p * qkv[v + d]!;
          }
        }
        const to = (image * numTokens + query) * embedDim + head * HEAD_DIM;
        for (let d = 0; d < HEAD_DIM; d++) out[to + d] = result[d]! / sum;
      }
    }
  }
  return out;
}
