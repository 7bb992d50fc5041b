
// Weights stored as f16, two per u32, for adapters without shader-f16.
alias Weights4 = vec2<u32>;

fn weights4(stored: Weights4, scale: vec4f) -> vec4f {
  return vec4f(unpack2x16float(stored.x), unpack2x16float(stored.y));
}

// f16 weights have no scales, so each scale is 1.
fn scale4(group: u32) -> vec4f {
  return vec4f(1.0);
}
