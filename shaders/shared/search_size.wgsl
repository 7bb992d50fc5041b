// Declarations shared by search_select.wgsl and search_floor.wgsl: sizes, and the mapping of scores to
// integers in the same order.

struct SelectSize {
  // Number of stored vectors (rows).
  count: u32,
  // Quads (groups of four rows) per query in `scores`.
  stride: u32,
  // Quads in a block.
  block_quads: u32,
  // Number of blocks.
  blocks: u32,
  // k, the number of best rows to find.
  wanted: u32,
  // 1 if `allowed` excludes rows, else 0.
  filtered: u32,
}

const SIGN = 0x80000000u;

// Maps scores to integers in the same order. No score is mapped to 0.
fn order_of(score: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(score);
  return select(bits | vec4u(SIGN), ~bits, (bits & vec4u(SIGN)) != vec4u());
}

fn score_of(order: u32) -> f32 {
  return bitcast<f32>(select(~order, order & ~SIGN, (order & SIGN) != 0u));
}
