// A linear layer for software adapters with subgroups of 4 lanes (SwiftShader). See linear_lanes8.wgsl. The 4
// lanes of a workgroup compute the same 16 rows: each lane reads 4 of the rows of x and shuffles them to the
// other lanes. A lane computes 16 rows × 8 columns: two groups of 4 columns, `left` and `right`, which are
// LANES groups apart (SwiGLU: gate and up).
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES)
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// Constants: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED.

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
const PANEL = 16u;  // vectors in a row of a panel
const LANES = 4u;
const ROWS = 16u;   // rows per lane

// The sums of a lane. They are separate variables, because SwiftShader keeps arrays in memory.
struct Tile {
  left0: vec4f,
  left1: vec4f,
  left2: vec4f,
  left3: vec4f,
  left4: vec4f,
  left5: vec4f,
  left6: vec4f,
  left7: vec4f,
  left8: vec4f,
  left9: vec4f,
  left10: vec4f,
  left11: vec4f,
  left12: vec4f,
  left13: vec4f,
  left14: vec4f,
  left15: vec4f,
  right0: vec4f,
  right1: vec4f,
  right2: vec4f,
  right3: vec4f,
  right4: vec4f,
  right5: vec4f,
  right6: vec4f,
  right7: vec4f,
  right8: vec4f,
  right9: vec4f,
  right10: vec4f,
  right11: vec4f,
  right12: vec4f,
  right13: vec4f,
  right14: vec4f,
  right15: vec4f,
}

// One lane's 16 × 8 part of the product, bias added: rows `row` to `row + 15`, the four columns from 4 ·
// `left` on and the four columns from 4 · `right` on. The members are arrays, so that the code after the
// product is one loop over the rows. SwiftShader would take four times as long to compile 16 copies of that
// code as the product itself.
struct Product {
  left: array<vec4f, ROWS>,
  right: array<vec4f, ROWS>,
}

