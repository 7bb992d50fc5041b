/** Twin of shaders/mask_patches.wgsl: nothing is computed, so it is exact. */
export function maskPatches(
  embedDim: number,
  patches: Float32Array,
  mask: Uint32Array,
  maskToken: Float32Array,
): Float32Array {
  return patches.map((value, i) => (mask[Math.floor(i / embedDim)] === 0 ? value : maskToken[i % embedDim]!));
}
