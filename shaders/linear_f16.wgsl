// A linear layer for GPUs, like linear.wgsl, but with f16 arithmetic: for GPUs that compute with f16 twice as
// fast as with f32. The tile, the buffers and the entry points are those of linear.wgsl.
//
// A run is the sum of the products of 16 consecutive values of k (k is the index of the input feature), in
// f16. Each run is multiplied by a power of two in f32 and added to a sum in f32, in the order of k. The power
// of two undoes the scale of x: for each row and run, x is scaled so that the largest of its 16 magnitudes
// becomes 256 or more, but less than 512 (`load_block` in linear_load_f16.wgsl).
//
// Therefore no run overflows, whatever finite values x has:
//   1. a staged x is at most 512, and a weight is at most 4 (`F16_ARITHMETIC_LIMIT`, checked on loading);
//   2. so the 16 products of a run sum up to at most 16 · 512 · 4 = 32,768 in magnitude;
//   3. 16 roundings of 2⁻¹¹ each enlarge that by less than 1 %, and the largest f16 number is 65,504.
//
// A value of x that is 2 ** 22 times smaller than the largest of its run is rounded to a multiple of 2 ** -24
// in f16, as are its products. So a run is less accurate if its largest value exceeds the others 10 ** 6 times
// or more, and has weights near zero. At 10 ** 6, in all runs of a row, the cosine is 1 - 1e-6 (bench/RESULTS.md).
//
// linear_narrow_f16.wgsl has a smaller tile, for few rows. Both kernels compute the same runs and add them in
// the same order, so the bits are the same.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         f16 panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES),
//                  padded with zeros beyond IN_FEATURES
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 16), LANES_X.

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<Weights4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
// Bindings of the entry point linear_scale_residual only.
@group(0) @binding(4) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(5) var<storage, read> residual: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> out_scaled: array<vec4f>;

const IN_VECTORS = IN_FEATURES / 4u;
const OUT_VECTORS = OUT_FEATURES / 4u;
const PANEL = 16u;      // vectors in a row of a panel
const TILE_ROWS = 64u;
const TILE_K = 16u;     // a run
const COLUMN_GROUPS = 2u * LANES_X;
const PITCH = 5u;       // TILE_K / 4, plus 1 to avoid bank conflicts

// Iteration `turn` of the inner loop processes four values of k. All elements that an iteration reads are at
// constant distances from one of two indices.
//   tile_x        slot · PITCH + turn: four values of k of one row. Slot j · 8 + local.y is the lane's row j
//   tile_weight   ((k % 4) · COLUMN_GROUPS + group) · PITCH + k / 4: columns 4 · group to 4 · group + 3
//   tile_inverse  slot: `Block.inverse` of the row
var<workgroup> tile_x: array<vec4<f16>, TILE_ROWS * PITCH>;
var<workgroup> tile_weight: array<vec4<f16>, 4u * COLUMN_GROUPS * PITCH>;
var<workgroup> tile_inverse: array<f32, TILE_ROWS>;

// One lane's 8 × 8 part of the product, without bias, at the column groups `left` and `right`. Members 0 to 3
// are the four rows from row 4 · local.y of the workgroup's tile on; members 4 to 7 are the four rows from
// row 32 + 4 · local.y on.
struct Tile {
  left0: vec4f,
  left1: vec4f,
  left2: vec4f,
  left3: vec4f,
  left4: vec4f,
  left5: vec4f,
  left6: vec4f,
  left7: vec4f,
  right0: vec4f,
  right1: vec4f,
  right2: vec4f,
  right3: vec4f,
  right4: vec4f,
  right5: vec4f,
  right6: vec4f,
  right7: vec4f,
}

// The current run of each element of a `Tile`.
struct Run {
  left0: vec4<f16>,
  left1: vec4<f16>,
  left2: vec4<f16>,
  left3: vec4<f16>,
  left4: vec4<f16>,
  left5: vec4<f16>,
  left6: vec4<f16>,
  left7: vec4<f16>,
  right0: vec4<f16>,
  right1: vec4<f16>,
  right2: vec4<f16>,
  right3: vec4<f16>,
  right4: vec4<f16>,
  right5: vec4<f16>,
  right6: vec4<f16>,
  right7: vec4<f16>,
}

