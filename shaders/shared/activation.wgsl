
// Computes the exact GELU: gelu(x) = x · Φ(x) = x/2 · (1 + erf(x / √2)). For |x| ≤ 5.6, erf(x / √2) is
// computed as x · P(x²) / Q(x²), a minimax fit of degrees 6 and 4 with an error of at most 5e-8 before
// rounding. For larger |x|, erf(x / √2) is ±1 in f32. `exp` and `tanh` are not used, because their accuracy
// differs between GPUs.
fn gelu(x: vec4f) -> vec4f {
  let z = clamp(x, vec4f(-5.6), vec4f(5.6));
  let t = z * z;
  var p = vec4f(2.1604580624501324e-10);
  p = fma(p, t, vec4f(-4.399524655696041e-08));
  p = fma(p, t, vec4f(6.7237615439808e-06));
  p = fma(p, t, vec4f(0.000364982639439404));
  p = fma(p, t, vec4f(0.009175400249660015));
  p = fma(p, t, vec4f(0.07422945648431778));
  p = fma(p, t, vec4f(0.7978842258453369));
  var q = vec4f(6.625609967159107e-05);
  q = fma(q, t, vec4f(0.0019016093574464321));
  q = fma(q, t, vec4f(0.029787283390760422));
  q = fma(q, t, vec4f(0.25969693064689636));
  q = fma(q, t, vec4f(1.0));
  let erf = clamp(z * p / q, vec4f(-1.0), vec4f(1.0));
  return 0.5 * x * (1.0 + erf);
}

// Computes silu(x) = x / (1 + exp(-x)). The clamp keeps `exp` finite. For x < -88, the result is x · 6e-39,
// which is almost 0.
fn silu(x: vec4f) -> vec4f {
  return x / (1.0 + exp(min(-x, vec4f(88.0))));
}
