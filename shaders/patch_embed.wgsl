// The patch embedding: a convolution of PATCH_SIZE × PATCH_SIZE with the same stride, computed as the product
// of each patch's pixels with a matrix. The pixels are read directly from the image, without an im2col
// buffer. Each lane computes 4 patches × 4 channels. The products are summed in the order (3, PATCH_SIZE,
// PATCH_SIZE), the order of the weights in a row of the matrix.
//
//   pixels  (batch, 3, rows · PATCH_SIZE, cols · PATCH_SIZE), normalised
//   weight  panels (EMBED_DIM / 64, IN_PADDED, 64) of the matrix (EMBED_DIM, IN_FEATURES), IN_FEATURES = 3 · PATCH_SIZE²
//   bias    (EMBED_DIM)
//   out     (batch · rows · cols, EMBED_DIM)
//
// Constants: EMBED_DIM, PATCH_SIZE (even), IN_PADDED.
// Workgroups: (ceil(EMBED_DIM / 64), ceil(batch · rows · cols / 16)).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> pixels: array<vec2f>;
@group(0) @binding(2) var<storage, read> weight: array<Weights4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;
const PAIRS = PATCH_SIZE / 2u;
const PANEL = 16u;  // vectors in a row of a panel

// Returns the index of the first pair of pixels of a patch. Patches beyond the last patch repeat the last
// patch.
fn first_pair(patch_row: u32) -> u32 {
  let num_patches = size.rows * size.cols;
  let clamped = min(patch_row, size.batch * num_patches - 1u);
  let image = clamped / num_patches;
  let index = clamped % num_patches;
  let row = index / size.cols;
  let col = index % size.cols;
  return (image * 3u * size.rows * PATCH_SIZE + row * PATCH_SIZE) * size.cols * PAIRS + col * PAIRS;
}

@compute @workgroup_size(16, 4)
fn patch_embed(@builtin(global_invocation_id) global: vec3u) {
  let id = size.first_workgroup * vec3u(16u, 4u, 1u) + global;
  let vector = id.x;
  let patch_row = id.y * 4u;
  let num_rows = size.batch * size.rows * size.cols;
  if (vector >= VECTORS || patch_row >= num_rows) {
    return;
  }
  let line = size.cols * PAIRS;
  let plane = size.rows * PATCH_SIZE * line;
  let from0 = first_pair(patch_row);
  let from1 = first_pair(patch_row + 1u);
  let from2 = first_pair(patch_row + 2u);
  let from3 = first_pair(patch_row + 3u);

  var sum0 = bias[vector];
  var sum1 = sum0;
  var sum2 = sum0;
  var sum3 = sum0;
  let scale = scale4(vector);
  var w = (vector / PANEL) * IN_PADDED * PANEL + vector % PANEL;
  for (var channel = 0u; channel < 3u; channel++) {
    for (var y = 0u; y < PATCH_SIZE; y++) {
      let offset = channel * plane + y * line;
      for (var pair = 0u; pair < PAIRS; pair++) {
        let w0 = weights4(weight[w], scale);
        let w1 = weights4(weight[w + PANEL], scale);
        w += 2u * PANEL;
        let p0 = pixels[from0 + offset + pair];
        let p1 = pixels[from1 + offset + pair];
        let p2 = pixels[from2 + offset + pair];
        let p3 = pixels[from3 + offset + pair];
        sum0 = fma(vec4f(p0.y), w1, fma(vec4f(p0.x), w0, sum0));
        sum1 = fma(vec4f(p1.y), w1, fma(vec4f(p1.x), w0, sum1));
        sum2 = fma(vec4f(p2.y), w1, fma(vec4f(p2.x), w0, sum2));
        sum3 = fma(vec4f(p3.y), w1, fma(vec4f(p3.x), w0, sum3));
      }
    }
  }
  out[patch_row * VECTORS + vector] = sum0;
  if (patch_row + 1u < num_rows) { out[(patch_row + 1u) * VECTORS + vector] = sum1; }
  if (patch_row + 2u < num_rows) { out[(patch_row + 2u) * VECTORS + vector] = sum2; }
  if (patch_row + 3u < num_rows) { out[(patch_row + 3u) * VECTORS + vector] = sum3; }
}
