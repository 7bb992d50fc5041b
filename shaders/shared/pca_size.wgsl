
// The number of patches to which a principal component analysis (PCA) is fitted.
struct PcaSize {
  num_patches: u32,
  chunk: u32,       // patches per chunk; the last of the NUM_CHUNKS chunks may have fewer patches or no patch
  num_chosen: u32,  // patches with chosen = 1
}
