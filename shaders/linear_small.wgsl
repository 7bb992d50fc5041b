// A linear layer for GPUs and very few rows: like linear_narrow.wgsl, but with a tile of half the size. The
// kernels linear, linear_narrow and linear_small add the products of an element in the order of k (the index
// of the input feature), so their bits are the same.
//
// One workgroup of 8 × 8 lanes computes a tile of 32 rows × 32 columns. A lane computes 4 rows × 4 columns;
// its first row is row 4 · local.y of the tile. A step of the outer loop processes 32 values of k.
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
const TILE_ROWS = 32u;
const TILE_K = 32u;
const GROUPS = 8u;      // groups of 4 rows, and of 4 columns, in a tile
const PITCH = 9u;       // TILE_K / 4, plus 1 to avoid bank conflicts

// Layout as in linear_narrow.wgsl: an iteration of the inner loop processes four values of k, and both arrays
// are indexed by (k % 4 · GROUPS + group) · PITCH + k / 4.
var<workgroup> tile_x: array<vec4f, 4u * GROUPS * PITCH>;
var<workgroup> tile_weight: array<Operand4, 4u * GROUPS * PITCH>;

// One lane's 4 × 4 part of the product, without bias: the four rows from row 4 · local.y on and the four
// columns from column 4 · local.x on of the workgroup's tile.
struct Tile {
  row0: vec4f,
  row1: vec4f,
  row2: vec4f,
  row3: vec4f,
}

// Computes a tile. `first` is the tile's first row. `column_group` is the lane's group of four columns. The
// lane also copies this group from `weight` to workgroup memory.
fn multiply(first: u32, column_group: u32, local: vec3u) -> Tile {
  // The operator % does not change the values here, but it tells Tint their ranges, so that Tint does not
  // clamp every index below.
  let lane_x = local.x % 8u;
  let lane_y = local.y % 8u;
  let last = size.batch * size.num_tokens - 1u;
  let group = min(column_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let scale = scale4(group);
  let at_x = lane_y * PITCH;
  let at_weight = lane_x * PITCH;

  var tile: Tile;
  for (var step = 0u; step < IN_PADDED / TILE_K; step++) {
    // Each lane stages 4 values of k for one group of rows, and the weights of one group of columns for every
    // eighth k.
    let row = first + lane_y * 4u;
    let vector = step * (TILE_K / 4u) + lane_x;
    let x0 = load_x(min(row, last), vector);
    let x1 = load_x(min(row + 1u, last), vector);
    let x2 = load_x(min(row + 2u, last), vector);
    let x3 = load_x(min(row + 3u, last), vector);
    let to = lane_y * PITCH + lane_x;
    tile_x[to] = vec4f(x0.x, x1.x, x2.x, x3.x);
    tile_x[GROUPS * PITCH + to] = vec4f(x0.y, x1.y, x2.y, x3.y);
    tile_x[2u * GROUPS * PITCH + to] = vec4f(x0.z, x1.z, x2.z, x3.z);
    tile_x[3u * GROUPS * PITCH + to] = vec4f(x0.w, x1.w, x2.w, x3.w);
    for (var i = 0u; i < 4u; i++) {
      tile_weight[(lane_y % 4u * GROUPS + lane_x) * PITCH + i * 2u + lane_y / 4u] = Operand4(weights4(weight[base + (step * TILE_K + i * 8u + lane_y) * PANEL], scale));
    }
    workgroupBarrier();
    for (var turn = 0u; turn < TILE_K / 4u; turn++) {
      // The weights are loaded first, for the reason given in linear_narrow.wgsl.
      let weight0 = vec4f(tile_weight[at_weight + turn]);
      let weight1 = vec4f(tile_weight[GROUPS * PITCH + at_weight + turn]);
      let weight2 = vec4f(tile_weight[2u * GROUPS * PITCH + at_weight + turn]);
      let weight3 = vec4f(tile_weight[3u * GROUPS * PITCH + at_weight + turn]);
      let x0 = tile_x[at_x + turn];
      let x1 = tile_x[GROUPS * PITCH + at_x + turn];
      let x2 = tile_x[2u * GROUPS * PITCH + at_x + turn];
      let x3 = tile_x[3u * GROUPS * PITCH + at_x + turn];
      tile.row0 = fma(vec4f(x3.x), weight3, fma(vec4f(x2.x), weight2, fma(vec4f(x1.x), weight1, fma(vec4f(x0.x), weight0, tile.row0))));
      tile.row1 = fma(vec4f(x3.y), weight3, fma(vec4f(x2.y), weight2, fma(vec4f(x1.y), weight1, fma(vec4f(x0.y), weight0, tile.row1))));
      tile.row2 = fma(vec4f(x3.z), weight3, fma(vec4f(x2.z), weight2, fma(vec4f(x1.z), weight1, fma(vec4f(x0.z), weight0, tile.row2))));
      tile.row3 = fma(vec4f(x3.w), weight3, fma(vec4f(x2.w), weight2, fma(vec4f(x1.w), weight1, fma(vec4f(x0.w), weight0, tile.row3))));
    }
    workgroupBarrier();
  }
  return tile;
}

@compute @workgroup_size(8, 8)
fn linear(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let group = workgroup.x * GROUPS + local.x;
  let bias_here = bias[min(group, OUT_VECTORS - 1u)];
  if (is_tail(first)) {
    let row = first + local.y;
    store(row, group, tail_row(true, row, group, vec4f()) + bias_here);
    return;
  }
  let tile = multiply(first, group, local);
  let row = first + local.y * 4u;
  store(row, group, tile.row0 + bias_here);
  store(row + 1u, group, tile.row1 + bias_here);
  store(row + 2u, group, tile.row2 + bias_here);
  store(row + 3u, group, tile.row3 + bias_here);
}

@compute @workgroup_size(8, 8)
fn linear_gelu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let group = workgroup.x * GROUPS + local.x;
  let bias_here = bias[min(group, OUT_VECTORS - 1u)];
  if (is_tail(first)) {
    let row = first + local.y;
    store(row, group, gelu(tail_row(true, row, group, vec4f()) + bias_here));
    return;
  }
  let tile = multiply(first, group, local);
  let row = first + local.y * 4u;
  store(row, group, gelu(tile.row0 + bias_here));
  store(row + 1u, group, gelu(tile.row1 + bias_here));
  store(row + 2u, group, gelu(tile.row2 + bias_here));
  store(row + 3u, group, gelu(tile.row3 + bias_here));
}

