// The entry points of linear_narrow.wgsl, linear_narrow_f16.wgsl and linear_tall.wgsl. `multiply` computes the
// tile of a lane, without bias.

@compute @workgroup_size(8, LANES_Y)
fn linear(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(first, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  let row = first + local.y * select(4u, 1u, tail);
  store(row, left, tail_row(tail, row, left, tile.left0) + bias_left);
  store(row, right, tail_row(tail, row, right, tile.right0) + bias_right);
  if (tail) { return; }
  store(row + 1u, left, tile.left1 + bias_left);
  store(row + 1u, right, tile.right1 + bias_right);
  store(row + 2u, left, tile.left2 + bias_left);
  store(row + 2u, right, tile.right2 + bias_right);
  store(row + 3u, left, tile.left3 + bias_left);
  store(row + 3u, right, tile.right3 + bias_right);
}

@compute @workgroup_size(8, LANES_Y)
fn linear_gelu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(first, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  let row = first + local.y * select(4u, 1u, tail);
  store(row, left, gelu(tail_row(tail, row, left, tile.left0) + bias_left));
  store(row, right, gelu(tail_row(tail, row, right, tile.right0) + bias_right));
  if (tail) { return; }
  store(row + 1u, left, gelu(tile.left1 + bias_left));
  store(row + 1u, right, gelu(tile.right1 + bias_right));
  store(row + 2u, left, gelu(tile.left2 + bias_left));
  store(row + 2u, right, gelu(tile.right2 + bias_right));
  store(row + 3u, left, gelu(tile.left3 + bias_left));
  store(row + 3u, right, gelu(tile.right3 + bias_right));
}

@compute @workgroup_size(8, LANES_Y)
fn linear_scale_residual(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * PANEL + local.x;
  let right = left + 8u;
  let tile = multiply(first, workgroup.x * PANEL + (local.y * 8u + local.x) % PANEL, local);
  let bias_left = bias[min(left, OUT_VECTORS - 1u)];
  let bias_right = bias[min(right, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  let row = first + local.y * select(4u, 1u, tail);
  store_scaled(row, left, tail_row(tail, row, left, tile.left0) + bias_left);
  store_scaled(row, right, tail_row(tail, row, right, tile.right0) + bias_right);
  if (tail) { return; }
  store_scaled(row + 1u, left, tile.left1 + bias_left);
  store_scaled(row + 1u, right, tile.right1 + bias_right);
  store_scaled(row + 2u, left, tile.left2 + bias_left);
  store_scaled(row + 2u, right, tile.right2 + bias_right);
  store_scaled(row + 3u, left, tile.left3 + bias_left);
  store_scaled(row + 3u, right, tile.right3 + bias_right);
}

@compute @workgroup_size(8, LANES_Y)
fn linear_swiglu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let gate = workgroup.x * 8u + local.x;
  let up = gate + OUT_VECTORS / 2u;
  // The first 8 column groups of the tile are gates, the last 8 are the corresponding `up` values.
  let stored = (local.y * 8u + local.x) % PANEL;
  let tile = multiply(first, select(OUT_VECTORS / 2u + workgroup.x * 8u + stored - 8u, workgroup.x * 8u + stored, stored < 8u), local);
  let bias_gate = bias[min(gate, OUT_VECTORS - 1u)];
  let bias_up = bias[min(up, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  let row = first + local.y * select(4u, 1u, tail);
  store_gated(row, gate, tail_row(tail, row, gate, tile.left0) + bias_gate, tail_row(tail, row, up, tile.right0) + bias_up);
  if (tail) { return; }
  store_gated(row + 1u, gate, tile.left1 + bias_gate, tile.right1 + bias_up);
  store_gated(row + 2u, gate, tile.left2 + bias_gate, tile.right2 + bias_up);
  store_gated(row + 3u, gate, tile.left3 + bias_gate, tile.right3 + bias_up);
}
