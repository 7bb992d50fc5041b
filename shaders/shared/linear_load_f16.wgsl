// Helpers of linear_f16.wgsl and linear_narrow_f16.wgsl: scale the input x to f16, and compute the last few
// rows, for which these kernels use no tile.

// Sixteen values of a row of x, scaled to f16, and the power of two by which a sum of products with these
// values is multiplied.
struct Block {
  x0: vec4<f16>,
  x1: vec4<f16>,
  x2: vec4<f16>,
  x3: vec4<f16>,
  inverse: f32,
}

const NAN_BITS = 0x7fc00000u;

// Returns four values of row `row` of x: columns 4 · `vector` to 4 · `vector` + 3. The values are 0 beyond
// the end of the row.
fn load_x(row: u32, vector: u32) -> vec4f {
  if (IN_FEATURES == IN_PADDED) { return x[row * IN_VECTORS + vector]; }
  let value = x[row * IN_VECTORS + min(vector, IN_VECTORS - 1u)];
  return select(vec4f(), value, vector < IN_VECTORS);
}

// Returns the values of row `row` at the 16 features from 16 · `step` on. Their scale is a power of two: the
// largest magnitude becomes 256 or more, but less than 512. The exponent's bits are limited to 9 or more, so that
// scale and inverse are normal numbers. If a value is infinite or NaN, the inverse or the value is NaN, and
// so are the results.
fn load_block(row: u32, step: u32) -> Block {
  let x0 = load_x(row, step * 4u);
  let x1 = load_x(row, step * 4u + 1u);
  let x2 = load_x(row, step * 4u + 2u);
  let x3 = load_x(row, step * 4u + 3u);
  let most4 = max(max(abs(x0), abs(x1)), max(abs(x2), abs(x3)));
  let most = max(max(most4.x, most4.y), max(most4.z, most4.w));
  let exponent = max(bitcast<u32>(most) >> 23u, 9u);
  let scale_bits = (262u - exponent) << 23u;
  let inverse_bits = (exponent - 8u) << 23u;
  let scale = bitcast<f32>(scale_bits);
  let inverse = bitcast<f32>(select(inverse_bits, NAN_BITS, exponent >= 255u));
  return Block(vec4<f16>(x0 * scale), vec4<f16>(x1 * scale), vec4<f16>(x2 * scale), vec4<f16>(x3 * scale), inverse);
}

// Returns true if at most 8 rows remain from row `first` on; see linear_load.wgsl.
fn is_tail(first: u32) -> bool {
  return size.batch * size.num_tokens - first <= 8u;
}

// Adds the products of four values of x with the weights of a column group to `run`. `at` is the index of the
// group's weights for the first of the four values.
fn add_products(values: vec4<f16>, at: u32, run: vec4<f16>) -> vec4<f16> {
  var sum = fma(vec4<f16>(values.x), weight[at], run);
  sum = fma(vec4<f16>(values.y), weight[at + PANEL], sum);
  sum = fma(vec4<f16>(values.z), weight[at + 2u * PANEL], sum);
  return fma(vec4<f16>(values.w), weight[at + 3u * PANEL], sum);
}

// If `tail` is true: computes one row of the product at four columns, without bias, from operands read
// directly from storage. The arithmetic is that of the tiles, so the bits are the same. If `tail` is false:
// returns `tile`, and the loop runs zero times; see linear_load.wgsl.
fn tail_row(tail: bool, row: u32, column_group: u32, tile: vec4f) -> vec4f {
  let source = min(row, size.batch * size.num_tokens - 1u);
  let group = min(column_group, OUT_VECTORS - 1u);
  let base = (group / PANEL) * IN_PADDED * PANEL + group % PANEL;
  var sum = tile;
  for (var step = select(IN_PADDED / 16u, 0u, tail); step < IN_PADDED / 16u; step++) {
    let scaled = load_block(source, step);
    let at = base + step * 16u * PANEL;
    var run = vec4<f16>(0.0);
    run = add_products(scaled.x0, at, run);
    run = add_products(scaled.x1, at + 4u * PANEL, run);
    run = add_products(scaled.x2, at + 8u * PANEL, run);
    run = add_products(scaled.x3, at + 12u * PANEL, run);
    sum = fma(vec4f(run), vec4f(scaled.inverse), sum);
  }
  return sum;
}
