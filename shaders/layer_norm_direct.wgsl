// Computes the LayerNorm of every row of x, as in layer_norm.wgsl, for software adapters: each lane computes
// one row, without workgroup memory and without barriers.
//
//   x, out        (batch · num_tokens, EMBED_DIM)
//   weight, bias  (EMBED_DIM)
//
// Constants: EMBED_DIM (a multiple of 4), EPS (f32). Workgroups: (x, y) with 4 · x · y >= batch · num_tokens.

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

const VECTORS = EMBED_DIM / 4u;

@compute @workgroup_size(4)
fn layer_norm_direct(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let row = id.y * workgroups.x * 4u + id.x;
  if (row >= size.batch * size.num_tokens) {
    return;
  }
  let first = row * VECTORS;
  var sums = vec4f();
  for (var i = 0u; i < VECTORS; i++) {
    sums += x[first + i];
  }
  let mean = dot(sums, vec4f(1.0)) / f32(EMBED_DIM);
  var squares = vec4f();
  for (var i = 0u; i < VECTORS; i++) {
    let distance = x[first + i] - mean;
    squares = fma(distance, distance, squares);
  }
  let variance = dot(squares, vec4f(1.0)) / f32(EMBED_DIM);
  let scale = 1.0 / sqrt(variance + EPS);
  for (var i = 0u; i < VECTORS; i++) {
    out[first + i] = fma((x[first + i] - mean) * scale, weight[i], bias[i]);
  }
}
