// What the kernels that select share: how much there is, and numbers whose order is that of scores.

struct SelectSize {
  // Rows there are.
  count: u32,
  // Quads of a query in `scores`.
  stride: u32,
  // Rows of a block, and blocks.
  block_rows: u32,
  blocks: u32,
  // The k of the k-th largest.
  wanted: u32,
  filtered: u32,
}

const SIGN = 0x80000000u;

// Larger scores have larger orders, and none has order 0.
fn order_of(score: f32) -> u32 {
  let bits = bitcast<u32>(score);
  return select(bits | SIGN, ~bits, (bits & SIGN) != 0u);
}

fn score_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & ~SIGN, (order & SIGN) != 0u));
}
