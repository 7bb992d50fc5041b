/** Float64 reference of shaders/layer_norm.wgsl. */

const LANES = 64;

/** Sums the lanes' values in a tree, as the shader does. */
function workgroupSum(partialSums: Float64Array): number {
  for (let step = LANES / 2; step >= 1; step /= 2) {
    for (let lane = 0; lane < step; lane++) {
      partialSums[lane]! += partialSums[lane + step]!;
    }
  }
  return partialSums[0]!;
}

/** (x - mean) / sqrt(variance + eps) · weight + bias of every row, (rows, embedDim). */
export function layerNorm(
  rows: number,
  embedDim: number,
  eps: number,
  x: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Float64Array {
  const out = new Float64Array(rows * embedDim);
  for (let row = 0; row < rows; row++) {
    const first = row * embedDim;

    const sums = new Float64Array(LANES);
    for (let i = 0; i < embedDim; i++) sums[Math.floor(i / 4) % LANES]! += x[first + i]!;
    const mean = workgroupSum(sums) / embedDim;

    const squares = new Float64Array(LANES);
    for (let i = 0; i < embedDim; i++) squares[Math.floor(i / 4) % LANES]! += (x[first + i]! - mean) ** 2;
    const variance = workgroupSum(squares) / embedDim;
    const scale = 1 / Math.sqrt(variance + eps);

    for (let i = 0; i < embedDim; i++) {
      out[first + i] = (x[first + i]! - mean) * scale * weight[i]! + bias[i]!;
    }
  }
  return out;
}
