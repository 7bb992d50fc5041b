// Computes the colour of every patch of an image: the components of (x - mean) along four directions, scaled
// and shifted. The first component decides whether the patch is foreground. The other components are red,
// green and blue. Each is clamped to 0 … 1, or passed through a sigmoid with the same slope and value at 0.5.
// Each lane computes one patch.
//
//   x      (tokens, EMBED_DIM); the image's patches are num_patches tokens from first_token
//   basis  5 rows of EMBED_DIM: mean, direction of the foreground mask, directions of r, g, b; then four scales
//          and four shifts, each in the order mask, r, g, b
//   rgba   (num_patches): r, g, b, a of 8 bits each, r in the lowest byte; transparent black if the token contains
//          NaN or infinity
//
// Constants: EMBED_DIM (a multiple of 4). Workgroups: ceil(num_patches / 16), in several lines along y if
// there are more than 65,535.

struct PcaImage {
  first_token: u32,
  num_patches: u32,
  background: u32,  // colour of patches that are not foreground
  masked: u32,      // 0: all patches count as foreground
  sigmoid: u32,     // 0: clamp
}

@group(0) @binding(0) var<uniform> image: PcaImage;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> basis: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> rgba: array<u32>;

const VECTORS = EMBED_DIM / 4u;

@compute @workgroup_size(16)
fn pca_color(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let group = workgroup.y * workgroups.x + workgroup.x;
  let token = group * 16u + local.x;
  if (token >= image.num_patches) {
    return;
  }
  let begin = (image.first_token + token) * VECTORS;
  var score = vec4f();
  // Tests the bits, because a compiler may assume that values are finite.
  var largest = vec4u();
  for (var i = 0u; i < VECTORS; i++) {
    let value = x[begin + i] - basis[i];
    largest = max(largest, bitcast<vec4u>(x[begin + i]) & vec4u(0x7f800000u));
    score += vec4f(
      dot(value, basis[VECTORS + i]),
      dot(value, basis[2u * VECTORS + i]),
      dot(value, basis[3u * VECTORS + i]),
      dot(value, basis[4u * VECTORS + i]),
    );
  }
  let value = fma(score, basis[5u * VECTORS], basis[5u * VECTORS + 1u]);
  let clamped = clamp(value.yzw, vec3f(0.0), vec3f(1.0));
  // The argument is limited, because exp may overflow. The result is 0 or 255 far before.
  let curved = 1.0 / (1.0 + exp(clamp(2.0 - 4.0 * value.yzw, vec3f(-40.0), vec3f(40.0))));
  let channel = vec3u(select(clamped, curved, image.sigmoid != 0u) * 255.0 + 0.5);
  let color = channel.x | (channel.y << 8u) | (channel.z << 16u) | (255u << 24u);
  let shown = select(color, image.background, image.masked != 0u && value.x <= 0.0);
  // A token with NaN or infinity has no colour.
  let is_finite = max(max(largest.x, largest.y), max(largest.z, largest.w)) < 0x7f800000u;
  rgba[token] = select(0u, shown, is_finite);
}
