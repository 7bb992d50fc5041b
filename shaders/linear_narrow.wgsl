// A linear layer for GPUs and few rows: like linear.wgsl, but with a tile of half the size, so that twice as
// many workgroups run. Both kernels add the products of an element in the order of k (the index of the input
// feature), so the bits are the same.
//
// One workgroup of 8 × 8 lanes computes a tile of 32 rows × 64 columns. A lane computes 4 rows × 8 columns,
// in groups of 4: the rows from 4 · local.y on, and the column groups `left` and `right`, which are 32
// columns apart in the tile (SwiGLU: gate and up). A step of the outer loop processes 32 values of k.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES), padded
//                  with zeros beyond IN_FEATURES
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 32); the type Operand4 of
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
const PANEL = 16u;      // vectors in a row of a panel
const LANES_Y = 8u;         // lanes of a workgroup along y
const TILE_ROWS = 32u;
const TILE_K = 32u;
const ROW_GROUPS = 8u;      // groups of 4 rows in a tile
const COLUMN_GROUPS = 16u;  // groups of 4 columns
const PITCH = 9u;           // TILE_K / 4, plus 1 to avoid bank conflicts

// Layout as in linear.wgsl, but an iteration of the inner loop processes four values of k, and both arrays
// are indexed by (k % 4 · groups + group) · PITCH + k / 4.
var<workgroup> tile_x: array<vec4f, 4u * ROW_GROUPS * PITCH>;
var<workgroup> tile_weight: array<Operand4, 4u * COLUMN_GROUPS * PITCH>;

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
  let lane_y = local.y % 8u;
  let lane = lane_y * 8u + lane_x;
  let last = size.batch * size.num_tokens - 1u;
  let group = min(stored_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let scale = scale4(group);
  let at_x = lane_y * PITCH;
  let at_weight = lane_x * PITCH;

  var tile: Tile;
  for (var step = select(0u, IN_PADDED / TILE_K, is_tail(first)); step < IN_PADDED / TILE_K; step++) {
    // Each lane stages 4 values of k for one of the 8 groups of rows, and the weights of one group of columns
    // for every fourth k.
    let row = first + lane_y * 4u;
    let vector = step * (TILE_K / 4u) + lane_x;
    let x0 = load_x(min(row, last), vector);
    let x1 = load_x(min(row + 1u, last), vector);
    let x2 = load_x(min(row + 2u, last), vector);
    let x3 = load_x(min(row + 3u, last), vector);
    let to = lane_y * PITCH + lane_x;
    tile_x[to] = vec4f(x0.x, x1.x, x2.x, x3.x);
    tile_x[ROW_GROUPS * PITCH + to] = vec4f(x0.y, x1.y, x2.y, x3.y);
    tile_x[2u * ROW_GROUPS * PITCH + to] = vec4f(x0.z, x1.z, x2.z, x3.z);
    tile_x[3u * ROW_GROUPS * PITCH + to] = vec4f(x0.w, x1.w, x2.w, x3.w);
    let parity = lane / COLUMN_GROUPS;
    for (var i = 0u; i < TILE_K / 4u; i++) {
      tile_weight[(parity * COLUMN_GROUPS + lane % COLUMN_GROUPS) * PITCH + i] = Operand4(weights4(weight[base + (step * TILE_K + i * 4u + parity) * PANEL], scale));
    }
    workgroupBarrier();
    for (var turn = 0u; turn < TILE_K / 4u; turn++) {
      // The weights are loaded first. As a result, the first sum needs nearly all loads, so code from AMD's
      // compiler waits only once for most loads.
      let left0 = vec4f(tile_weight[at_weight + turn]);
      let right0 = vec4f(tile_weight[8u * PITCH + at_weight + turn]);
      let left1 = vec4f(tile_weight[COLUMN_GROUPS * PITCH + at_weight + turn]);
      let right1 = vec4f(tile_weight[(COLUMN_GROUPS + 8u) * PITCH + at_weight + turn]);
      let left2 = vec4f(tile_weight[2u * COLUMN_GROUPS * PITCH + at_weight + turn]);
      let right2 = vec4f(tile_weight[(2u * COLUMN_GROUPS + 8u) * PITCH + at_weight + turn]);
      let left3 = vec4f(tile_weight[3u * COLUMN_GROUPS * PITCH + at_weight + turn]);
      let right3 = vec4f(tile_weight[(3u * COLUMN_GROUPS + 8u) * PITCH + at_weight + turn]);
      let x0 = tile_x[at_x + turn];
      let x1 = tile_x[ROW_GROUPS * PITCH + at_x + turn];
      let x2 = tile_x[2u * ROW_GROUPS * PITCH + at_x + turn];
      let x3 = tile_x[3u * ROW_GROUPS * PITCH + at_x + turn];
      tile.left0 = fma(vec4f(x3.x), left3, fma(vec4f(x2.x), left2, fma(vec4f(x1.x), left1, fma(vec4f(x0.x), left0, tile.left0))));
      tile.right0 = fma(vec4f(x3.x), right3, fma(vec4f(x2.x), right2, fma(vec4f(x1.x), right1, fma(vec4f(x0.x), right0, tile.right0))));
      tile.left1 = fma(vec4f(x3.y), left3, fma(vec4f(x2.y), left2, fma(vec4f(x1.y), left1, fma(vec4f(x0.y), left0, tile.left1))));
      tile.right1 = fma(vec4f(x3.y), right3, fma(vec4f(x2.y), right2, fma(vec4f(x1.y), right1, fma(vec4f(x0.y), right0, tile.right1))));
      tile.left2 = fma(vec4f(x3.z), left3, fma(vec4f(x2.z), left2, fma(vec4f(x1.z), left1, fma(vec4f(x0.z), left0, tile.left2))));
      tile.right2 = fma(vec4f(x3.z), right3, fma(vec4f(x2.z), right2, fma(vec4f(x1.z), right1, fma(vec4f(x0.z), right0, tile.right2))));
      tile.left3 = fma(vec4f(x3.w), left3, fma(vec4f(x2.w), left2, fma(vec4f(x1.w), left1, fma(vec4f(x0.w), left0, tile.left3))));
      tile.right3 = fma(vec4f(x3.w), right3, fma(vec4f(x2.w), right2, fma(vec4f(x1.w), right1, fma(vec4f(x0.w), right0, tile.right3))));
    }
    workgroupBarrier();
  }
  return tile;
}
