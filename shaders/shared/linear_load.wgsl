// Helpers of linear.wgsl, linear_narrow.wgsl and linear_small.wgsl: load the input x, and compute the last
// few rows, for which these kernels use no tile.

// Returns four values of row `row` of x: columns 4 · `vector` to 4 · `vector` + 3. The values are 0 beyond
// the end of the row.
fn load_x(row: u32, vector: u32) -> vec4f {
  let value = x[row * IN_VECTORS + min(vector, IN_VECTORS - 1u)];
  return select(vec4f(), value, vector < IN_VECTORS);
}

// Returns true if at most 8 rows remain from row `first` on. These last rows (the tail) are not computed as a
// tile: each lane computes row `first + local.y` at its columns. The tail is common: an image of 224 × 224
// has 257 tokens (256 + 1), or 261 with registers (256 + 5).
fn is_tail(first: u32) -> bool {
  return size.batch * size.num_tokens - first <= 8u;
}

// If `tail` is true: computes one row of the product at four columns, without bias, from operands read
// directly from storage. The products are added in the order of k, as in the tiles, so the bits are the same.
// If `tail` is false: returns `tile`, and the loop runs zero times. A branch that selects between the tile's
// loop and this loop would cost time: code from Intel's compiler would then wait more often in the tile's
// loop.
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
