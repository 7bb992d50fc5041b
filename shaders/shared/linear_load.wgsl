// What the tiles of linear.wgsl, linear_narrow.wgsl and linear_small.wgsl are filled from, and what stands for the last tile where it would hold few rows.

// Four values of a row from column 4 · vector on; zeros where the row has ended.
fn load_x(row: u32, vector: u32) -> vec4f {
  let value = x[row * IN_VECTORS + min(vector, IN_VECTORS - 1u)];
  return select(vec4f(), value, vector < IN_VECTORS);
}

// True where no more rows are left from `first` on than a workgroup has lanes along y: 257 rows are 256 and one, 261 are 256 and five. There a workgroup makes no tile:
// each lane sums one row, first + local.y, at its columns.
fn is_tail(first: u32) -> bool {
  return size.batch * size.num_tokens - first <= 8u;
}

// In a tail: a row of the product at four columns, without bias, straight from storage, the products added one by one in the order of k as in the tiles. Elsewhere:
// `tile`, for which the loop has no turn. With a branch around the tile's loop and this one, Intel's compiler waits more often in the former.
fn tail_row(tail: bool, row: u32, column_group: u32, tile: vec4f) -> vec4f {
  let source = min(row, size.batch * size.num_tokens - 1u);
  let group = min(column_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  let scale = scale4(group);
  var sum = tile;
  for (var vector = select(IN_PADDED / 4u, 0u, tail); vector < IN_PADDED / 4u; vector++) {
    let values = load_x(source, vector);
    let at = base + vector * 4u * PANEL;
    sum = fma(vec4f(values.x), weights4(weight[at], scale), sum);
    sum = fma(vec4f(values.y), weights4(weight[at + PANEL], scale), sum);
    sum = fma(vec4f(values.z), weights4(weight[at + 2u * PANEL], scale), sum);
    sum = fma(vec4f(values.w), weights4(weight[at + 3u * PANEL], scale), sum);
  }
  return sum;
}
