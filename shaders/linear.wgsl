// out = x · weightᵀ + bias, with what follows it in a block. For GPUs: both operands are staged in workgroup memory.
// One workgroup of 8 × 8 lanes per 32 rows × 64 columns of the product; a lane owns 4 rows × 8 columns, in two groups of 4 columns, `left` and
// `right`, 32 apart in the tile (SwiGLU: gate and up). The inner products advance by 32.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES), zeros where IN_FEATURES ends
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// From outside: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED (a multiple of 32).

@group(0) @binding(0) var<uniform> size: ForwardSize;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<Weights4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
// linear_scale_residual
@group(0) @binding(4) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(5) var<storage, read> residual: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> out_scaled: array<vec4f>;

const IN_VECTORS = IN_FEATURES / 4u;
const OUT_VECTORS = OUT_FEATURES / 4u;
const PANEL = 16u;      // vectors in a row of a panel
const TILE_ROWS = 32u;
const TILE_K = 32u;
const ROW_GROUPS = 8u;  // groups of 4 rows in a tile

// x, transposed: tile_x[k * ROW_GROUPS + g] holds rows 4g … 4g + 3 at k.
var<workgroup> tile_x: array<vec4f, TILE_K * ROW_GROUPS>;
// The weights: tile_weight[k * PANEL + v] holds the tile's columns 4v … 4v + 3 at k.
var<workgroup> tile_weight: array<vec4f, TILE_K * PANEL>;

// Rows 4 · local.y … of the tile, columns `left` and `right` of the lane, without bias.
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

// Four values of a row from column 4 · vector on; zeros where the row has ended.
fn load_x(row: u32, vector: u32) -> vec4f {
  let value = x[row * IN_VECTORS + min(vector, IN_VECTORS - 1u)];
  return select(vec4f(), value, vector < IN_VECTORS);
}

// `stored_group` is the group of four columns that this lane carries from the weight to workgroup memory (its place there: lane % 16).
fn multiply(row: u32, stored_group: u32, local: vec3u) -> Tile {
  // Both are below 8 anyway. Tint believes the remainder, but nothing of a parameter, and would clamp every index below.
  let lane_x = local.x % 8u;
  let lane_y = local.y % 8u;
  let lane = lane_y * 8u + lane_x;
  let last = size.batch * size.num_tokens - 1u;
  let row0 = min(row, last);
  let row1 = min(row + 1u, last);
  let row2 = min(row + 2u, last);
  let row3 = min(row + 3u, last);
  let group = min(stored_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let scale = scale4(group);

  var tile: Tile;
  for (var step = 0u; step < IN_PADDED / TILE_K; step++) {
    let vector = step * (TILE_K / 4u) + lane_x;
    let a0 = load_x(row0, vector);
    let a1 = load_x(row1, vector);
    let a2 = load_x(row2, vector);
    let a3 = load_x(row3, vector);
    let k = lane_x * 4u;
    tile_x[k * ROW_GROUPS + lane_y] = vec4f(a0.x, a1.x, a2.x, a3.x);
    tile_x[(k + 1u) * ROW_GROUPS + lane_y] = vec4f(a0.y, a1.y, a2.y, a3.y);
    tile_x[(k + 2u) * ROW_GROUPS + lane_y] = vec4f(a0.z, a1.z, a2.z, a3.z);
    tile_x[(k + 3u) * ROW_GROUPS + lane_y] = vec4f(a0.w, a1.w, a2.w, a3.w);
    for (var i = 0u; i < 8u; i++) {
      let at = i * 4u + lane / PANEL;
      tile_weight[at * PANEL + lane % PANEL] = weights4(weight[base + (step * TILE_K + at) * PANEL], scale);
    }
    workgroupBarrier();
    // In two loops, of which compilers unroll the inner one: then they fetch ahead, and the addresses cost little.
    for (var four = 0u; four < TILE_K / 4u; four++) {
      for (var one = 0u; one < 4u; one++) {
        let at = four * 4u + one;
        let a = tile_x[at * ROW_GROUPS + lane_y];
        let left = tile_weight[at * PANEL + lane_x];
        let right = tile_weight[at * PANEL + lane_x + 8u];
        tile.left0 = fma(vec4f(a.x), left, tile.left0);
        tile.right0 = fma(vec4f(a.x), right, tile.right0);
        tile.left1 = fma(vec4f(a.y), left, tile.left1);
        tile.right1 = fma(vec4f(a.y), right, tile.right1);
        tile.left2 = fma(vec4f(a.z), left, tile.left2);
        tile.right2 = fma(vec4f(a.z), right, tile.right2);
        tile.left3 = fma(vec4f(a.w), left, tile.left3);
        tile.right3 = fma(vec4f(a.w), right, tile.right3);
      }
    }
    workgroupBarrier();
  }
  return tile;
}

fn store(row: u32, vector: u32, value: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS) {
    out[row * OUT_VECTORS + vector] = value;
  }
}

