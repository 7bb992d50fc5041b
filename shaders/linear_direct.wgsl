// out = x · weightᵀ + bias, with what follows it in a block. For adapters that are processors, and for phones: no workgroup memory, no barrier.
// One lane per 8 rows × 8 columns of the product, in 16 named vectors: such compilers do not unroll arrays into registers. The columns are two
// groups of 4, `left` and `right`; they lie side by side, or (SwiGLU) as far apart as gate and up.
//
//   x              (batch · num_tokens, IN_FEATURES)
//   weight         panels (ceil(OUT_FEATURES / 64), IN_PADDED, 64) of the matrix (OUT_FEATURES, IN_FEATURES)
//   bias, gamma    (OUT_FEATURES)
//   residual, out  (batch · num_tokens, OUT_FEATURES); SwiGLU: out has OUT_FEATURES / 2 columns
//
// From outside: IN_FEATURES, OUT_FEATURES (multiples of 4), IN_PADDED.

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
const PANEL = 16u;  // vectors in a row of a panel
const ROWS = 8u;    // rows of a lane

// The product's rows row … row + 7, columns 4 · left … and 4 · right …, bias included.
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

// Index of the first row of a panel, at the column group.
fn first_weight(group: u32) -> u32 {
  return (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
}

fn multiply(row: u32, left: u32, right: u32) -> Tile {
  // Rows past the last one compute the last one again; they are not stored.
  let last = size.batch * size.num_tokens - 1u;
  let row0 = min(row, last) * IN_VECTORS;
  let row1 = min(row + 1u, last) * IN_VECTORS;
  let row2 = min(row + 2u, last) * IN_VECTORS;
  let row3 = min(row + 3u, last) * IN_VECTORS;
  let row4 = min(row + 4u, last) * IN_VECTORS;
  let row5 = min(row + 5u, last) * IN_VECTORS;
  let row6 = min(row + 6u, last) * IN_VECTORS;
  let row7 = min(row + 7u, last) * IN_VECTORS;
  var tile: Tile;
  let scale_left = scale4(left);
  let scale_right = scale4(right);
  var from_left = first_weight(left);
  var from_right = first_weight(right);
  for (var k = 0u; k < IN_VECTORS; k++) {
    let x0 = x[row0 + k];
    let x1 = x[row1 + k];
    let x2 = x[row2 + k];
    let x3 = x[row3 + k];
    let x4 = x[row4 + k];
    let x5 = x[row5 + k];
    let x6 = x[row6 + k];
    let x7 = x[row7 + k];
    let l0 = weights4(weight[from_left], scale_left);
    let r0 = weights4(weight[from_right], scale_right);
    tile.left0 = fma(vec4f(x0.x), l0, tile.left0);
    tile.right0 = fma(vec4f(x0.x), r0, tile.right0);
    tile.left1 = fma(vec4f(x1.x), l0, tile.left1);
    tile.right1 = fma(vec4f(x1.x), r0, tile.right1);
    tile.left2 = fma(vec4f(x2.x), l0, tile.left2);
    tile.right2 = fma(vec4f(x2.x), r0, tile.right2);
    tile.left3 = fma(vec4f(x3.x), l0, tile.left3);
    tile.right3 = fma(vec4f(x3.x), r0, tile.right3);
    tile.left4 = fma(vec4f(x4.x), l0, tile.left4);
    tile.right4 = fma(vec4f(x4.x), r0, tile.right4);
    tile.left5 = fma(vec4f(x5.x), l0, tile.left5);
    tile.right5 = fma(vec4f(x5.x), r0, tile.right5);
    tile.left6 = fma(vec4f(x6.x), l0, tile.left6);
    tile.right6 = fma(vec4f(x6.x), r0, tile.right6);
    tile.left7 = fma(vec4f(x7.x), l0, tile.left7);
    tile.right7 = fma(vec4f(x7.x), r0, tile.right7);
    let l1 = weights4(weight[from_left + PANEL], scale_left);
    let r1 = weights4(weight[from_right + PANEL], scale_right);
    tile.left0 = fma(vec4f(x0.y), l1, tile.left0);
    tile.right0 = fma(vec4f(x0.y), r1, tile.right0);
    tile.left1 = fma(vec4f(x1.y), l1, tile.left1);
    tile.right1 = fma(vec4f(x1.y), r1, tile.right1);
    tile.left2 = fma(vec4f(x2.y), l1, tile.left2);
    tile.right2 = fma(vec4f(x2.y), r1, tile.right2);
    tile.left3 = fma(vec4f(x3.y), l1, tile.left3);
    tile.right3 = fma(vec4f(x3.y), r1, tile.right3);
    tile.left4 = fma(vec4f(x4.y), l1, tile.left4);
    tile.right4 = fma(vec4f(x4.y), r1, tile.right4);
    tile.left5 = fma(vec4f(x5.y), l1, tile.left5);
    tile.right5 = fma(vec4f(x5.y), r1, tile.right5);
    tile.left6 = fma(vec4f(x6.y), l1, tile.left6);
    tile.right6 = fma(vec4f(x6.y), r1, tile.right6);
    tile.left7 = fma(vec4f(x7.y), l1, tile.left7);
    tile.right7 = fma(vec4f(x7.y), r1, tile.right7);
    let l2 = weights4(weight[from_left + 2u * PANEL], scale_left);
    let r2 = weights4(weight[from_right + 2u * PANEL], scale_right);
    tile.left0 = fma(vec4f(x0.z), l2, tile.left0);
    tile.right0 = fma(vec4f(x0.z), r2, tile.right0);
    tile.left1 = fma(vec4f(x1.z), l2, tile.left1);
    tile.right1 = fma(vec4f(x1.z), r2, tile.right1);
    tile.left2 = fma(vec4f(x2.z), l2, tile.left2);
    tile.right2 = fma(vec4f(x2.z), r2, tile.right2);
    tile.left3 = fma(vec4f(x3.z), l2, tile.left3);
    tile.right3 = fma(vec4f(x3.z), r2, tile.right3);
    tile.left4 = fma(vec4f(x4.z), l2, tile.left4);
    tile.right4 = fma(vec4f(x4.z), r2, tile.right4);
    tile.left5 = fma(vec4f(x5.z), l2, tile.left5);
    tile.right5 = fma(vec4f(x5.z), r2, tile.right5);
    tile.left6 = fma(vec4f(x6.z), l2, tile.left6);
    tile.right6 = fma(vec4f(x6.z), r2, tile.right6);
    tile.left7 = fma(vec4f(x7.z), l2, tile.left7);
    tile.right7 = fma(vec4f(x7.z), r2, tile.right7);
    let l3 = weights4(weight[from_left + 3u * PANEL], scale_left);
    let r3 = weights4(weight[from_right + 3u * PANEL], scale_right);
    tile.left0 = fma(vec4f(x0.w), l3, tile.left0);
    tile.right0 = fma(vec4f(x0.w), r3, tile.right0);
    tile.left1 = fma(vec4f(x1.w), l3, tile.left1);
    tile.right1 = fma(vec4f(x1.w), r3, tile.right1);
    tile.left2 = fma(vec4f(x2.w), l3, tile.left2);
    tile.right2 = fma(vec4f(x2.w), r3, tile.right2);
    tile.left3 = fma(vec4f(x3.w), l3, tile.left3);
    tile.right3 = fma(vec4f(x3.w), r3, tile.right3);
    tile.left4 = fma(vec4f(x4.w), l3, tile.left4);
    tile.right4 = fma(vec4f(x4.w), r3, tile.right4);
    tile.left5 = fma(vec4f(x5.w), l3, tile.left5);
    tile.right5 = fma(vec4f(x5.w), r3, tile.right5);
    tile.left6 = fma(vec4f(x6.w), l3, tile.left6);
    tile.right6 = fma(vec4f(x6.w), r3, tile.right6);
    tile.left7 = fma(vec4f(x7.w), l3, tile.left7);
    tile.right7 = fma(vec4f(x7.w), r3, tile.right7);
    from_left += 4u * PANEL;
    from_right += 4u * PANEL;
  }
  // Last, so that a huge bias does not cost the sum its last bits.
  tile.left0 += bias[left];
  tile.left1 += bias[left];
  tile.left2 += bias[left];
  tile.left3 += bias[left];
  tile.left4 += bias[left];
  tile.left5 += bias[left];
  tile.left6 += bias[left];
  tile.left7 += bias[left];
  tile.right0 += bias[right];
  tile.right1 += bias[right];
  tile.right2 += bias[right];
  tile.right3 += bias[right];
  tile.right4 += bias[right];
  tile.right5 += bias[right];
  tile.right6 += bias[right];
  tile.right7 += bias[right];
  return tile;
}

fn store(row: u32, left: u32, right: u32, a: vec4f, b: vec4f) {
  if (row < size.batch * size.num_tokens) {
    out[row * OUT_VECTORS + left] = a;
    if (right < OUT_VECTORS) {
      out[row * OUT_VECTORS + right] = b;
    }
  }
}

fn store_gated(row: u32, vector: u32, gate: vec4f, up: vec4f) {
  if (row < size.batch * size.num_tokens) {
    out[row * (OUT_VECTORS / 2u) + vector] = silu(gate) * up;
  }
}

fn store_scaled(row: u32, left: u32, right: u32, a: vec4f, b: vec4f) {
  if (row < size.batch * size.num_tokens) {
    let at = row * OUT_VECTORS + left;
    out_scaled[at] = fma(gamma[left], a, residual[at]);
    if (right < OUT_VECTORS) {
      out_scaled[at + 1u] = fma(gamma[right], b, residual[at + 1u]);
    }
  }
}

@compute @workgroup_size(16)
fn linear(@builtin(global_invocation_id) id: vec3u) {
  let left = id.x * 2u;
  let right = left + 1u;
  let row = id.y * ROWS;
  if (left >= OUT_VECTORS) {
    return;
  }
  let tile = multiply(row, left, min(right, OUT_VECTORS - 1u));
  store(row, left, right, tile.left0, tile.right0);
  store(row + 1u, left, right, tile.left1, tile.right1);
  store(row + 2u, left, right, tile.left2, tile.right2);
  store(row + 3u, left, right, tile.left3, tile.right3);
  store(row + 4u, left, right, tile.left4, tile.right4);
  store(row + 5u, left, right, tile.left5, tile.right5);
  store(row + 6u, left, right, tile.left6, tile.right6);
  store(row + 7u, left, right, tile.left7, tile.right7);
}

@compute @workgroup_size(16)
fn linear_gelu(@builtin(global_invocation_id) id: vec3u) {
  let left = id.x * 2u;
  let right = left + 1u;
  let row = id.y * ROWS;
  if (left >= OUT_VECTORS) {
    return;
  }
  let tile = multiply(row, left, min(right, OUT_VECTORS - 1u));
  store(row, left, right, gelu(tile.left0), gelu(tile.right0));
  store(row + 1u, left, right, gelu(tile.left1), gelu(tile.right1));
  store(row + 2u, left, right, gelu(tile.left2), gelu(tile.right2));
  store(row + 3u, left, right, gelu(tile.left3), gelu(tile.right3));
  store(row + 4u, left, right, gelu(tile.left4), gelu(tile.right4));
  store(row + 5u, left, right, gelu(tile.left5), gelu(tile.right5));
  store(row + 6u, left, right, gelu(tile.left6), gelu(tile.right6));
  store(row + 7u, left, right, gelu(tile.left7), gelu(tile.right7));
}

@compute @workgroup_size(16)
fn linear_scale_residual(@builtin(global_invocation_id) id: vec3u) {
  let left = id.x * 2u;
  let right = left + 1u;
  let row = id.y * ROWS;
  if (left >= OUT_VECTORS) {
    return;
  }
  let tile = multiply(row, left, min(right, OUT_VECTORS - 1u));
  store_scaled(row, left, right, tile.left0, tile.right0);
  store_scaled(row + 1u, left, right, tile.left1, tile.right1);
  store_scaled(row + 2u, left, right, tile.left2, tile.right2);
  store_scaled(row + 3u, left, right, tile.left3, tile.right3);
  store_scaled(row + 4u, left, right, tile.left4, tile.right4);
  store_scaled(row + 5u, left, right, tile.left5, tile.right5);
  store_scaled(row + 6u, left, right, tile.left6, tile.right6);
  store_scaled(row + 7u, left, right, tile.left7, tile.right7);
}

@compute @workgroup_size(16)
fn linear_swiglu(@builtin(global_invocation_id) id: vec3u) {
  let gate = id.x;
  let row = id.y * ROWS;
  if (gate >= OUT_VECTORS / 2u) {
    return;
  }
  let tile = multiply(row, gate, gate + OUT_VECTORS / 2u);
  store_gated(row, gate, tile.left0, tile.right0);
  store_gated(row + 1u, gate, tile.left1, tile.right1);
  store_gated(row + 2u, gate, tile.left2, tile.right2);
  store_gated(row + 3u, gate, tile.left3, tile.right3);
  store_gated(row + 4u, gate, tile.left4, tile.right4);
  store_gated(row + 5u, gate, tile.left5, tile.right5);
  store_gated(row + 6u, gate, tile.left6, tile.right6);
  store_gated(row + 7u, gate, tile.left7, tile.right7);
}
