// What the kernels that select share: how much there is, and numbers whose order is that of scores.

struct SelectSize {
  // Rows there are.
  count: u32,
  // Quads of a query in `scores`.
  stride: u32,
  // Quads of a block, and blocks.
  block_quads: u32,
  blocks: u32,
  // The k of the k-th largest.
  wanted: u32,
  filtered: u32,
}

const SIGN = 0x80000000u;

// Larger scores have larger orders, and none has order 0.
fn order_of(score: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(score);
  return select(bits | vec4u(SIGN), ~bits, (bits & vec4u(SIGN)) != vec4u());
}

fn score_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & ~SIGN, (order & SIGN) != 0u));
}
