
// The number of patches that a PCA is fitted to.
struct PcaSize {
  num_patches: u32,
  chunk: u32,       // patches per chunk; the last of the NUM_CHUNKS chunks may have fewer patches, or none
  num_chosen: u32,  // patches with chosen = 1
}
