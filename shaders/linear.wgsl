// A linear layer for GPUs: x · weightᵀ + bias, followed by the operation of the entry point. Both operands
// are staged in workgroup memory, and the product is kept in registers. k is the index of the input feature,
// over which the products are summed.
//
// One workgroup of LANES_X × 8 lanes computes a tile of 64 rows × 8 · LANES_X columns. A lane computes 8 rows
// × 8 columns, in groups of 4: the rows from 4 · local.y on and from 32 + 4 · local.y on, and the column
// groups `left` and `right`, which are half a tile apart (SwiGLU: gate and up). A step of the outer loop
// processes 16 values of k. LANES_X is 8 or 16. With 16, x is read half as often.
//
// linear_narrow.wgsl and linear_small.wgsl have smaller tiles, for few rows. All three kernels add the
// products of an element in the order of k, so the bits are the same. All three kernels sum a remainder of at
// most 8 rows without a tile (`is_tail`, `tail_row`).
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES), padded
//                  with zeros beyond IN_FEATURES
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 16), LANES_X; the type
// Operand4 of staged weights.

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
const TILE_K = 16u;
const GROUPS = 16u;     // groups of 4 rows in a tile; COLUMN_GROUPS: groups of 4 columns
const COLUMN_GROUPS = 2u * LANES_X;
const PITCH = 9u;       // TILE_K / 2, plus 1 to avoid bank conflicts

// Iteration `turn` of the inner loop processes two values of k: `even` (parity 0) and `odd` (parity 1). Both
// arrays are indexed by (parity · GROUPS + group) · PITCH + turn. So all elements that an iteration reads are
// at constant distances from one of two indices, which increase by one per iteration. Any other index would
// cost an instruction.
//   tile_x       rows 4 · group to 4 · group + 3 at k = 2 · turn + parity
//   tile_weight  columns 4 · group to 4 · group + 3 at k = 2 · turn + parity
var<workgroup> tile_x: array<vec4f, 2u * GROUPS * PITCH>;
var<workgroup> tile_weight: array<Operand4, 2u * COLUMN_GROUPS * PITCH>;

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
  let scale = scale4(group);
  let at_x = lane_y * PITCH;
  let at_weight = lane_x * PITCH;

  var tile: Tile;
  for (var step = select(0u, IN_PADDED / TILE_K, is_tail(first)); step < IN_PADDED / TILE_K; step++) {
    // Each of the first 64 lanes stages 4 values of k for one of the 16 groups of rows. Each lane stages the
    // weights of one group of columns for every fourth k.
    if (LANES_X == 8u || lane < 64u) {
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
      tile_x[GROUPS * PITCH + to] = vec4f(x0.y, x1.y, x2.y, x3.y);
      tile_x[to + 1u] = vec4f(x0.z, x1.z, x2.z, x3.z);
      tile_x[GROUPS * PITCH + to + 1u] = vec4f(x0.w, x1.w, x2.w, x3.w);
    }
    for (var i = 0u; i < 4u; i++) {
      let k = i * 4u + lane / COLUMN_GROUPS;
      tile_weight[((k % 2u) * COLUMN_GROUPS + lane % COLUMN_GROUPS) * PITCH + k / 2u] = Operand4(weights4(weight[base + (step * TILE_K + k) * PANEL], scale));
    }
    workgroupBarrier();
    for (var turn = 0u; turn < TILE_K / 2u; turn++) {
      let even0 = tile_x[at_x + turn];
      let odd0 = tile_x[GROUPS * PITCH + at_x + turn];
      let even_left = vec4f(tile_weight[at_weight + turn]);
      let even_right = vec4f(tile_weight[LANES_X * PITCH + at_weight + turn]);
      let odd_left = vec4f(tile_weight[COLUMN_GROUPS * PITCH + at_weight + turn]);
      let odd_right = vec4f(tile_weight[(COLUMN_GROUPS + LANES_X) * PITCH + at_weight + turn]);
      let odd4 = tile_x[(GROUPS + 8u) * PITCH + at_x + turn];
      let even4 = tile_x[8u * PITCH + at_x + turn];
      // The even and the odd product of a sum are added directly one after the other. Otherwise Mesa's
      // compiler for Intel GPUs would need an extra register. Of about 150 orders of these lines, this order
      // has the fewest waits on Intel Arc.
      tile.right0 = fma(vec4f(odd0.x), odd_right, fma(vec4f(even0.x), even_right, tile.right0));
      tile.left0 = fma(vec4f(odd0.x), odd_left, fma(vec4f(even0.x), even_left, tile.left0));
      tile.right1 = fma(vec4f(odd0.y), odd_right, fma(vec4f(even0.y), even_right, tile.right1));
      tile.left1 = fma(vec4f(odd0.y), odd_left, fma(vec4f(even0.y), even_left, tile.left1));
      tile.right2 = fma(vec4f(odd0.z), odd_right, fma(vec4f(even0.z), even_right, tile.right2));
      tile.left2 = fma(vec4f(odd0.z), odd_left, fma(vec4f(even0.z), even_left, tile.left2));
      tile.right3 = fma(vec4f(odd0.w), odd_right, fma(vec4f(even0.w), even_right, tile.right3));
      tile.left3 = fma(vec4f(odd0.w), odd_left, fma(vec4f(even0.w), even_left, tile.left3));
      tile.right4 = fma(vec4f(odd4.x), odd_right, fma(vec4f(even4.x), even_right, tile.right4));
      tile.left4 = fma(vec4f(odd4.x), odd_left, fma(vec4f(even4.x), even_left, tile.left4));
      tile.right5 = fma(vec4f(odd4.y), odd_right, fma(vec4f(even4.y), even_right, tile.right5));
      tile.left5 = fma(vec4f(odd4.y), odd_left, fma(vec4f(even4.y), even_left, tile.left5));
      tile.right6 = fma(vec4f(odd4.z), odd_right, fma(vec4f(even4.z), even_right, tile.right6));
      tile.left6 = fma(vec4f(odd4.z), odd_left, fma(vec4f(even4.z), even_left, tile.left6));
      tile.right7 = fma(vec4f(odd4.w), odd_right, fma(vec4f(even4.w), even_right, tile.right7));
      tile.left7 = fma(vec4f(odd4.w), odd_left, fma(vec4f(even4.w), even_left, tile.left7));
    }
    workgroupBarrier();
  }
  return tile;
}
