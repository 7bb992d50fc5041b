// A linear layer for GPUs and few rows, with f16 arithmetic: like linear_f16.wgsl, but with a tile of half the
// size, so that twice as many workgroups run. Both kernels compute the same runs (sums of 16 products in f16)
// and add them in the same order, so the bits are the same. linear_f16.wgsl explains why no run overflows. The
// tile, the buffers and the entry points are those of linear_narrow.wgsl.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         f16 panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES),
//                  padded with zeros beyond IN_FEATURES
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 32).

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
const LANES_Y = 8u;         // lanes of a workgroup along y
const TILE_ROWS = 32u;
const TILE_K = 32u;     // two runs
const COLUMN_GROUPS = 16u;  // groups of 4 columns
const PITCH = 9u;           // TILE_K / 4, plus 1 to avoid bank conflicts

// Layout as in linear_f16.wgsl, but `tile_inverse` has two runs.
var<workgroup> tile_x: array<vec4<f16>, TILE_ROWS * PITCH>;
var<workgroup> tile_weight: array<vec4<f16>, 4u * COLUMN_GROUPS * PITCH>;
var<workgroup> tile_inverse: array<f32, 2u * TILE_ROWS>;

// One lane's 4 × 8 part of the product, without bias: the four rows from row 4 · local.y of the workgroup's
// tile on, at the column groups `left` and `right`.
struct Tile {
  left0: vec4f,
  left1: vec4f,
  left2: vec4f,
  left3: vec4f,
  right0: vec4f,
  right1: vec4f,
  right2: vec4f,
  right3: vec4f,
}

// The current run of each element of a `Tile`.
struct Run {
  left0: vec4<f16>,
  left1: vec4<f16>,
  left2: vec4<f16>,
  left3: vec4<f16>,
  right0: vec4<f16>,
  right1: vec4<f16>,
  right2: vec4<f16>,
  right3: vec4<f16>,
}