@compute @workgroup_size(8, 8)
fn linear_scale_residual(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let group = workgroup.x * GROUPS + local.x;
  let bias_here = bias[min(group, OUT_VECTORS - 1u)];
  if (is_tail(first)) {
    let row = first + local.y;
    store_scaled(row, group, tail_row(true, row, group, vec4f()) + bias_here);
    return;
  }
  let tile = multiply(first, group, local);
  let row = first + local.y * 4u;
  store_scaled(row, group, tile.row0 + bias_here);
  store_scaled(row + 1u, group, tile.row1 + bias_here);
  store_scaled(row + 2u, group, tile.row2 + bias_here);
  store_scaled(row + 3u, group, tile.row3 + bias_here);
}

@compute @workgroup_size(8, 8)
fn linear_swiglu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  // The first 4 column groups of the tile are gates, the last 4 are the corresponding `up` values.
  let gate = workgroup.x * 4u + local.x % 4u;
  let group = select(OUT_VECTORS / 2u + gate, gate, local.x < 4u);
  let bias_here = bias[min(group, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  var tile: Tile;
  if (tail) {
    tile.row0 = tail_row(true, first + local.y, group, vec4f());
  } else {
    tile = multiply(first, group, local);
  }
  // A lane has either the gates or the `up` values of four rows. Two lanes exchange values through workgroup
  // memory, whose previous contents are no longer needed. Each lane then has gates and `up` values of two
  // rows.
  let to = local.y * (4u * GROUPS) + local.x;
  tile_x[to] = tile.row0 + bias_here;
  tile_x[to + GROUPS] = tile.row1 + bias_here;
  tile_x[to + 2u * GROUPS] = tile.row2 + bias_here;
  tile_x[to + 3u * GROUPS] = tile.row3 + bias_here;
  workgroupBarrier();
  if (tail) {
    if (local.x < 4u) { store_gated(first + local.y, gate, tile_x[to], tile_x[to + 4u]); }
    return;
  }
  let row = local.y * 4u + local.x / 4u * 2u;
  let at = row * GROUPS + local.x % 4u;
  store_gated(first + row, gate, tile_x[at], tile_x[at + 4u]);
  store_gated(first + row + 1u, gate, tile_x[at + GROUPS], tile_x[at + GROUPS + 4u]);
}
