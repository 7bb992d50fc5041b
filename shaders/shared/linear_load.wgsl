// What the tiles of linear.wgsl, linear_narrow.wgsl and linear_small.wgsl are filled from.
// Four values of a row from column 4 · vector on; zeros where the row has ended.
fn load_x(row: u32, vector: u32) -> vec4f {
  let value = x[row * IN_VECTORS + min(vector, IN_VECTORS - 1u)];
  return select(vec4f(), value, vector < IN_VECTORS);
}
