// Scales the patch tokens of one image to length 1, so that the dot product of two of them is their cosine.
// A token of zeros stays zero. Each lane scales one token.
//
//   tokens      (batch · num_tokens, EMBED_DIM)
//   directions  (count, EMBED_DIM); or, with `panels`, the layout in which linear layers read their weights:
//               (ceil(count / 64), EMBED_DIM, 64). Columns of the last panel without a token are not written.
//   not_finite  1 for a token that contains NaN or infinity, else 0
//
// Constant: EMBED_DIM, a multiple of 64. Workgroups: ceil(count / 64).

struct DirectionsSize {
  first_token: u32,  // row of `tokens` with the first patch of the image
  count: u32,        // patches of the image
  panels: u32,       // 1: directions are written in panels
  first_flag: u32,   // index in not_finite of the first patch
}

@group(0) @binding(0) var<uniform> size: DirectionsSize;
@group(0) @binding(1) var<storage, read> tokens: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> directions: array<f32>;
@group(0) @binding(3) var<storage, read_write> not_finite: array<u32>;

const VECTORS = EMBED_DIM / 4u;
const PANEL_COLUMNS = 64u;
const INFINITY_BITS = 0x7f800000u;

@compute @workgroup_size(64)
fn patch_directions(@builtin(global_invocation_id) id: vec3u) {
  let index = id.x;
  if (index >= size.count) {
    return;
  }
  let first = (size.first_token + index) * VECTORS;
  // As integers, the bits of positive floats are in the order of the floats, with NaN and infinity last. So
  // this maximum finds NaN and infinity too. A comparison of floats may not: compilers assume that there are
  // none.
  var largest4 = vec4u();
  for (var i = 0u; i < VECTORS; i++) {
    largest4 = max(largest4, bitcast<vec4u>(tokens[first + i]) & vec4u(0x7fffffffu));
  }
  let largest = max(max(largest4.x, largest4.y), max(largest4.z, largest4.w));
  not_finite[size.first_flag + index] = select(0u, 1u, largest >= INFINITY_BITS);

  // A power of two that brings the largest magnitude to between 1 and 4, so that no square overflows. The
  // multiplication is exact, so it does not change the bits of the result.
  let exponent = min(largest >> 23u, 253u);
  let scale = bitcast<f32>((254u - exponent) << 23u);
  var squares = vec4f();
  for (var i = 0u; i < VECTORS; i++) {
    let value = tokens[first + i] * scale;
    squares = fma(value, value, squares);
  }
  let length = sqrt(squares.x + squares.y + squares.z + squares.w);
  let factor = select(0.0, 1.0 / length, length > 0.0);

  let in_panels = size.panels != 0u;
  let panel = index / PANEL_COLUMNS * PANEL_COLUMNS * EMBED_DIM + index % PANEL_COLUMNS;
  let begin = select(index * EMBED_DIM, panel, in_panels);
  let step = select(1u, PANEL_COLUMNS, in_panels);
  for (var i = 0u; i < VECTORS; i++) {
    let value = tokens[first + i] * scale * factor;
    let at = begin + 4u * i * step;
    directions[at] = value.x;
    directions[at + step] = value.y;
    directions[at + 2u * step] = value.z;
    directions[at + 3u * step] = value.w;
  }
}
