// Stores the results of a lane in the kernels of linear layers.
// Results beyond the last row or column are not stored.
fn store(row: u32, vector: u32, value: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS) {
    out[row * OUT_VECTORS + vector] = value;
  }
}

fn store_scaled(row: u32, vector: u32, value: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS) {
    let at = row * OUT_VECTORS + vector;
    out_scaled[at] = fma(gamma[vector], value, residual[at]);
  }
}

fn store_gated(row: u32, vector: u32, gate: vec4f, up: vec4f) {
  if (row < size.batch * size.num_tokens && vector < OUT_VECTORS / 2u) {
    out[row * (OUT_VECTORS / 2u) + vector] = silu(gate) * up;
  }
}
