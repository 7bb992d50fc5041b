// Weights are stored as whole numbers from -127 to 127, four in a u32 with the first column lowest; every column has an f32 scale. The scales
// lie behind the panels in `weight` itself, in the order of the columns, from element SCALES_AT on.
alias Weights4 = u32;

fn weights4(stored: Weights4, scale: vec4f) -> vec4f {
  return scale * vec4f(vec4i(vec4u(stored) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

// Scales of the columns 4 · group ….
fn scale4(group: u32) -> vec4f {
  let at = SCALES_AT + 4u * group;
  return bitcast<vec4f>(vec4u(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u]));
}
