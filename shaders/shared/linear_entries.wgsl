// The entry points of linear.wgsl and linear_f16.wgsl. `multiply` computes the tile of a lane, without bias.

@compute @workgroup_size(LANES_X, 8)
fn linear(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * COLUMN_GROUPS + local.x;
  let right = left + LANES_X;
  let tile = multiply(first, workgroup.x * COLUMN_GROUPS + (local.y * LANES_X + local.x) % COLUMN_GROUPS, local);
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
  store(row + 32u, left, tile.left4 + bias_left);
  store(row + 32u, right, tile.right4 + bias_right);
  store(row + 33u, left, tile.left5 + bias_left);
  store(row + 33u, right, tile.right5 + bias_right);
  store(row + 34u, left, tile.left6 + bias_left);
  store(row + 34u, right, tile.right6 + bias_right);
  store(row + 35u, left, tile.left7 + bias_left);
  store(row + 35u, right, tile.right7 + bias_right);
}

@compute @workgroup_size(LANES_X, 8)
fn linear_gelu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * COLUMN_GROUPS + local.x;
  let right = left + LANES_X;
  let tile = multiply(first, workgroup.x * COLUMN_GROUPS + (local.y * LANES_X + local.x) % COLUMN_GROUPS, local);
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
  store(row + 32u, left, gelu(tile.left4 + bias_left));
  store(row + 32u, right, gelu(tile.right4 + bias_right));
  store(row + 33u, left, gelu(tile.left5 + bias_left));
  store(row + 33u, right, gelu(tile.right5 + bias_right));
  store(row + 34u, left, gelu(tile.left6 + bias_left));
  store(row + 34u, right, gelu(tile.right6 + bias_right));
  store(row + 35u, left, gelu(tile.left7 + bias_left));
  store(row + 35u, right, gelu(tile.right7 + bias_right));
}

@compute @workgroup_size(LANES_X, 8)
fn linear_scale_residual(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let left = workgroup.x * COLUMN_GROUPS + local.x;
  let right = left + LANES_X;
  let tile = multiply(first, workgroup.x * COLUMN_GROUPS + (local.y * LANES_X + local.x) % COLUMN_GROUPS, local);
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
  store_scaled(row + 32u, left, tile.left4 + bias_left);
  store_scaled(row + 32u, right, tile.right4 + bias_right);
  store_scaled(row + 33u, left, tile.left5 + bias_left);
  store_scaled(row + 33u, right, tile.right5 + bias_right);
  store_scaled(row + 34u, left, tile.left6 + bias_left);
  store_scaled(row + 34u, right, tile.right6 + bias_right);
  store_scaled(row + 35u, left, tile.left7 + bias_left);
  store_scaled(row + 35u, right, tile.right7 + bias_right);
}

@compute @workgroup_size(LANES_X, 8)
fn linear_swiglu(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let workgroup = size.first_workgroup + id;
  let first = workgroup.y * TILE_ROWS;
  let gate = workgroup.x * LANES_X + local.x;
  let up = gate + OUT_VECTORS / 2u;
  // The first half of the tile's columns are gates, the second half are the corresponding `up` values.
  let stored = (local.y * LANES_X + local.x) % COLUMN_GROUPS;
  let tile = multiply(first, select(OUT_VECTORS / 2u + workgroup.x * LANES_X + stored - LANES_X, workgroup.x * LANES_X + stored, stored < LANES_X), local);
  let bias_gate = bias[min(gate, OUT_VECTORS - 1u)];
  let bias_up = bias[min(up, OUT_VECTORS - 1u)];
  let tail = is_tail(first);
  let row = first + local.y * select(4u, 1u, tail);
  store_gated(row, gate, tail_row(tail, row, gate, tile.left0) + bias_gate, tail_row(tail, row, up, tile.right0) + bias_up);
  if (tail) { return; }
  store_gated(row + 1u, gate, tile.left1 + bias_gate, tile.right1 + bias_up);
  store_gated(row + 2u, gate, tile.left2 + bias_gate, tile.right2 + bias_up);
  store_gated(row + 3u, gate, tile.left3 + bias_gate, tile.right3 + bias_up);
  store_gated(row + 32u, gate, tile.left4 + bias_gate, tile.right4 + bias_up);
  store_gated(row + 33u, gate, tile.left5 + bias_gate, tile.right5 + bias_up);
  store_gated(row + 34u, gate, tile.left6 + bias_gate, tile.right6 + bias_up);
  store_gated(row + 35u, gate, tile.left7 + bias_gate, tile.right7 + bias_up);
}
