
// What changes from one forward to the next: everything else about a model is a constant.
struct ForwardSize {
  batch: u32,       // images
  rows: u32,        // patches from top to bottom of an image
  cols: u32,        // patches from left to right
  num_tokens: u32,  // tokens of one image: cls, registers, patches
  // Zeros, or where a range begins: on slow adapters a dispatch is cut into ranges of its workgroups. Kernels that lowering.ts allows to be cut add it to workgroup_id.
  first_workgroup: vec3u,
}
