
// Weights stored as f32.
alias Weights4 = vec4<f32>;

fn weights4(stored: Weights4, scale: vec4f) -> vec4f {
  return stored;
}

// f32 weights have no scales, so each scale is 1.
fn scale4(group: u32) -> vec4f {
  return vec4f(1.0);
}
