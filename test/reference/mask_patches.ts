/** Reference of shaders/mask_patches.wgsl, exact because the kernel only copies. */
export function maskPatches(
  embedDim: number,
  patches: Float32Array,
  mask: Uint32Array,
  maskToken: Float32Array,
): Float32Array {
  return patches.map((value, i) => (mask[Math.floor(i / embedDim)] === 0 ? value : maskToken[i % embedDim]!));
}
