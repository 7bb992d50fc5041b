
// The patches that a basis is fitted to.
struct PcaSize {
  num_patches: u32,
  chunk: u32,       // patches of a chunk, of which there are NUM_CHUNKS; the last ones may have fewer, or none
  num_chosen: u32,  // patches that count
}
