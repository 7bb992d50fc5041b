/**
 * Float64 reference of shaders/patch_embed.wgsl. The weight is (embedDim, 3, patchSize, patchSize), not packed in
 * panels.
 */

export interface PatchEmbedSize {
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly patchSize: number;
}

/** pixels (batch, 3, rows · patchSize, cols · patchSize) → (batch · rows · cols, embedDim). */
export function patchEmbed(
  size: PatchEmbedSize,
  pixels: Float32Array,
  weight: Float32Array,
  bias: Float32Array,
): Float64Array {
  const { batch, rows, cols, embedDim, patchSize } = size;
  const out = new Float64Array(batch * rows * cols * embedDim);
  const line = cols * patchSize;
  const plane = rows * patchSize * line;
  for (let patchRow = 0; patchRow < batch * rows * cols; patchRow++) {
    const image = Math.floor(patchRow / (rows * cols));
    const row = Math.floor((patchRow % (rows * cols)) / cols);
    const col = patchRow % cols;
    const from = image * 3 * plane + row * patchSize * line + col * patchSize;
    for (let column = 0; column < embedDim; column++) {
      let sum = bias[column]!;
      let w = column * 3 * patchSize * patchSize;
      for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < patchSize; y++) {
          for (let x = 0; x < patchSize; x++) {
            sum += pixels[from + channel * plane + y * line + x]! * weight[w++]!;
          }
        }
      }
      out[patchRow * embedDim + column] = sum;
    }
  }
  return out;
}