// Computes a tile. `first` is the tile's first row. `stored_group` is the group of four columns that this
// lane copies from `weight` to workgroup memory, where the group gets the index lane % 16.
fn multiply(first: u32, stored_group: u32, local: vec3u) -> Tile {
  // The operator % does not change the values here, but it tells Tint their ranges, so that Tint does not
  // clamp every index below.
  let lane_x = local.x % 8u;
  let lane_y = local.y % 8u;
  let lane = lane_y * 8u + lane_x;
  let last = size.batch * size.num_tokens - 1u;
  let group = min(stored_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let tail = is_tail(first);
  let turns = select(4u, 0u, tail); // see linear_f16.wgsl

  var tile: Tile;
  for (var step = select(0u, IN_PADDED / TILE_K, tail); step < IN_PADDED / TILE_K; step++) {
    // Each lane stages 16 values of one of the 32 rows, and the weights of one group of columns for every
    // fourth k.
    let stored = lane / TILE_ROWS; // the run that the 16 values belong to
    let stored_row = lane % TILE_ROWS;
    let slot = stored_row % 4u * 8u + stored_row / 4u;
    let scaled = load_block(min(first + stored_row, last), step * 2u + stored);
    let to = slot * PITCH + stored * 4u;
    tile_x[to] = scaled.x0;
    tile_x[to + 1u] = scaled.x1;
    tile_x[to + 2u] = scaled.x2;
    tile_x[to + 3u] = scaled.x3;
    tile_inverse[stored * TILE_ROWS + slot] = scaled.inverse;
    for (var i = 0u; i < TILE_K / 4u; i++) {
      tile_weight[lane * PITCH + i] = weight[base + (step * TILE_K + i * 4u + lane / COLUMN_GROUPS) * PANEL];
    }
    workgroupBarrier();
    for (var part = 0u; part < 2u; part++) {
      var run = Run(); // see linear_f16.wgsl
      for (var turn = 0u; turn < turns; turn++) {
        let at_x = lane_y * PITCH + part * 4u + turn % 4u;
        let at_weight = lane_x * PITCH + part * 4u + turn % 4u;
        let left0 = tile_weight[at_weight];
        let right0 = tile_weight[8u * PITCH + at_weight];
        let left1 = tile_weight[COLUMN_GROUPS * PITCH + at_weight];
        let right1 = tile_weight[(COLUMN_GROUPS + 8u) * PITCH + at_weight];
        let left2 = tile_weight[2u * COLUMN_GROUPS * PITCH + at_weight];
        let right2 = tile_weight[(2u * COLUMN_GROUPS + 8u) * PITCH + at_weight];
        let left3 = tile_weight[3u * COLUMN_GROUPS * PITCH + at_weight];
        let right3 = tile_weight[(3u * COLUMN_GROUPS + 8u) * PITCH + at_weight];
        let x0 = tile_x[at_x];
        let x1 = tile_x[8u * PITCH + at_x];
        let x2 = tile_x[16u * PITCH + at_x];
        let x3 = tile_x[24u * PITCH + at_x];
        run.left0 = fma(vec4<f16>(x0.w), left3, fma(vec4<f16>(x0.z), left2, fma(vec4<f16>(x0.y), left1, fma(vec4<f16>(x0.x), left0, run.left0))));
        run.right0 = fma(vec4<f16>(x0.w), right3, fma(vec4<f16>(x0.z), right2, fma(vec4<f16>(x0.y), right1, fma(vec4<f16>(x0.x), right0, run.right0))));
        run.left1 = fma(vec4<f16>(x1.w), left3, fma(vec4<f16>(x1.z), left2, fma(vec4<f16>(x1.y), left1, fma(vec4<f16>(x1.x), left0, run.left1))));
        run.right1 = fma(vec4<f16>(x1.w), right3, fma(vec4<f16>(x1.z), right2, fma(vec4<f16>(x1.y), right1, fma(vec4<f16>(x1.x), right0, run.right1))));
        run.left2 = fma(vec4<f16>(x2.w), left3, fma(vec4<f16>(x2.z), left2, fma(vec4<f16>(x2.y), left1, fma(vec4<f16>(x2.x), left0, run.left2))));
        run.right2 = fma(vec4<f16>(x2.w), right3, fma(vec4<f16>(x2.z), right2, fma(vec4<f16>(x2.y), right1, fma(vec4<f16>(x2.x), right0, run.right2))));
        run.left3 = fma(vec4<f16>(x3.w), left3, fma(vec4<f16>(x3.z), left2, fma(vec4<f16>(x3.y), left1, fma(vec4<f16>(x3.x), left0, run.left3))));
        run.right3 = fma(vec4<f16>(x3.w), right3, fma(vec4<f16>(x3.z), right2, fma(vec4<f16>(x3.y), right1, fma(vec4<f16>(x3.x), right0, run.right3))));
      }
      let inverse0 = vec4f(tile_inverse[part * TILE_ROWS + lane_y]);
      let inverse1 = vec4f(tile_inverse[part * TILE_ROWS + 8u + lane_y]);
      let inverse2 = vec4f(tile_inverse[part * TILE_ROWS + 16u + lane_y]);
      let inverse3 = vec4f(tile_inverse[part * TILE_ROWS + 24u + lane_y]);
      tile.left0 = fma(vec4f(run.left0), inverse0, tile.left0);
      tile.right0 = fma(vec4f(run.right0), inverse0, tile.right0);
      tile.left1 = fma(vec4f(run.left1), inverse1, tile.left1);
      tile.right1 = fma(vec4f(run.right1), inverse1, tile.right1);
      tile.left2 = fma(vec4f(run.left2), inverse2, tile.left2);
      tile.right2 = fma(vec4f(run.right2), inverse2, tile.right2);
      tile.left3 = fma(vec4f(run.left3), inverse3, tile.left3);
      tile.right3 = fma(vec4f(run.right3), inverse3, tile.right3);
    }
    workgroupBarrier();
  }
  return tile;
}
