
// The parameters of one forward pass. All other properties of a model are constants of the shaders.
struct ForwardSize {
  batch: u32,       // images
  rows: u32,        // patches from top to bottom of an image
  cols: u32,        // patches from left to right
  num_tokens: u32,  // tokens of one image: cls, registers, patches
  // First workgroup of a range. On a slow adapter, a dispatch is cut into ranges of its workgroups. Kernels
  // whose dispatch can be cut (see `lowering.ts`) add this offset to workgroup_id. (0, 0, 0) if the dispatch
  // is not cut.
  first_workgroup: vec3u,
}
