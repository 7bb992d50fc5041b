// A linear layer for software adapters with subgroups of 8 lanes (llvmpipe): x · weightᵀ + bias, followed by
// the operation of the entry point.
//
// On these adapters, a gather of 8 lanes reads one word at a time, but a shuffle of a word is one
// instruction. So the 8 lanes of a workgroup compute the same 8 rows: each lane reads one row of x and
// shuffles it to the other lanes. A lane computes 8 rows × 4 columns, in separate variables, not an array.
// All reads of an iteration come before its sums: a gather compiles to many branches, and the sums are faster
// as code without branches.
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
const ROWS = 8u;    // rows per lane, and lanes per subgroup

// One lane's 8 × 4 part of the product, bias added: rows `row` to `row + 7`, columns 4 · `vector` to
// 4 · `vector` + 3.
struct Tile {
  row0: vec4f,
  row1: vec4f,
  row2: vec4f,
  row3: vec4f,
  row4: vec4f,
  row5: vec4f,
  row6: vec4f,
  row7: vec4f,
}

// Computes the product. All lanes of a subgroup must call this function, each with its own `vector`.
fn multiply(row: u32, vector: u32, lane: u32) -> Tile {
  // Rows beyond the last row repeat the last row and are not stored.
  let row_at = min(row + lane, size.batch * size.num_tokens - 1u) * IN_VECTORS;
  let scale = scale4(vector);
  var at = (vector / PANEL) * IN_PADDED * PANEL + vector % PANEL;
  var tile: Tile;
  for (var k = 0u; k < IN_VECTORS; k++) {
    let mine = x[row_at + k];
    let w0 = weights4(weight[at], scale);
    let w1 = weights4(weight[at + PANEL], scale);
    let w2 = weights4(weight[at + 2u * PANEL], scale);
    let w3 = weights4(weight[at + 3u * PANEL], scale);
    tile.row0 = fma(vec4f(subgroupShuffle(mine.x, 0u)), w0, tile.row0);
    tile.row0 = fma(vec4f(subgroupShuffle(mine.y, 0u)), w1, tile.row0);
    tile.row0 = fma(vec4f(subgroupShuffle(mine.z, 0u)), w2, tile.row0);
    tile.row0 = fma(vec4f(subgroupShuffle(mine.w, 0u)), w3, tile.row0);
    tile.row1 = fma(vec4f(subgroupShuffle(mine.x, 1u)), w0, tile.row1);
    tile.row1 = fma(vec4f(subgroupShuffle(mine.y, 1u)), w1, tile.row1);
    tile.row1 = fma(vec4f(subgroupShuffle(mine.z, 1u)), w2, tile.row1);
    tile.row1 = fma(vec4f(subgroupShuffle(mine.w, 1u)), w3, tile.row1);
    tile.row2 = fma(vec4f(subgroupShuffle(mine.x, 2u)), w0, tile.row2);
    tile.row2 = fma(vec4f(subgroupShuffle(mine.y, 2u)), w1, tile.row2);
    tile.row2 = fma(vec4f(subgroupShuffle(mine.z, 2u)), w2, tile.row2);
    tile.row2 = fma(vec4f(subgroupShuffle(mine.w, 2u)), w3, tile.row2);
    tile.row3 = fma(vec4f(subgroupShuffle(mine.x, 3u)), w0, tile.row3);
    tile.row3 = fma(vec4f(subgroupShuffle(mine.y, 3u)), w1, tile.row3);
    tile.row3 = fma(vec4f(subgroupShuffle(mine.z, 3u)), w2, tile.row3);
    tile.row3 = fma(vec4f(subgroupShuffle(mine.w, 3u)), w3, tile.row3);
    tile.row4 = fma(vec4f(subgroupShuffle(mine.x, 4u)), w0, tile.row4);
    tile.row4 = fma(vec4f(subgroupShuffle(mine.y, 4u)), w1, tile.row4);
    tile.row4 = fma(vec4f(subgroupShuffle(mine.z, 4u)), w2, tile.row4);
    tile.row4 = fma(vec4f(subgroupShuffle(mine.w, 4u)), w3, tile.row4);
    tile.row5 = fma(vec4f(subgroupShuffle(mine.x, 5u)), w0, tile.row5);
    tile.row5 = fma(vec4f(subgroupShuffle(mine.y, 5u)), w1, tile.row5);
    tile.row5 = fma(vec4f(subgroupShuffle(mine.z, 5u)), w2, tile.row5);
    tile.row5 = fma(vec4f(subgroupShuffle(mine.w, 5u)), w3, tile.row5);
    tile.row6 = fma(vec4f(subgroupShuffle(mine.x, 6u)), w0, tile.row6);
    tile.row6 = fma(vec4f(subgroupShuffle(mine.y, 6u)), w1, tile.row6);
    tile.row6 = fma(vec4f(subgroupShuffle(mine.z, 6u)), w2, tile.row6);
    tile.row6 = fma(vec4f(subgroupShuffle(mine.w, 6u)), w3, tile.row6);
    tile.row7 = fma(vec4f(subgroupShuffle(mine.x, 7u)), w0, tile.row7);
    tile.row7 = fma(vec4f(subgroupShuffle(mine.y, 7u)), w1, tile.row7);
    tile.row7 = fma(vec4f(subgroupShuffle(mine.z, 7u)), w2, tile.row7);
    tile.row7 = fma(vec4f(subgroupShuffle(mine.w, 7u)), w3, tile.row7);
    at += 4u * PANEL;
  }
  // The bias is added last: a large bias would make the rounding of the sums coarser.
  tile.row0 += bias[vector];
  tile.row1 += bias[vector];
  tile.row2 += bias[vector];
  tile.row3 += bias[vector];
  tile.row4 += bias[vector];
  tile.row5 += bias[vector];
  tile.row6 += bias[vector];
  tile.row7 += bias[vector];
  return tile;
}

