
// Weights stored as f16 and converted to f32. Needs `enable f16`.
alias Weights4 = vec4<f16>;

fn weights4(stored: Weights4, scale: vec4f) -> vec4f {
  return vec4f(stored);
}

// f16 weights have no scales, so each scale is 1.
fn scale4(group: u32) -> vec4f {
  return vec4f(1.0);
}
