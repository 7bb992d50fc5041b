// A linear layer for GPUs: like linear_narrow.wgsl, each lane computes 4 rows × 8 columns, but 8 × 32 lanes
// compute a tile of 128 rows × 64 columns. The tile reads weights from storage a quarter as often as
// linear_narrow.wgsl, and needs fewer registers than linear.wgsl, so more subgroups run on a multiprocessor.
// Used only after `tune()` has measured it. The kernels linear, linear_narrow, linear_small and linear_tall
// add the products of an element in the order of k (the index of the input feature), so their bits are the
// same.
//
// The rows of a lane begin at row 4 · local.y. Its column groups `left` and `right` are 32 columns apart in
// the tile (SwiGLU: gate and up). A step of the outer loop processes 16 values of k.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES), padded
//                  with zeros beyond IN_FEATURES
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 16); the type Operand4 of
// staged weights.

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
const PANEL = 16u;          // vectors in a row of a panel
const LANES_Y = 32u;        // lanes of a workgroup along y
const TILE_ROWS = 128u;
const TILE_K = 16u;
const COLUMN_GROUPS = 16u;  // groups of 4 columns in a tile; LANES_Y: groups of 4 rows
const PITCH = 9u;           // TILE_K / 2, plus 1 to avoid bank conflicts

// Layout as in linear.wgsl: an iteration of the inner loop processes two values of k, and both arrays are
// indexed by (k % 2 · groups + group) · PITCH + k / 2.
var<workgroup> tile_x: array<vec4f, 2u * LANES_Y * PITCH>;
var<workgroup> tile_weight: array<Operand4, 2u * COLUMN_GROUPS * PITCH>;

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

// Computes a tile. `first` is the tile's first row. `stored_group` is the group of four columns that this
// lane copies from `weight` to workgroup memory, where the group gets the index lane % 16.
fn multiply(first: u32, stored_group: u32, local: vec3u) -> Tile {
  // The operator % does not change the values here, but it tells Tint their ranges, so that Tint does not
  // clamp every index below.
  let lane_x = local.x % 8u;
  let lane_y = local.y % LANES_Y;
  let lane = lane_y * 8u + lane_x;
  let last = size.batch * size.num_tokens - 1u;
  let group = min(stored_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let scale = scale4(group);
  let at_x = lane_y * PITCH;
  let at_weight = lane_x * PITCH;

  var tile: Tile;
  for (var step = select(0u, IN_PADDED / TILE_K, is_tail(first)); step < IN_PADDED / TILE_K; step++) {
    // Each of the first 128 lanes stages 4 values of k for one of the 32 groups of rows. Each lane stages the
    // weights of one group of columns for one k.
    if (lane < 4u * LANES_Y) {
      let quarter = lane % 4u;
      let row_group = lane / 4u;
      let row = first + row_group * 4u;
      let vector = step * (TILE_K / 4u) + quarter;
      let x0 = load_x(min(row, last), vector);
      let x1 = load_x(min(row + 1u, last), vector);
      let x2 = load_x(min(row + 2u, last), vector);
      let x3 = load_x(min(row + 3u, last), vector);
      let to = row_group * PITCH + quarter * 2u;
      tile_x[to] = vec4f(x0.x, x1.x, x2.x, x3.x);
      tile_x[LANES_Y * PITCH + to] = vec4f(x0.y, x1.y, x2.y, x3.y);
      tile_x[to + 1u] = vec4f(x0.z, x1.z, x2.z, x3.z);
      tile_x[LANES_Y * PITCH + to + 1u] = vec4f(x0.w, x1.w, x2.w, x3.w);
    }
    let k = lane / COLUMN_GROUPS;
    tile_weight[((k % 2u) * COLUMN_GROUPS + lane % COLUMN_GROUPS) * PITCH + k / 2u] = Operand4(weights4(weight[base + (step * TILE_K + k) * PANEL], scale));
    workgroupBarrier();
    for (var turn = 0u; turn < TILE_K / 2u; turn++) {
      let even_left = vec4f(tile_weight[at_weight + turn]);
      let even_right = vec4f(tile_weight[8u * PITCH + at_weight + turn]);
      let odd_left = vec4f(tile_weight[COLUMN_GROUPS * PITCH + at_weight + turn]);
      let odd_right = vec4f(tile_weight[(COLUMN_GROUPS + 8u) * PITCH + at_weight + turn]);
      let even = tile_x[at_x + turn];
      let odd = tile_x[LANES_Y * PITCH + at_x + turn];
      tile.left0 = fma(vec4f(odd.x), odd_left, fma(vec4f(even.x), even_left, tile.left0));
      tile.right0 = fma(vec4f(odd.x), odd_right, fma(vec4f(even.x), even_right, tile.right0));
      tile.left1 = fma(vec4f(odd.y), odd_left, fma(vec4f(even.y), even_left, tile.left1));
      tile.right1 = fma(vec4f(odd.y), odd_right, fma(vec4f(even.y), even_right, tile.right1));
      tile.left2 = fma(vec4f(odd.z), odd_left, fma(vec4f(even.z), even_left, tile.left2));
      tile.right2 = fma(vec4f(odd.z), odd_right, fma(vec4f(even.z), even_right, tile.right2));
      tile.left3 = fma(vec4f(odd.w), odd_left, fma(vec4f(even.w), even_left, tile.left3));
      tile.right3 = fma(vec4f(odd.w), odd_right, fma(vec4f(even.w), even_right, tile.right3));
    }
    workgroupBarrier();
  }
  return tile;
}
