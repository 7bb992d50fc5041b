/**
 * Reference of both entry points of shaders/assemble_tokens.wgsl. Every sum has two terms, so the results are
 * rounded to f32 and must match exactly.
 */

export interface AssembleTokensSize {
  readonly batch: number;
  readonly numPatches: number;
  readonly embedDim: number;
  readonly numRegisterTokens: number;
}

/** [cls + positions[0], registers, patches + positions[1…]] of every image: (batch · numTokens, embedDim). */
export function assembleTokens(
  { batch, numPatches, embedDim, numRegisterTokens }: AssembleTokensSize,
  patches: Float32Array,
  cls: Float32Array,
  positions: Float32Array,
  registers: Float32Array = new Float32Array(0),
): Float32Array {
  const numTokens = 1 + numRegisterTokens + numPatches;
  const out = new Float32Array(batch * numTokens * embedDim);
  for (let image = 0; image < batch; image++) {
    for (let token = 0; token < numTokens; token++) {
      for (let i = 0; i < embedDim; i++) {
        const at = (image * numTokens + token) * embedDim + i;
        if (token === 0) {
          out[at] = cls[i]! + positions[i]!;
        } else if (token <= numRegisterTokens) {
          out[at] = registers[(token - 1) * embedDim + i]!;
        } else {
          const patch = token - numRegisterTokens - 1;
          out[at] =
            patches[(image * numPatches + patch) * embedDim + i]! + positions[(patch + 1) * embedDim + i]!;
        }
      }
    }
  }
  return out;
}
