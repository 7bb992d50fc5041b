
// Weights are stored as f32.
alias Weights4 = vec4<f32>;

fn weights4(stored: Weights4) -> vec4f {
  return stored;
}
