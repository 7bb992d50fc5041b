// Computes, for every patch of an image, the probability that it belongs to the object of a segmenter: the
// logistic function of direction · weights + bias, where the direction of a patch is its token divided by
// the token's length. A token of zeros has the direction 0. Each lane computes one patch.
//
//   x              (tokens, EMBED_DIM); the image's patches are num_patches tokens from first_token
//   segmenter      EMBED_DIM weights, then the bias and three unused numbers
//   probabilities  (num_patches) f32, written as bits: 0 to 1; NaN if the token contains NaN or infinity, or if
//                  its squared length is above the range of f32
//
// Constants: EMBED_DIM (a multiple of 4). Workgroups: ceil(num_patches / 16), in several lines along y if
// there are more than 65,535.

struct SegmentImage {
  first_token: u32,
  num_patches: u32,
}

@group(0) @binding(0) var<uniform> image: SegmentImage;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> segmenter: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> probabilities: array<u32>;

const VECTORS = EMBED_DIM / 4u;
const INFINITE_BITS = 0x7f800000u;
const NAN_BITS = 0x7fc00000u;

@compute @workgroup_size(16)
fn segment_patches(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let group = workgroup.y * workgroups.x + workgroup.x;
  let patch_index = group * 16u + local.x;
  if (patch_index >= image.num_patches) {
    return;
  }
  let begin = (image.first_token + patch_index) * VECTORS;
  var products = vec4f();
  var squares = vec4f();
  // Tests the bits, because a compiler may assume that values are finite.
  var largest = vec4u();
  for (var i = 0u; i < VECTORS; i++) {
    let value = x[begin + i];
    products = fma(value, segmenter[i], products);
    squares = fma(value, value, squares);
    largest = max(largest, bitcast<vec4u>(value) & vec4u(INFINITE_BITS));
  }
  let length_squared = squares.x + squares.y + squares.z + squares.w;
  let bits = max(max(max(largest.x, largest.y), max(largest.z, largest.w)), bitcast<u32>(length_squared));
  let scale = select(0.0, inverseSqrt(length_squared), length_squared > 0.0);
  let logit = (products.x + products.y + products.z + products.w) * scale + segmenter[VECTORS].x;
  // Beyond this range, exp could exceed the largest f32.
  let probability = 1.0 / (1.0 + exp(clamp(-logit, -80.0, 80.0)));
  probabilities[patch_index] = select(bitcast<u32>(probability), NAN_BITS, bits >= INFINITE_BITS);
}