fn store_scaled(row: u32, vector: u32, value: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS) {
    let at = row * OUT_VECTORS + vector;
    out_scaled[at] = fma(gamma[vector], value, residual[at]);
  }
}

fn store_gated(row: u32, vector: u32, gate: vec4f, up: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS / 2u) {
    out[row * (OUT_VECTORS / 2u) + vector] = silu(gate) * up;
  }
}

@compute @workgroup_size(8, 8)
fn linear(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * TILE_ROWS + local.y * 4u;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(row, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  store(row, left, tile.left0 + bias_left);
  store(row, right, tile.right0 + bias_right);
  store(row + 1u, left, tile.left1 + bias_left);
  store(row + 1u, right, tile.right1 + bias_right);
  store(row + 2u, left, tile.left2 + bias_left);
  store(row + 2u, right, tile.right2 + bias_right);
  store(row + 3u, left, tile.left3 + bias_left);
  store(row + 3u, right, tile.right3 + bias_right);
}

@compute @workgroup_size(8, 8)
fn linear_gelu(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * TILE_ROWS + local.y * 4u;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(row, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  store(row, left, gelu(tile.left0 + bias_left));
  store(row, right, gelu(tile.right0 + bias_right));
  store(row + 1u, left, gelu(tile.left1 + bias_left));
  store(row + 1u, right, gelu(tile.right1 + bias_right));
  store(row + 2u, left, gelu(tile.left2 + bias_left));
  store(row + 2u, right, gelu(tile.right2 + bias_right));
  store(row + 3u, left, gelu(tile.left3 + bias_left));
  store(row + 3u, right, gelu(tile.right3 + bias_right));
}

@compute @workgroup_size(8, 8)
fn linear_scale_residual(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * TILE_ROWS + local.y * 4u;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(row, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  store_scaled(row, left, tile.left0 + bias_left);
  store_scaled(row, right, tile.right0 + bias_right);
  store_scaled(row + 1u, left, tile.left1 + bias_left);
  store_scaled(row + 1u, right, tile.right1 + bias_right);
  store_scaled(row + 2u, left, tile.left2 + bias_left);
  store_scaled(row + 2u, right, tile.right2 + bias_right);
  store_scaled(row + 3u, left, tile.left3 + bias_left);
  store_scaled(row + 3u, right, tile.right3 + bias_right);
}

@compute @workgroup_size(8, 8)
fn linear_swiglu(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = workgroup.y * TILE_ROWS + local.y * 4u;
  let gate = workgroup.x * 8u + local.x;
  let up = gate + OUT_VECTORS / 2u;
  // The tile's first 8 groups are gates, its last 8 the ups that belong to them.
  let stored = (local.y * 8u + local.x) % PANEL;
  let tile = multiply(row, select(OUT_VECTORS / 2u + workgroup.x * 8u + stored - 8u, workgroup.x * 8u + stored, stored < 8u), local);
  let bias_gate = bias[min(gate, OUT_VECTORS - 1u)];
  let bias_up = bias[min(up, OUT_VECTORS - 1u)];
  store_gated(row, gate, tile.left0 + bias_gate, tile.right0 + bias_up);
  store_gated(row + 1u, gate, tile.left1 + bias_gate, tile.right1 + bias_up);
  store_gated(row + 2u, gate, tile.left2 + bias_gate, tile.right2 + bias_up);
  store_gated(row + 3u, gate, tile.left3 + bias_gate, tile.right3 + bias_up);
}