// Returns the index in `weight` of the first element (k = 0) of a column group.
fn first_weight(group: u32) -> u32 {
  return (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
}

// Computes the product. All lanes of a subgroup must call this function, each with its own columns.
fn multiply(row: u32, left: u32, right: u32, lane: u32) -> Product {
  // Rows beyond the last row repeat the last row and are not stored.
  let last = size.batch * size.num_tokens - 1u;
  let row_at0 = min(row + lane, last) * IN_VECTORS;
  let row_at1 = min(row + 4u + lane, last) * IN_VECTORS;
  let row_at2 = min(row + 8u + lane, last) * IN_VECTORS;
  let row_at3 = min(row + 12u + lane, last) * IN_VECTORS;
  let scale_left = scale4(left);
  let scale_right = scale4(right);
  var from_left = first_weight(left);
  var from_right = first_weight(right);
  var tile: Tile;
  for (var k = 0u; k < IN_VECTORS; k++) {
    let mine0 = x[row_at0 + k];
    let mine1 = x[row_at1 + k];
    let mine2 = x[row_at2 + k];
    let mine3 = x[row_at3 + k];
    let l0 = weights4(weight[from_left], scale_left);
    let r0 = weights4(weight[from_right], scale_right);
    let l1 = weights4(weight[from_left + PANEL], scale_left);
    let r1 = weights4(weight[from_right + PANEL], scale_right);
    let l2 = weights4(weight[from_left + 2u * PANEL], scale_left);
    let r2 = weights4(weight[from_right + 2u * PANEL], scale_right);
    let l3 = weights4(weight[from_left + 3u * PANEL], scale_left);
    let r3 = weights4(weight[from_right + 3u * PANEL], scale_right);
    let x0 = subgroupBroadcast(mine0, 0u);
    tile.left0 = fma(vec4f(x0.x), l0, tile.left0);
    tile.right0 = fma(vec4f(x0.x), r0, tile.right0);
    tile.left0 = fma(vec4f(x0.y), l1, tile.left0);
    tile.right0 = fma(vec4f(x0.y), r1, tile.right0);
    tile.left0 = fma(vec4f(x0.z), l2, tile.left0);
    tile.right0 = fma(vec4f(x0.z), r2, tile.right0);
    tile.left0 = fma(vec4f(x0.w), l3, tile.left0);
    tile.right0 = fma(vec4f(x0.w), r3, tile.right0);
    let x1 = subgroupBroadcast(mine0, 1u);
    tile.left1 = fma(vec4f(x1.x), l0, tile.left1);
    tile.right1 = fma(vec4f(x1.x), r0, tile.right1);
    tile.left1 = fma(vec4f(x1.y), l1, tile.left1);
    tile.right1 = fma(vec4f(x1.y), r1, tile.right1);
    tile.left1 = fma(vec4f(x1.z), l2, tile.left1);
    tile.right1 = fma(vec4f(x1.z), r2, tile.right1);
    tile.left1 = fma(vec4f(x1.w), l3, tile.left1);
    tile.right1 = fma(vec4f(x1.w), r3, tile.right1);
    let x2 = subgroupBroadcast(mine0, 2u);
    tile.left2 = fma(vec4f(x2.x), l0, tile.left2);
    tile.right2 = fma(vec4f(x2.x), r0, tile.right2);
    tile.left2 = fma(vec4f(x2.y), l1, tile.left2);
    tile.right2 = fma(vec4f(x2.y), r1, tile.right2);
    tile.left2 = fma(vec4f(x2.z), l2, tile.left2);
    tile.right2 = fma(vec4f(x2.z), r2, tile.right2);
    tile.left2 = fma(vec4f(x2.w), l3, tile.left2);
    tile.right2 = fma(vec4f(x2.w), r3, tile.right2);
    let x3 = subgroupBroadcast(mine0, 3u);
    tile.left3 = fma(vec4f(x3.x), l0, tile.left3);
    tile.right3 = fma(vec4f(x3.x), r0, tile.right3);
    tile.left3 = fma(vec4f(x3.y), l1, tile.left3);
    tile.right3 = fma(vec4f(x3.y), r1, tile.right3);
    tile.left3 = fma(vec4f(x3.z), l2, tile.left3);
    tile.right3 = fma(vec4f(x3.z), r2, tile.right3);
    tile.left3 = fma(vec4f(x3.w), l3, tile.left3);
    tile.right3 = fma(vec4f(x3.w), r3, tile.right3);
    let x4 = subgroupBroadcast(mine1, 0u);
    tile.left4 = fma(vec4f(x4.x), l0, tile.left4);
    tile.right4 = fma(vec4f(x4.x), r0, tile.right4);
    tile.left4 = fma(vec4f(x4.y), l1, tile.left4);
    tile.right4 = fma(vec4f(x4.y), r1, tile.right4);
    tile.left4 = fma(vec4f(x4.z), l2, tile.left4);
    tile.right4 = fma(vec4f(x4.z), r2, tile.right4);
    tile.left4 = fma(vec4f(x4.w), l3, tile.left4);
    tile.right4 = fma(vec4f(x4.w), r3, tile.right4);
    let x5 = subgroupBroadcast(mine1, 1u);
    tile.left5 = fma(vec4f(x5.x), l0, tile.left5);
    tile.right5 = fma(vec4f(x5.x), r0, tile.right5);
    tile.left5 = fma(vec4f(x5.y), l1, tile.left5);
    tile.right5 = fma(vec4f(x5.y), r1, tile.right5);
    tile.left5 = fma(vec4f(x5.z), l2, tile.left5);
    tile.right5 = fma(vec4f(x5.z), r2, tile.right5);
    tile.left5 = fma(vec4f(x5.w), l3, tile.left5);
    tile.right5 = fma(vec4f(x5.w), r3, tile.right5);
    let x6 = subgroupBroadcast(mine1, 2u);
    tile.left6 = fma(vec4f(x6.x), l0, tile.left6);
    tile.right6 = fma(vec4f(x6.x), r0, tile.right6);
    tile.left6 = fma(vec4f(x6.y), l1, tile.left6);
    tile.right6 = fma(vec4f(x6.y), r1, tile.right6);
    tile.left6 = fma(vec4f(x6.z), l2, tile.left6);
    tile.right6 = fma(vec4f(x6.z), r2, tile.right6);
    tile.left6 = fma(vec4f(x6.w), l3, tile.left6);
    tile.right6 = fma(vec4f(x6.w), r3, tile.right6);
    let x7 = subgroupBroadcast(mine1, 3u);
    tile.left7 = fma(vec4f(x7.x), l0, tile.left7);
    tile.right7 = fma(vec4f(x7.x), r0, tile.right7);
    tile.left7 = fma(vec4f(x7.y), l1, tile.left7);
    tile.right7 = fma(vec4f(x7.y), r1, tile.right7);
    tile.left7 = fma(vec4f(x7.z), l2, tile.left7);
    tile.right7 = fma(vec4f(x7.z), r2, tile.right7);
    tile.left7 = fma(vec4f(x7.w), l3, tile.left7);
    tile.right7 = fma(vec4f(x7.w), r3, tile.right7);
    let x8 = subgroupBroadcast(mine2, 0u);
    tile.left8 = fma(vec4f(x8.x), l0, tile.left8);
    tile.right8 = fma(vec4f(x8.x), r0, tile.right8);
    tile.left8 = fma(vec4f(x8.y), l1, tile.left8);
    tile.right8 = fma(vec4f(x8.y), r1, tile.right8);
    tile.left8 = fma(vec4f(x8.z), l2, tile.left8);
    tile.right8 = fma(vec4f(x8.z), r2, tile.right8);
    tile.left8 = fma(vec4f(x8.w), l3, tile.left8);
    tile.right8 = fma(vec4f(x8.w), r3, tile.right8);
    let x9 = subgroupBroadcast(mine2, 1u);
    tile.left9 = fma(vec4f(x9.x), l0, tile.left9);
    tile.right9 = fma(vec4f(x9.x), r0, tile.right9);
    tile.left9 = fma(vec4f(x9.y), l1, tile.left9);
    tile.right9 = fma(vec4f(x9.y), r1, tile.right9);
    tile.left9 = fma(vec4f(x9.z), l2, tile.left9);
    tile.right9 = fma(vec4f(x9.z), r2, tile.right9);
    tile.left9 = fma(vec4f(x9.w), l3, tile.left9);
    tile.right9 = fma(vec4f(x9.w), r3, tile.right9);
    let x10 = subgroupBroadcast(mine2, 2u);
    tile.left10 = fma(vec4f(x10.x), l0, tile.left10);
    tile.right10 = fma(vec4f(x10.x), r0, tile.right10);
    tile.left10 = fma(vec4f(x10.y), l1, tile.left10);
    tile.right10 = fma(vec4f(x10.y), r1, tile.right10);
    tile.left10 = fma(vec4f(x10.z), l2, tile.left10);
    tile.right10 = fma(vec4f(x10.z), r2, tile.right10);
    tile.left10 = fma(vec4f(x10.w), l3, tile.left10);
    tile.right10 = fma(vec4f(x10.w), r3, tile.right10);
    let x11 = subgroupBroadcast(mine2, 3u);
    tile.left11 = fma(vec4f(x11.x), l0, tile.left11);
    tile.right11 = fma(vec4f(x11.x), r0, tile.right11);
    tile.left11 = fma(vec4f(x11.y), l1, tile.left11);
    tile.right11 = fma(vec4f(x11.y), r1, tile.right11);
    tile.left11 = fma(vec4f(x11.z), l2, tile.left11);
    tile.right11 = fma(vec4f(x11.z), r2, tile.right11);
    tile.left11 = fma(vec4f(x11.w), l3, tile.left11);
    tile.right11 = fma(vec4f(x11.w), r3, tile.right11);
    let x12 = subgroupBroadcast(mine3, 0u);
    tile.left12 = fma(vec4f(x12.x), l0, tile.left12);
    tile.right12 = fma(vec4f(x12.x), r0, tile.right12);
    tile.left12 = fma(vec4f(x12.y), l1, tile.left12);
    tile.right12 = fma(vec4f(x12.y), r1, tile.right12);
    tile.left12 = fma(vec4f(x12.z), l2, tile.left12);
    tile.right12 = fma(vec4f(x12.z), r2, tile.right12);
    tile.left12 = fma(vec4f(x12.w), l3, tile.left12);
    tile.right12 = fma(vec4f(x12.w), r3, tile.right12);
    let x13 = subgroupBroadcast(mine3, 1u);
    tile.left13 = fma(vec4f(x13.x), l0, tile.left13);
    tile.right13 = fma(vec4f(x13.x), r0, tile.right13);
    tile.left13 = fma(vec4f(x13.y), l1, tile.left13);
    tile.right13 = fma(vec4f(x13.y), r1, tile.right13);
    tile.left13 = fma(vec4f(x13.z), l2, tile.left13);
    tile.right13 = fma(vec4f(x13.z), r2, tile.right13);
    tile.left13 = fma(vec4f(x13.w), l3, tile.left13);
    tile.right13 = fma(vec4f(x13.w), r3, tile.right13);
    let x14 = subgroupBroadcast(mine3, 2u);
    tile.left14 = fma(vec4f(x14.x), l0, tile.left14);
    tile.right14 = fma(vec4f(x14.x), r0, tile.right14);
    tile.left14 = fma(vec4f(x14.y), l1, tile.left14);
    tile.right14 = fma(vec4f(x14.y), r1, tile.right14);
    tile.left14 = fma(vec4f(x14.z), l2, tile.left14);
    tile.right14 = fma(vec4f(x14.z), r2, tile.right14);
    tile.left14 = fma(vec4f(x14.w), l3, tile.left14);
    tile.right14 = fma(vec4f(x14.w), r3, tile.right14);
    let x15 = subgroupBroadcast(mine3, 3u);
    tile.left15 = fma(vec4f(x15.x), l0, tile.left15);
    tile.right15 = fma(vec4f(x15.x), r0, tile.right15);
    tile.left15 = fma(vec4f(x15.y), l1, tile.left15);
    tile.right15 = fma(vec4f(x15.y), r1, tile.right15);
    tile.left15 = fma(vec4f(x15.z), l2, tile.left15);
    tile.right15 = fma(vec4f(x15.z), r2, tile.right15);
    tile.left15 = fma(vec4f(x15.w), l3, tile.left15);
    tile.right15 = fma(vec4f(x15.w), r3, tile.right15);
    from_left += 4u * PANEL;
    from_right += 4u * PANEL;
  }
  // The bias is added last: a large bias would make the rounding of the sums coarser.
  let bias_left = bias[left];
  let bias_right = bias[right];
  return Product(
    array<vec4f, ROWS>(
      tile.left0 + bias_left, tile.left1 + bias_left, tile.left2 + bias_left, tile.left3 + bias_left,
      tile.left4 + bias_left, tile.left5 + bias_left, tile.left6 + bias_left, tile.left7 + bias_left,
      tile.left8 + bias_left, tile.left9 + bias_left, tile.left10 + bias_left, tile.left11 + bias_left,
      tile.left12 + bias_left, tile.left13 + bias_left, tile.left14 + bias_left, tile.left15 + bias_left,
    ),
    array<vec4f, ROWS>(
      tile.right0 + bias_right, tile.right1 + bias_right, tile.right2 + bias_right, tile.right3 + bias_right,
      tile.right4 + bias_right, tile.right5 + bias_right, tile.right6 + bias_right, tile.right7 + bias_right,
      tile.right8 + bias_right, tile.right9 + bias_right, tile.right10 + bias_right, tile.right11 + bias_right,
      tile.right12 + bias_right, tile.right13 + bias_right, tile.right14 + bias_right, tile.right15 + bias_right,
    ),
  );
}

fn store(row: u32, left: u32, right: u32, a: vec4f, b: vec4f) {
  if (row < size.batch * size.num_tokens) {
    if (left < OUT_VECTORS) {
      out[row * OUT_VECTORS + left] = a;
    }
    if (right < OUT_VECTORS) {
      out[row * OUT_VECTORS + right] = b;
    }
  }
}

fn store_gated(row: u32, vector: u32, gate: vec4f, up: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS / 2u) {
    out[row * (OUT_VECTORS / 2u) + vector] = silu(gate) * up;
  }
}