// Computes a tile. `first` is the tile's first row. `stored_group` is the group of four columns that this
// lane copies from `weight` to workgroup memory, where the group gets the index lane % COLUMN_GROUPS.
fn multiply(first: u32, stored_group: u32, local: vec3u) -> Tile {
  // The operator % does not change the values here, but it tells Tint their ranges, so that Tint does not
  // clamp every index below.
  let lane_x = local.x % LANES_X;
  let lane_y = local.y % 8u;
  let lane = lane_y * LANES_X + lane_x;
  let last = size.batch * size.num_tokens - 1u;
  let group = min(stored_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let tail = is_tail(first);
  // The number of turns is always 4 where the loop runs. Compilers do not know that, and so do not unroll the
  // loop. Unrolled, it would need 232 instead of 144 registers on AMD's RDNA 2. The remainder `turn % 4u` tells
  // Tint the range.
  let turns = select(4u, 0u, tail);

  var tile: Tile;
  for (var step = select(0u, IN_PADDED / TILE_K, tail); step < IN_PADDED / TILE_K; step++) {
    // Each of the first 64 lanes stages the 16 values of one row. Each lane stages the weights of one group of
    // columns for every fourth k.
    if (LANES_X == 8u || lane < 64u) {
      let slot = (lane / 32u * 4u + lane % 4u) * 8u + lane % 32u / 4u;
      let scaled = load_block(min(first + lane, last), step);
      let to = slot * PITCH;
      tile_x[to] = scaled.x0;
      tile_x[to + 1u] = scaled.x1;
      tile_x[to + 2u] = scaled.x2;
      tile_x[to + 3u] = scaled.x3;
      tile_inverse[slot] = scaled.inverse;
    }
    for (var i = 0u; i < TILE_K / 4u; i++) {
      tile_weight[lane * PITCH + i] = weight[base + (step * TILE_K + i * 4u + lane / COLUMN_GROUPS) * PANEL];
    }
    workgroupBarrier();
    var run = Run(); // not `var run: Run`: Tint sets that to zero only once, not in each iteration
    for (var turn = 0u; turn < turns; turn++) {
      let at_x = lane_y * PITCH + turn % 4u;
      let at_weight = lane_x * PITCH + turn % 4u;
      let left0 = tile_weight[at_weight];
      let right0 = tile_weight[LANES_X * PITCH + at_weight];
      let left1 = tile_weight[COLUMN_GROUPS * PITCH + at_weight];
      let right1 = tile_weight[(COLUMN_GROUPS + LANES_X) * PITCH + at_weight];
      let left2 = tile_weight[2u * COLUMN_GROUPS * PITCH + at_weight];
      let right2 = tile_weight[(2u * COLUMN_GROUPS + LANES_X) * PITCH + at_weight];
      let left3 = tile_weight[3u * COLUMN_GROUPS * PITCH + at_weight];
      let right3 = tile_weight[(3u * COLUMN_GROUPS + LANES_X) * PITCH + at_weight];
      let x0 = tile_x[at_x];
      let x1 = tile_x[8u * PITCH + at_x];
      let x2 = tile_x[16u * PITCH + at_x];
      let x3 = tile_x[24u * PITCH + at_x];
      let x4 = tile_x[32u * PITCH + at_x];
      let x5 = tile_x[40u * PITCH + at_x];
      let x6 = tile_x[48u * PITCH + at_x];
      let x7 = tile_x[56u * PITCH + at_x];
      run.left0 = fma(vec4<f16>(x0.w), left3, fma(vec4<f16>(x0.z), left2, fma(vec4<f16>(x0.y), left1, fma(vec4<f16>(x0.x), left0, run.left0))));
      run.right0 = fma(vec4<f16>(x0.w), right3, fma(vec4<f16>(x0.z), right2, fma(vec4<f16>(x0.y), right1, fma(vec4<f16>(x0.x), right0, run.right0))));
      run.left1 = fma(vec4<f16>(x1.w), left3, fma(vec4<f16>(x1.z), left2, fma(vec4<f16>(x1.y), left1, fma(vec4<f16>(x1.x), left0, run.left1))));
      run.right1 = fma(vec4<f16>(x1.w), right3, fma(vec4<f16>(x1.z), right2, fma(vec4<f16>(x1.y), right1, fma(vec4<f16>(x1.x), right0, run.right1))));
      run.left2 = fma(vec4<f16>(x2.w), left3, fma(vec4<f16>(x2.z), left2, fma(vec4<f16>(x2.y), left1, fma(vec4<f16>(x2.x), left0, run.left2))));
      run.right2 = fma(vec4<f16>(x2.w), right3, fma(vec4<f16>(x2.z), right2, fma(vec4<f16>(x2.y), right1, fma(vec4<f16>(x2.x), right0, run.right2))));
      run.left3 = fma(vec4<f16>(x3.w), left3, fma(vec4<f16>(x3.z), left2, fma(vec4<f16>(x3.y), left1, fma(vec4<f16>(x3.x), left0, run.left3))));
      run.right3 = fma(vec4<f16>(x3.w), right3, fma(vec4<f16>(x3.z), right2, fma(vec4<f16>(x3.y), right1, fma(vec4<f16>(x3.x), right0, run.right3))));
      run.left4 = fma(vec4<f16>(x4.w), left3, fma(vec4<f16>(x4.z), left2, fma(vec4<f16>(x4.y), left1, fma(vec4<f16>(x4.x), left0, run.left4))));
      run.right4 = fma(vec4<f16>(x4.w), right3, fma(vec4<f16>(x4.z), right2, fma(vec4<f16>(x4.y), right1, fma(vec4<f16>(x4.x), right0, run.right4))));
      run.left5 = fma(vec4<f16>(x5.w), left3, fma(vec4<f16>(x5.z), left2, fma(vec4<f16>(x5.y), left1, fma(vec4<f16>(x5.x), left0, run.left5))));
      run.right5 = fma(vec4<f16>(x5.w), right3, fma(vec4<f16>(x5.z), right2, fma(vec4<f16>(x5.y), right1, fma(vec4<f16>(x5.x), right0, run.right5))));
      run.left6 = fma(vec4<f16>(x6.w), left3, fma(vec4<f16>(x6.z), left2, fma(vec4<f16>(x6.y), left1, fma(vec4<f16>(x6.x), left0, run.left6))));
      run.right6 = fma(vec4<f16>(x6.w), right3, fma(vec4<f16>(x6.z), right2, fma(vec4<f16>(x6.y), right1, fma(vec4<f16>(x6.x), right0, run.right6))));
      run.left7 = fma(vec4<f16>(x7.w), left3, fma(vec4<f16>(x7.z), left2, fma(vec4<f16>(x7.y), left1, fma(vec4<f16>(x7.x), left0, run.left7))));
      run.right7 = fma(vec4<f16>(x7.w), right3, fma(vec4<f16>(x7.z), right2, fma(vec4<f16>(x7.y), right1, fma(vec4<f16>(x7.x), right0, run.right7))));
    }
    let inverse0 = vec4f(tile_inverse[lane_y]);
    let inverse1 = vec4f(tile_inverse[8u + lane_y]);
    let inverse2 = vec4f(tile_inverse[16u + lane_y]);
    let inverse3 = vec4f(tile_inverse[24u + lane_y]);
    let inverse4 = vec4f(tile_inverse[32u + lane_y]);
    let inverse5 = vec4f(tile_inverse[40u + lane_y]);
    let inverse6 = vec4f(tile_inverse[48u + lane_y]);
    let inverse7 = vec4f(tile_inverse[56u + lane_y]);
    tile.left0 = fma(vec4f(run.left0), inverse0, tile.left0);
    tile.right0 = fma(vec4f(run.right0), inverse0, tile.right0);
    tile.left1 = fma(vec4f(run.left1), inverse1, tile.left1);
    tile.right1 = fma(vec4f(run.right1), inverse1, tile.right1);
    tile.left2 = fma(vec4f(run.left2), inverse2, tile.left2);
    tile.right2 = fma(vec4f(run.right2), inverse2, tile.right2);
    tile.left3 = fma(vec4f(run.left3), inverse3, tile.left3);
    tile.right3 = fma(vec4f(run.right3), inverse3, tile.right3);
    tile.left4 = fma(vec4f(run.left4), inverse4, tile.left4);
    tile.right4 = fma(vec4f(run.right4), inverse4, tile.right4);
    tile.left5 = fma(vec4f(run.left5), inverse5, tile.left5);
    tile.right5 = fma(vec4f(run.right5), inverse5, tile.right5);
    tile.left6 = fma(vec4f(run.left6), inverse6, tile.left6);
    tile.right6 = fma(vec4f(run.right6), inverse6, tile.right6);
    tile.left7 = fma(vec4f(run.left7), inverse7, tile.left7);
    tile.right7 = fma(vec4f(run.right7), inverse7, tile.right7);
    workgroupBarrier();
  }
  return tile;
}
