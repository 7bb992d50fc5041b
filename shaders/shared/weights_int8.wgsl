// Weights stored as integers from -127 to 127, four per u32 (the first column in the lowest byte), with an
// f32 scale for every column. In `weight`, the scales follow the panels, in the order of the columns. The
// first scale is element SCALES_AT.
alias Weights4 = u32;

fn weights4(stored: Weights4, scale: vec4f) -> vec4f {
  return scale * vec4f(vec4i(vec4u(stored) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// Returns the scales of columns 4 · `group` to 4 · `group` + 3.
fn scale4(group: u32) -> vec4f {
  let at = SCALES_AT + 4u * group;
  return bitcast<vec4f>(vec4u(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]));
}