fn store_scaled(row: u32, left: u32, right: u32, a: vec4f, b: vec4f) {
  if (row < size.batch * size.num_tokens) {
    let at = row * OUT_VECTORS;
    if (left < OUT_VECTORS) {
      out_scaled[at + left] = fma(gamma[left], a, residual[at + left]);
    }
    if (right < OUT_VECTORS) {
      out_scaled[at + right] = fma(gamma[right], b, residual[at + right]);
    }
  }
}

@compute @workgroup_size(LANES)
fn linear(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tile_at = size.first_workgroup + id;
  let row = tile_at.y * ROWS;
  let left = tile_at.x * 2u * LANES + local.x;
  let right = left + LANES;
  var product = multiply(row, min(left, OUT_VECTORS - 1u), min(right, OUT_VECTORS - 1u), lane);
  for (var i = 0u; i < ROWS; i++) {
    store(row + i, left, right, product.left[i], product.right[i]);
  }
}

@compute @workgroup_size(LANES)
fn linear_gelu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tile_at = size.first_workgroup + id;
  let row = tile_at.y * ROWS;
  let left = tile_at.x * 2u * LANES + local.x;
  let right = left + LANES;
  var product = multiply(row, min(left, OUT_VECTORS - 1u), min(right, OUT_VECTORS - 1u), lane);
  for (var i = 0u; i < ROWS; i++) {
    store(row + i, left, right, gelu(product.left[i]), gelu(product.right[i]));
  }
}

@compute @workgroup_size(LANES)
fn linear_scale_residual(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tile_at = size.first_workgroup + id;
  let row = tile_at.y * ROWS;
  let left = tile_at.x * 2u * LANES + local.x;
  let right = left + LANES;
  var product = multiply(row, min(left, OUT_VECTORS - 1u), min(right, OUT_VECTORS - 1u), lane);
  for (var i = 0u; i < ROWS; i++) {
    store_scaled(row + i, left, right, product.left[i], product.right[i]);
  }
}

@compute @workgroup_size(LANES)
fn linear_swiglu(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(LANES, 1u, 1u) + global;
  let row = id.y * ROWS;
  let gate = min(id.x, OUT_VECTORS / 2u - 1u);
  var product = multiply(row, gate, gate + OUT_VECTORS / 2u, lane);
  for (var i = 0u; i < ROWS; i++) {
    store_gated(row + i, id.x, product.left[i], product.right[i]);
  }
}
