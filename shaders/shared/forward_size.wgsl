
// What changes from one forward to the next: everything else about a model is a constant.
struct ForwardSize {
  batch: u32,       // images
  rows: u32,        // patches from top to bottom of an image
  cols: u32,        // patches from left to right
  num_tokens: u32,  // tokens of one image: cls, registers, patches
}
