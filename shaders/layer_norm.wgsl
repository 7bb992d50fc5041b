// Computes the LayerNorm of every row of x: (x - mean) / sqrt(variance + eps) · weight + bias. Each workgroup
// of 64 lanes computes one row; lane l processes columns 4l …, 4l + 256 …, and so on. Sums are f32. The
// variance is computed in a second pass as the mean of the squared distances from the mean: E[x²] - mean²
// would lose digits on tokens with large norms.
//
//   x, out        (batch · num_tokens, EMBED_DIM)
//   weight, bias  (EMBED_DIM)
//
// Constants: EMBED_DIM (a multiple of 4), EPS (f32). Workgroups: (x, y) with x · y >= batch · num_tokens.

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

const LANES = 64u;
const VECTORS = EMBED_DIM / 4u;

var<workgroup> partial_sums: array<f32, LANES>;

// Returns the sum of `value` over all lanes, with the same bits in every lane. All lanes of the workgroup
// must call this function.
fn workgroup_sum(lane: u32, value: f32) -> f32 {
  partial_sums[lane] = value;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step = step / 2u) {
    if (lane < step) {
      partial_sums[lane] += partial_sums[lane + step];
    }
    workgroupBarrier();
  }
  let sum = partial_sums[0];
  workgroupBarrier();  // every lane has read the result before the next call writes to `partial_sums`
  return sum;
}

@compute @workgroup_size(LANES)
fn layer_norm(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let lane = local.x;
  // More than 65,535 rows are dispatched in several lines along y. Workgroups beyond the last row, at the end
  // of the last line, compute the last row again and store nothing.
  let row = workgroup.y * workgroups.x + workgroup.x;
  let num_rows = size.batch * size.num_tokens;
  let first = min(row, num_rows - 1u) * VECTORS;

  var sum = 0.0;
  for (var i = lane; i < VECTORS; i += LANES) {
    sum += dot(x[first + i], vec4f(1.0));
  }
  let mean = workgroup_sum(lane, sum) / f32(EMBED_DIM);

  var squares = 0.0;
  for (var i = lane; i < VECTORS; i += LANES) {
    let distance = x[first + i] - mean;
    squares += dot(distance, distance);
  }
  let variance = workgroup_sum(lane, squares) / f32(EMBED_DIM);
  let scale = 1.0 / sqrt(variance + EPS);

  if (row < num_rows) {
    for (var i = lane; i < VECTORS; i += LANES) {
      out[first + i] = fma((x[first + i] - mean) * scale, weight[i], bias[i]);
    }
  }
}