@compute @workgroup_size(ROWS)
fn linear(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(ROWS, 1u, 1u) + global;
  let row = id.y * ROWS;
  let tile = multiply(row, min(id.x, OUT_VECTORS - 1u), lane);
  store(row, id.x, tile.row0);
  store(row + 1u, id.x, tile.row1);
  store(row + 2u, id.x, tile.row2);
  store(row + 3u, id.x, tile.row3);
  store(row + 4u, id.x, tile.row4);
  store(row + 5u, id.x, tile.row5);
  store(row + 6u, id.x, tile.row6);
  store(row + 7u, id.x, tile.row7);
}

@compute @workgroup_size(ROWS)
fn linear_gelu(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(ROWS, 1u, 1u) + global;
  let row = id.y * ROWS;
  let tile = multiply(row, min(id.x, OUT_VECTORS - 1u), lane);
  store(row, id.x, gelu(tile.row0));
  store(row + 1u, id.x, gelu(tile.row1));
  store(row + 2u, id.x, gelu(tile.row2));
  store(row + 3u, id.x, gelu(tile.row3));
  store(row + 4u, id.x, gelu(tile.row4));
  store(row + 5u, id.x, gelu(tile.row5));
  store(row + 6u, id.x, gelu(tile.row6));
  store(row + 7u, id.x, gelu(tile.row7));
}

@compute @workgroup_size(ROWS)
fn linear_scale_residual(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(ROWS, 1u, 1u) + global;
  let row = id.y * ROWS;
  let tile = multiply(row, min(id.x, OUT_VECTORS - 1u), lane);
  store_scaled(row, id.x, tile.row0);
  store_scaled(row + 1u, id.x, tile.row1);
  store_scaled(row + 2u, id.x, tile.row2);
  store_scaled(row + 3u, id.x, tile.row3);
  store_scaled(row + 4u, id.x, tile.row4);
  store_scaled(row + 5u, id.x, tile.row5);
  store_scaled(row + 6u, id.x, tile.row6);
  store_scaled(row + 7u, id.x, tile.row7);
}

@compute @workgroup_size(ROWS)
fn linear_swiglu(@builtin(global_invocation_id) global: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let id = size.first_workgroup * vec3u(ROWS, 1u, 1u) + global;
  let row = id.y * ROWS;
  let vector = min(id.x, OUT_VECTORS / 2u - 1u);
  let gate = multiply(row, vector, lane);
  let up = multiply(row, vector + OUT_VECTORS / 2u, lane);
  store_gated(row, id.x, gate.row0, up.row0);
  store_gated(row + 1u, id.x, gate.row1, up.row1);
  store_gated(row + 2u, id.x, gate.row2, up.row2);
  store_gated(row + 3u, id.x, gate.row3, up.row3);
  store_gated(row + 4u, id.x, gate.row4, up.row4);
  store_gated(row + 5u, id.x, gate.row5, up.row5);
  store_gated(row + 6u, id.x, gate.row6, up.row6);
  store_gated(row + 7u, id.x, gate.row7, up.row7);
}
